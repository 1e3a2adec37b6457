"""Everything that is wrong with one file, told in one go."""

from __future__ import annotations

from moola.errors import DataError

SHOWN = 5
"""Places named for each kind of problem; the rest are counted."""


class Problems:
    """Problems of one file, grouped by kind: how many of each, and where the first of them stand.

    Args:
        file: name that each line begins with; empty for problems between files.
    """

    def __init__(self, file: str = "") -> None:
        self._prefix = f"{file}: " if file else ""
        self._said: list[str] = []
        self._places: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._ways_out: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._said or self._counts)

    def say(self, sentence: str, way_out: str = "") -> None:
        """A problem of the whole file."""
        self._said.append(sentence)
        self._ways_out[way_out] = None

    def count(self, kind: str, place: str, way_out: str = "") -> None:
        """One more problem of a kind that many rows can have.

        Args:
            kind: in the plural, as it follows a number: ``"values that are no numbers"``.
            place: where, and what stands there: ``"line 14, value 3: 'abc'"``.
            way_out: what to do about this kind.
        """
        self._counts[kind] = self._counts.get(kind, 0) + 1
        places = self._places.setdefault(kind, [])
        if len(places) < SHOWN:
            places.append(place)
        self._ways_out[way_out] = None

    def lines(self) -> list[str]:
        """One bullet a sentence or kind, in the order of their first appearance."""
        counted = [
            f"{n} {kind}: {'; '.join(self._places[kind])}{'; ...' if n > SHOWN else ''}"
            for kind, n in self._counts.items()
        ]
        return [f"- {self._prefix}{line}" for line in (*self._said, *counted)]

    def ways_out(self) -> list[str]:
        """What to do, each once."""
        return [way_out for way_out in self._ways_out if way_out]


def refuse(what: str, *groups: Problems) -> None:
    """Raise one DataError with everything in `groups`; do nothing where they are all empty."""
    if any(groups):
        lines = [line for group in groups for line in group.lines()]
        ways_out = dict.fromkeys(way_out for group in groups for way_out in group.ways_out())
        raise DataError(what, "\n".join(lines), "; ".join(ways_out) or "mend or replace the file")
