"""Text files as numbered lines: UTF-8 with or without a byte order mark, gzip recognised by its first bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from moola.data.sources.problems import Problems

GZIP = b"\x1f\x8b"
"""First bytes of a gzip file."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BLOCK = 1 << 20


def read_lines(path: Path, problems: Problems) -> list[str]:
    r"""The lines of a file without their ends, numbered as an editor does: line n is ``[n - 1]``.

    Only ``\n``, ``\r\n`` and ``\r`` end a line. What hinders reading goes into `problems`; the answer is then empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.say(f"it cannot be read ({error.strerror or error})", "give an existing, readable file")
        return []
    if content.startswith(GZIP):
        content = _unpacked(content, problems)
    if problems:
        return []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = content.startswith(_UTF16)
        line = 1 if utf16 else content.count(b"\n", 0, error.start) + 1
        problems.say(f"line {line} is {'UTF-16' if utf16 else 'no UTF-8'} text", "save the file as UTF-8")
        return []
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def _unpacked(content: bytes, problems: Problems) -> bytes:
    """What a gzip file holds; where it breaks off, the line after which it does goes into `problems`."""
    blocks: list[bytes] = []
    try:
        with gzip.open(io.BytesIO(content)) as handle:
            while block := handle.read(_BLOCK):
                blocks.append(block)
    except (EOFError, OSError, zlib.error) as error:
        line = b"".join(blocks).count(b"\n")
        problems.say(f"the gzip file is broken off or damaged after line {line} ({error})", "copy the file again")
    return b"".join(blocks)
