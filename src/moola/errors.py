"""Errors a user can cause: what happened, why, and the way out. Exit codes are part of the interface."""

from __future__ import annotations

import difflib
import errno
import importlib.util
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

EXIT_OK = 0
EXIT_FAILED = 1
"""Something broke that moola did not foresee: a defect, with its traceback."""
EXIT_USAGE = 2
"""The command line or the configuration is wrong."""
EXIT_DATA = 3
"""The data or the labels are wrong."""
EXIT_STORAGE = 4
"""Files cannot be read or written: read-only, full, or changed by another hand."""
EXIT_ENVIRONMENT = 5
"""A package or a device that the command needs is missing."""
EXIT_POD = 6
"""A rented machine could not be had, reached or ended."""
EXIT_INTERRUPTED = 130
"""Ctrl-C; everything finished so far is kept."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Signs that act instead of being shown: control characters, line ends, changes of direction; and halves of signs."""
_SHORTEST_PART = 3
"""Letters of a name with which it counts as a part of another; fewer are in others by chance."""


class MoolaError(Exception):
    """An error with a cause the user can mend.

    Args:
        what: what went wrong, in one sentence.
        why: the cause, with the values that show it.
        way_out: what to do about it.
    """

    exit_code = EXIT_USAGE

    def __init__(self, what: str, why: str = "", way_out: str = "") -> None:
        self.what, self.why, self.way_out = what, why, way_out
        super().__init__("\n".join(part for part in (what, why, way_out) if part))

    def plain(self) -> MoolaError:
        """The same error without its class, so that any process can unpickle it."""
        told = MoolaError(self.what, self.why, self.way_out)
        told.exit_code = self.exit_code
        return told

    def spoken(self) -> str:
        """All of it as a terminal shows it: only the first line begins at the margin, whoever wrote the others."""
        parts = (self.what, self.why, self.way_out and f"-> {self.way_out}")
        return "moola: " + printable("\n".join(part for part in parts if part)).rstrip("\n").replace("\n", "\n  ")


class ConfigError(MoolaError):
    """The configuration is wrong; `why` lists every problem found, one a line."""

    def __init__(self, problems: Iterable[str], way_out: str = "") -> None:
        self.problems = tuple(problems)
        plural = "s" if len(self.problems) > 1 else ""
        super().__init__(
            f"the configuration has {len(self.problems)} problem{plural}",
            "\n".join(f"- {problem}" for problem in self.problems),
            way_out,
        )


class DataError(MoolaError):
    """The bars, windows or labels cannot be used as they are."""

    exit_code = EXIT_DATA


class StorageError(MoolaError):
    """A file could not be read or written, or is not what its manifest says."""

    exit_code = EXIT_STORAGE


_FREE_SPACE = "free space, or choose another disk"
_MEND = "mend permissions, or choose another place"
_IN_THE_WAY = "move the file away that stands where a folder belongs"
_STORAGE_ERRORS = {
    errno.EACCES: _MEND,
    errno.EDQUOT: _FREE_SPACE,
    errno.EEXIST: _IN_THE_WAY,
    errno.EFBIG: "lift the limit on the size of files (ulimit -f unlimited), or choose another disk",
    errno.EIO: "look at the disk (dmesg), or choose another",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: _FREE_SPACE,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EPERM: _MEND,
    errno.EROFS: _MEND,
}
"""Errors that are the disk's, and the way out of each."""
_ELSEWHERE = " with paths.data=FOLDER paths.artifacts=FOLDER"
_GOES_ON = "; then run the same command again: it goes on from what is finished"


def storage_error(error: OSError, takes_keys: bool) -> StorageError | None:
    """What a user is told of an error that is the disk's; None where it is another, and so a defect.

    Args:
        error: as the system has it.
        takes_keys: whether the command takes configuration keys, and so other folders, and goes on when it is repeated.
    """
    if error.errno not in _STORAGE_ERRORS:
        return None
    way_out = _STORAGE_ERRORS[error.errno]
    if takes_keys:
        way_out += (_ELSEWHERE if "another" in way_out else "") + _GOES_ON
    return StorageError(f"{error.filename or 'a file'}: {error.strerror or error}", "", way_out)


class MissingPackageError(MoolaError):
    """An optional package that this command needs is not installed."""

    exit_code = EXIT_ENVIRONMENT


class LostProcessError(MoolaError):
    """Another of the processes that ``torchrun`` started has ended, for a reason that it tells itself."""

    exit_code = EXIT_FAILED


EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "aeon": "data",
        "arch": "data",
        "pandera": "data",
        "polars": "data",
        "pyarrow": "data",
        "cleanlab": "evidence",
        "fastapi": "review",
        "httpx": "pods",
        "pathspec": "pods",
        "jinja2": "evidence",
        "mapie": "evidence",
        "mlflow": "mlflow",
        "optuna": "search",
        "resvg_py": "evidence",
        "scipy": "evidence",
        "skops": "evidence",
        "sklearn": "evidence",
        "tensorboard": "tensorboard",
        "usearch": "neighbours",
        "uvicorn": "review",
        "wandb": "wandb",
        "wandb_workspaces": "wandb",
        "xgboost": "evidence",
    }
)
"""Optional modules -> the extra that brings each."""


def missing_extras() -> MissingPackageError:
    """An error that names every optional module that cannot be imported."""
    missing = {name: extra for name, extra in EXTRAS.items() if importlib.util.find_spec(name) is None}
    return MissingPackageError(
        f"{len(missing)} packages are not installed",
        "\n".join(f"- {name}" for name in missing),
        f"pip install 'moola[{','.join(sorted(set(missing.values())))}]'",
    )


def cause_of(error: BaseException) -> str:
    """What ended something, for logs and manifests: ``"DataError: no bars"``; an interruption has no text itself."""
    return "Ctrl-C or a signal" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def printable(text: str, keep: str = "\t\n") -> str:
    r"""A text that cannot act on a terminal: signs that are no plain ones are spelt out, e.g. ``\x1b``.

    For whatever others wrote: a pod, a server, a file name. An escape sequence of theirs could clear the screen, hide
    what stands there, or write to the clipboard. Line ends of Windows become plain ones.

    Args:
        text: anything.
        keep: signs that stay; without the line end it is one line.
    """
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(lambda sign: sign[0] if sign[0] in keep else sign[0].encode("unicode_escape").decode(), text)


def did_you_mean(name: str, known: Iterable[str], n: int = 3) -> str:
    """A sentence that names the near misses, else everything known: ``"did you mean 'hidden'?"``."""
    names = sorted(set(known))
    near = near_names(name, names, n)
    if near:
        return ask_for(near)
    return "known: " + ", ".join(names) if names else "none are known"


def near_names(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The near misses among what is known, the nearest first, whatever their case; else what holds the name."""
    folded = {other.casefold(): other for other in sorted(known, reverse=True)}
    near = difflib.get_close_matches(name.casefold(), folded, n=n, cutoff=0.6)
    if not near and len(name) >= _SHORTEST_PART:
        near = sorted(other for other in folded if name.casefold() in other)[:n]
    return [folded[other] for other in near]


def ask_for(names: Iterable[str]) -> str:
    """``"did you mean 'this' or 'that'?"``."""
    return "did you mean " + " or ".join(f"'{name}'" for name in names) + "?"
