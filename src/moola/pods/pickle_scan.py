"""Pickles that would run code when somebody loads them: every name that they call has to be one that does nothing.

A list of harmless names, not of harmful ones: scanners with lists of harmful names were got round again and again
(CVE-2025-1716, CVE-2025-1889, CVE-2025-1944, CVE-2025-1945 of picklescan). Opcodes are read by the standard library's
`pickletools`; nothing is ever loaded. Moola itself loads no pickle at all.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from moola.pods.secret_scan import Finding

_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill")
"""Endings that promise a pickle; such a file is refused where it cannot be read as one."""
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma")
_HARMLESS = re.compile(
    r"(?:builtins|__builtin__) (?:set|frozenset|list|dict|tuple|slice|x?range)"
    r"|(?:builtins|__builtin__) (?:int|long|float|complex|bool|str|unicode|bytes|bytearray)"
    r"|collections (?:OrderedDict|defaultdict|Counter|deque)|_codecs encode|datetime (?:date|datetime|time|timedelta)"
    r"|numpy (?:ndarray|dtype)|numpy\._?core\.multiarray (?:_reconstruct|scalar)|numpy\._?core\.numeric _frombuffer"
    r"|torch(?:\.cuda)? \w+Storage|torch\.storage (?:UntypedStorage|TypedStorage)"
    r"|torch\._utils _rebuild_(?:tensor|tensor_v2|parameter)"
    r"|torch (?:Size|device|float16|float32|float64|bfloat16|u?int8|int16|int32|int64|bool)"
)
"""``module name`` of what the state of a network and plain values need."""
_TEXT_OPCODES = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_STORING = {"PUT", "BINPUT", "LONG_BINPUT"}
_FETCHING = {"GET", "BINGET", "LONG_BINGET"}
_SILENT = {"PROTO", "FRAME"}
_BROKEN = (ValueError, EOFError, IndexError, KeyError, OverflowError, struct.error, NotImplementedError)
_BROKEN_ARCHIVE = (*_BROKEN, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)
_MOST_BYTES = 4 << 30
"""Of what a compressed pickle unpacks to."""
_MOST_LAYERS = 4
"""Of compressed files and archives inside one another."""
_TOO_DEEP = f"packed more than {_MOST_LAYERS} times, so that nobody sees what is in it"
_UNREADABLE = "by its name a pickle, and it cannot be read to its end"


def scan_pickles(path: str, source: Path) -> list[Finding]:
    """What a file would run when somebody loads it; empty for files that are no pickles and hold none.

    Args:
        path: for the findings.
        source: the file, whatever its name: pickles of protocol 2 and on are known by how they begin, older ones by
            their names alone.

    Raises:
        OSError: it cannot be read.
    """
    name = PurePosixPath(path).name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    is_promised = name.endswith(_SUFFIXES)
    with source.open("rb") as handle:
        try:
            rules = sorted(set(_rules(handle, is_promised)))
        except _BROKEN_ARCHIVE:
            rules = [_UNREADABLE] if is_promised else []
    return [Finding(path, None, rule) for rule in rules]


def _rules(handle: IO[bytes], is_promised: bool, layers: int = 0) -> Iterator[str]:
    head = handle.read(8)
    handle.seek(0)
    if layers > _MOST_LAYERS:
        yield _TOO_DEEP
    elif head.startswith(b"PK\3\4"):
        yield from _in_archive(handle, is_promised, layers)
    elif head.startswith(b"\x93NUMPY"):
        yield from _in_array(handle)
    elif _is_pickle(head):
        yield from _in_pickles(handle, is_promised)
    elif (content := _unpacked(handle, head)) is not None:
        with content:
            yield from _rules(content, is_promised, layers + 1)
    elif is_promised:  # protocol 0 has no head
        yield from _in_pickles(handle, True)


def _is_pickle(head: bytes) -> bool:
    """Whether it begins as pickles of protocol 2 and on do."""
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def _unpacked(handle: IO[bytes], head: bytes) -> IO[bytes] | None:
    """The content of a compressed file, as joblib writes them; None for others."""
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=handle, mode="rb"))
    if head.startswith(b"BZh"):
        return bz2.BZ2File(handle)
    if head.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return lzma.LZMAFile(handle)
    if head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0:
        return io.BytesIO(zlib.decompressobj().decompress(handle.read(), _MOST_BYTES))
    return None


def _in_archive(handle: IO[bytes], is_promised: bool, layers: int) -> Iterator[str]:
    """What the members of a zip file hold, as of ``torch.save`` and ``numpy.savez``."""
    with zipfile.ZipFile(handle) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            if member.flag_bits & 1:
                yield from [_UNREADABLE] * is_promised
                continue
            with archive.open(member) as content:
                promised = member.filename.lower().endswith(_SUFFIXES)
                try:
                    yield from _rules(content, promised, layers + 1)
                except _BROKEN_ARCHIVE:
                    yield from [_UNREADABLE] * promised


def _in_array(handle: IO[bytes]) -> Iterator[str]:
    """Arrays of objects are pickles inside; their header says so."""
    start = handle.read(12)
    size = struct.unpack_from("<H" if start[6] == 1 else "<I", start, 8)[0]
    if b"|O" in start[10:] + handle.read(size):
        yield "an array of objects, which is a pickle"


def _in_pickles(handle: IO[bytes], is_promised: bool) -> Iterator[str]:
    """What one or several pickles in a row call; old files of ``torch.save`` have raw numbers after them."""
    for number in itertools.count():
        called: set[str] = set()
        is_whole = True
        try:
            called.update(_called(handle))
        except _BROKEN:
            is_whole = False  # what came before has been called by then
        yield from (f"a pickle that calls {_shown(name)}" for name in called if not _HARMLESS.fullmatch(name))
        if not is_whole:
            yield from [_UNREADABLE] * (is_promised and number == 0)
            return


def _called(handle: IO[bytes]) -> Iterator[str]:
    """``module name`` of every global of one pickle; ``?`` where its name is made by other than plain means."""
    memo: dict[int, str | None] = {}
    pushed: list[str | None] = [None, None]
    for opcode, argument, _ in pickletools.genops(handle):
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            yield str(argument)
            pushed.append(None)
        elif name == "STACK_GLOBAL":
            module, what = pushed[-2:]
            yield "?" if module is None or what is None else f"{module} {what}"
            pushed.append(None)
        elif name.startswith("EXT"):
            yield "?"
        elif name in _TEXT_OPCODES:
            pushed.append(str(argument))
        elif name == "MEMOIZE":
            memo[len(memo)] = pushed[-1]
        elif name in _STORING:
            memo[int(argument)] = pushed[-1]  # type: ignore[arg-type]
        elif name in _FETCHING:
            pushed.append(memo.get(int(argument)))  # type: ignore[arg-type]
        elif name not in _SILENT:
            pushed.append(None)  # whatever it does to the stack, two plain texts are no longer on top
        del pushed[:-2]


def _shown(name: str) -> str:
    module, _, rest = name.partition(" ")
    spoken = f"{module}.{rest}" if rest else "something under a name made while it loads"
    return spoken[:80] if spoken.isprintable() else ascii(spoken)[:80]
