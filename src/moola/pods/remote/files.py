"""Files on a pod: paths that stay in their folder, whole files or none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

BLOCK = 256 * 1024
_NOT_PLAIN = frozenset(("", ".", ".."))
"""Parts that no path may have."""


class Refusal(Exception):  # noqa: N818 - the client makes its errors of it
    """What the client is told instead of an answer.

    Args:
        kind: what the client decides by: "refused", "disk_full", "changed", "missing" or "cut".
        what: what went wrong.
        why: the cause.
    """

    def __init__(self, kind: str, what: str, why: str = "") -> None:
        super().__init__(what)
        self.kind, self.what, self.why = kind, what, why


def inside(folder: str, path: str) -> str:
    """The path below `folder`; one that leaves it, or is not in its plain form, is refused."""
    if "\0" in path or not _NOT_PLAIN.isdisjoint(path.split("/")):
        raise Refusal("refused", "a path is not plainly below its folder", repr(path))
    return f"{folder}/{path}"


def glob_rule(patterns: Iterable[str]) -> Callable[[str], Any]:
    """Tells whether a relative path fits one of the patterns: ``**`` spans folders, ``*`` and ``?`` stay in one."""
    signs = {"**/": r"(?:[^/]+/)*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    rules = [
        "".join(signs.get(word, re.escape(word)) for word in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))
        for pattern in patterns
    ]
    return re.compile("|".join(f"(?:{rule})" for rule in rules) or r"(?!)", re.DOTALL).fullmatch


def digest_file(path: str, size: int | None = None) -> str:
    """SHA-256 (hex) of a file, or of its first `size` bytes."""
    total = hashlib.sha256()
    with open(path, "rb", buffering=0) as handle:
        left = os.fstat(handle.fileno()).st_size if size is None else size
        while left > 0:
            block = handle.read(min(BLOCK, left))
            if not block:
                break
            total.update(block)
            left -= len(block)
    return total.hexdigest()


def blocks(handle: Any, size: int = BLOCK) -> Iterator[bytes]:
    """The rest of an open file in blocks of `size` bytes."""
    return iter(lambda: handle.read(size), b"")


def write_all(handle: Any, block: bytes) -> None:
    """Write to an unbuffered file, which takes a part alone when the disk is nearly full."""
    rest = memoryview(block)
    while rest:
        rest = rest[handle.write(rest) :]


def make_folder(path: str) -> None:
    """Make a folder that may be there already, which asks the disk once."""
    if not os.path.isdir(path):
        os.makedirs(path, exist_ok=True)


def new_part(folder: str, name: str) -> str:
    """A path in `folder`, which is made, that no other process uses."""
    make_folder(folder)
    return os.path.join(folder, f"{name}.{os.urandom(8).hex()}.part")


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """A temporary path whose file gets the name `path` when the block ends well; else it is deleted."""
    part = new_part(os.path.dirname(path), ".moola")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        remove(part)
        raise


def remove(path: str) -> None:
    """Delete a file that need not be there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def write_json(path: str, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with replacing(path) as part, open(part, "w", encoding="utf-8") as handle:
        json.dump(value, handle)
        handle.flush()
        os.fsync(handle.fileno())


def read_json(path: str) -> Any:
    """Content of a JSON file; None where there is no such file."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as handle:
        return json.load(handle)


def free_bytes(folder: str) -> int:
    """Room on the disk of a folder, for who is not its administrator."""
    room = os.statvfs(folder)
    return room.f_frsize * room.f_bavail


def project_folder(root: str, run: str) -> str:
    """The folder in which a run's job works."""
    return os.path.join(inside(os.path.join(root, "runs"), run), "project")
