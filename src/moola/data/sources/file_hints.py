"""What a column is likely to hold, from its name and first cells: for the hints of errors, never to read by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import polars as pl

from moola.errors import DataError, did_you_mean

TIMES_OF_DAY = ("time", "timeofday", "clock", "hhmm", "hhmmss")
DATES = ("date", "day", "tradedate", "tradingday", "yyyymmdd")
MOMENTS = ("datetime", "dateandtime", "gmttime", "localtime", "opentime", "unixtime", "unix", "ts", *TIMES_OF_DAY)
SYMBOLS = ("symbol", "ticker", "instrument", "isin", "asset", "pair", "series", "session", "code", "security")

_MANY = 0.25
"""Series that were read as one show when at least this part of the rows does not go forward in time."""

_FORMAT = re.compile(r"\d{4}([./-]?)\d{2}\1\d{2}(?:(?P<gap>[ T])\d{2}(?P<colon>:?)\d{2}(?P<s>(?P=colon)\d{2})?)?")


def bare(name: str) -> str:
    """A name without case, brackets, blanks and underscores: ``<OPEN>`` and ``Open`` are ``open``."""
    return re.sub(r"[\W_]+", "", name.casefold())


def likely(names: Iterable[str], words: Sequence[str]) -> str | None:
    """The name that is the first of `words`, else the second and so on; None where there is none."""
    known = {bare(name): name for name in reversed(list(names))}
    return next((known[word] for word in words if word in known), None)


def near(name: str, names: Sequence[str]) -> str:
    """``did you mean 'Close'?``: the name written otherwise, near misses, or all names."""
    same = likely(names, (bare(name),))
    return f"did you mean '{same}'?" if same is not None else did_you_mean(name, names)


def quoted(name: str) -> str:
    """A column's name as the value of a setting."""
    return name if re.fullmatch(r"[A-Za-z_][\w.-]*", name) else f'"{name}"'


def setting(key: str, name: str) -> str:
    """``data.timestamp=Time``, ready to be pasted into a shell."""
    value = quoted(name)
    return f"{key}={value}" if value == name else f"'{key}={value}'"


def likely_format(text: str) -> str | None:
    """The strptime format of a time that begins with its year: ``%Y.%m.%d %H:%M`` for ``2024.01.02 00:05``."""
    found = _FORMAT.fullmatch(text)
    if found is None:
        return None
    clock = ""
    if found["gap"]:
        clock = f"{found['gap']}%H{found['colon']}%M" + (f"{found['colon']}%S" if found["s"] else "")
    return found[1].join(("%Y", "%m", "%d")) + clock


class SymbolWatch:
    """Looks on while a file is read as one series whose column of symbols is not.

    A file of several symbols goes back in time again and again. One symbol after another is no fault as long as time
    goes forward (contracts of a future).

    Args:
        place: the file.
        column: its column of symbols.
    """

    def __init__(self, place: str, column: str) -> None:
        self.place, self.column = place, column
        self._latest: int | None = None
        self._first: str | None = None

    def look(self, symbols: pl.Series, times: pl.Series) -> None:
        """Look at the next rows.

        Raises:
            DataError: rows of several symbols, many of which do not go forward in time.
        """
        stamps = times.to_physical().drop_nulls()
        if stamps.is_empty():
            return
        before, last = self._latest, int(stamps.max())  # type: ignore[arg-type]
        self._latest = last if before is None else max(last, before)
        if self._first is None:
            self._first = next(iter(symbols.drop_nulls().head(1).cast(pl.String)), None)
        if (before is None or int(stamps[0]) > before) and not (stamps.diff() <= 0).any():  # nearly always
            return
        latest = stamps.cum_max().shift(1)
        if before is not None:
            latest = latest.fill_null(before).clip(lower_bound=before)
        n_late = int((stamps <= latest).sum())
        names = [self._first, *symbols.drop_nulls().cast(pl.String).unique(maintain_order=True).head(3)]
        shown = [repr(name) for name in dict.fromkeys(names) if name is not None][:3]
        if len(shown) > 1 and n_late >= _MANY * len(stamps):
            way_out = setting("data.symbol", self.column)
            raise DataError(
                f"{self.place} holds several series ({', '.join(shown)}), which column '{self.column}' tells apart: "
                f"{way_out}",
                f"read as one series, {n_late:,} of {len(stamps):,} rows do not go forward in time",
                way_out,
            )
