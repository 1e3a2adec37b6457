"""Whether the header of a table is the one that is expected."""

from __future__ import annotations

from collections.abc import Sequence

from moola.data.sources.problems import Problems
from moola.errors import did_you_mean

_SEPARATORS = (";", "\t", "|")


def is_header(header: Sequence[str], needed: Sequence[str], once: Sequence[str], problems: Problems) -> bool:
    """Whether the columns are there; what is wrong with them is told.

    Args:
        header: names of the columns that were found.
        needed: those that must be there.
        once: those that must not stand there twice.
        problems: where it is told.
    """
    begin = ",".join(needed)
    if not any(header):
        problems.say("it is empty", f"write a header {begin} and one row a window")
        return False
    missing = [name for name in needed if name not in header]
    separator = separator_of(header)
    if missing and separator is not None:
        problems.say(f"its cells are separated by {separator!r}", "separate them by commas")
        return False
    for name in missing:
        problems.say(
            f"column '{name}' is missing; {did_you_mean(name, header)}", f"begin the file with the header {begin}"
        )
    twice = [name for name in dict.fromkeys(once) if name and list(header).count(name) > 1]
    for name in twice:
        problems.say(f"column '{name}' stands twice in the header", "keep one of them")
    return not missing and not twice


def separator_of(header: Sequence[str]) -> str | None:
    """What separates the cells of a header that was read as one cell; None where it is one."""
    return next((sign for sign in _SEPARATORS if len(header) == 1 and sign in header[0]), None)
