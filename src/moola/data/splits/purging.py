"""Purging and embargo (López de Prado 2018, Advances in Financial Machine Learning, sections 7.4 and 12.4).

A window spans [first, last], both ends included, on two axes: bars of the common calendar, and time. Held-out windows
are enlarged by the purge on both sides; a window trains with them only if it does not overlap what comes out, and if it
does not begin within the embargo after them either. An overlap is purged always, also where the purge is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.durations import duration_problem, microseconds, spoken
from moola.data.splits import Fold
from moola.data.window_index import MOST_BARS, WindowSpans
from moola.errors import DataError


@dataclass(frozen=True)
class Margins:
    """What has to lie between a held-out window and one that trains with it.

    Attributes:
        purge_bars: bars on both sides; so many lie between at least.
        purge_us: microseconds on both sides; more than these lie between the two nearest bars.
        embargo_bars: bars after the held-out window.
        embargo_us: microseconds after the held-out window.
    """

    purge_bars: int = 0
    purge_us: int = 0
    embargo_bars: int = 0
    embargo_us: int = 0

    @classmethod
    def declared_by(cls, splitter: object) -> Margins:
        """The margins that a splitter promises in the fields that `PurgeConfig` has; 0 for those it has not."""
        declared = {item.name: getattr(splitter, item.name, None) for item in fields(PurgeConfig)}
        return cls(
            purge_bars=declared["purge_bars"] or 0,
            purge_us=microseconds(declared["purge_time"] or "0s"),
            embargo_bars=declared["embargo_bars"] or 0,
            embargo_us=microseconds(declared["embargo_time"] or "0s"),
        )

    @property
    def before_bars(self) -> int:
        """Bars that lie at least between a training window and the held-out window after it."""
        return self.purge_bars

    @property
    def after_bars(self) -> int:
        """Bars that lie at least between a held-out window and the training window after it."""
        return max(self.purge_bars, self.embargo_bars)

    @property
    def after_us(self) -> int:
        """Microseconds of which more lie between a held-out window and the training window after it."""
        return max(self.purge_us, self.embargo_us)

    @property
    def spoken(self) -> str:
        """The margins above 0, as a person says them."""
        said = {
            "a purge of": (self.purge_bars, self.purge_us),
            "an embargo of": (self.embargo_bars, self.embargo_us),
        }
        parts = [f"{words} {bars} bars" for words, (bars, _) in said.items() if bars]
        parts += [f"{words} {spoken(duration_us)}" for words, (_, duration_us) in said.items() if duration_us]
        return " and ".join(parts) or "no purge and no embargo"

    def without_embargo(self) -> Margins:
        """The purge alone."""
        return Margins(self.purge_bars, self.purge_us)


@dataclass(frozen=True, kw_only=True)
class PurgeConfig:
    """The fields of a splitter that purges; where both bars and time are given, the stricter counts.

    Attributes:
        purge_bars: bars kept free on both sides of held-out windows, beyond those they span.
        purge_time: time kept free on both sides (``"2d"``).
        embargo_bars: bars after held-out windows in which no training window begins.
        embargo_time: the same as a time.
    """

    purge_bars: int = 0
    purge_time: str | None = None
    embargo_bars: int = 0
    embargo_time: str | None = None

    @property
    def margins(self) -> Margins:
        """The same as numbers."""
        return Margins.declared_by(self)

    def purge_problems(self) -> tuple[tuple[bool, str], ...]:
        """Rules of these fields, for `moola.config.reject`."""
        bars = {name: getattr(self, name) for name in ("purge_bars", "embargo_bars")}
        times = {name: getattr(self, name) for name in ("purge_time", "embargo_time")}
        wrong = {name: duration_problem(value) for name, value in times.items() if value is not None}
        return (
            *((n < 0, f"{name}: {n} must not be negative") for name, n in bars.items()),
            *((n > MOST_BARS, f"{name}: {n} is more bars than there can be") for name, n in bars.items()),
            *((problem is not None, f"{name}: {problem}") for name, problem in wrong.items()),
        )


def purged_fold(
    windows: WindowSpans, held_out: np.ndarray, margins: Margins, number: int, eligible: np.ndarray | None = None
) -> Fold:
    """Hold some windows out and train on the others that keep their distance.

    Args:
        windows: n of them.
        held_out: bool [n].
        margins: what has to lie between.
        number: of the fold, for the message.
        eligible: bool [n], windows that may train at all; None: every one.

    Raises:
        DataError: nothing is left to train on.
    """
    candidates = np.flatnonzero(~held_out if eligible is None else eligible & ~held_out)
    train = candidates[~too_near(windows[candidates], windows[held_out], margins)]
    if not len(train):
        raise DataError(
            f"fold {number} has nothing left to train on",
            f"{len(candidates)} windows could train; all of them overlap one of the {int(held_out.sum())} held-out "
            f"windows, or come too near to it ({margins.spoken})",
            "use fewer folds, a shorter split.purge_bars and split.embargo_bars, or labels that spread over more time",
        )
    return Fold(train, np.flatnonzero(held_out))


def too_near(windows: WindowSpans, held_out: WindowSpans, margins: Margins) -> np.ndarray:
    """Which windows must not train with held-out ones, bool [len(windows)].

    An embargo needs no rule of its own: to begin inside it is to overlap a span that it prolongs.
    """
    near = _meets(
        windows.first_step,
        windows.last_step,
        *_merged(held_out.first_step - margins.before_bars, held_out.last_step + margins.after_bars),
    )
    if margins.after_us:
        near |= _meets(
            windows.first_time,
            windows.last_time,
            *_merged(held_out.first_time - margins.purge_us, held_out.last_time + margins.after_us),
        )
    return near


def refuse_margins_between_cases(store: BarStore, margins: Margins) -> None:
    """Independent cases share no calendar, so no margin can be measured between them.

    Raises:
        DataError: the store has such cases and some margin is above 0.
    """
    if store.independent and margins != Margins():
        raise DataError(
            "a purge or an embargo says nothing about independent cases",
            f"the {len(store.series)} cases share no calendar, and {margins.spoken} was asked for",
            "leave out split.purge_bars, split.purge_time, split.embargo_bars and split.embargo_time",
        )


def _merged(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The union of intervals [first, last] as disjoint ones in ascending order: their firsts and lasts."""
    order = np.argsort(first, kind="stable")
    begins, reach = first[order], np.maximum.accumulate(last[order])
    alone = np.ones(len(order) + 1, dtype=bool)  # a new interval begins here; one more for the end
    alone[1:-1] = begins[1:] > reach[:-1]
    return begins[alone[:-1]], reach[alone[1:]]


def _meets(first: np.ndarray, last: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which intervals [first, last] share a point with some of the disjoint ascending [begins, ends]."""
    if not len(begins):
        return np.zeros(len(first), dtype=bool)
    at = np.searchsorted(ends, first)  # the only one that can matter: the earliest that has not ended before
    return (at < len(begins)) & (begins[np.minimum(at, len(begins) - 1)] <= last)
