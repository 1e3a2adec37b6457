"""Does a channel know what comes? A column that was computed from later bars correlates with the future."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moola.data.bar_store import BarStore

MIN_CORRELATION = 0.5
"""With the future, from which a channel is suspected; what is honestly known tells returns to less than .1."""
MIN_LEAD = 0.2
"""By which it has to exceed the correlation with the past: what only goes on as before (a smooth sensor, a slow
indicator) tells as much of what was, and what looks ahead does not."""
MIN_CHANGES = 60
"""Changes that do not overlap, from which a horizon is looked at: n bars hold n / horizon of them. With fewer, honest
random walks tell more than `MIN_CORRELATION` by chance (measured, with five channels besides the close: from 20 changes
on in 2 runs of 60, from 40 on in none of 810)."""
_MOST_BARS = 20_000
TARGET = "close"


@dataclass(frozen=True)
class Lookahead:
    """One channel that tells more of what comes than of what was.

    Attributes:
        channel: its name.
        horizon_bars: bars ahead, where it tells most.
        future: correlation with the change of the close over so many bars to come, absolute.
        past: the same with the change over so many bars before.
    """

    channel: str
    horizon_bars: int
    future: float
    past: float


def find_lookahead(store: BarStore, longest_bars: int) -> list[Lookahead]:
    """Channels that know the future of the close, each with the horizon at which it shows most.

    What is correlated with the change of the close, over 1, 2, 4, ... bars: the channel itself, its own last change,
    and how far it lies from the close. A channel that leaks little of the future, or leaks something that is not a
    change of the price (a label), is not found; nor is a leak over horizons of which the bars hold fewer than
    `MIN_CHANGES`. Bars without a close are not looked at: one sensor may well lead
    another (measured: eight channels of BasicMotions and JapaneseVowels do), a price is led by nothing known.

    Args:
        store: bars; of long ones the last 20,000 are looked at.
        longest_bars: the longest horizon.
    """
    if TARGET not in store.channels:
        return []
    horizons = [1 << power for power in range(longest_bars.bit_length()) if 1 << power <= longest_bars]
    found: list[Lookahead] = []
    for number, channel in enumerate(store.channels):
        if channel == TARGET:
            continue
        told = [Lookahead(channel, horizon, *_correlations(store, number, horizon)) for horizon in horizons]
        best = max(told, key=lambda one: one.future - one.past)
        if best.future >= MIN_CORRELATION and best.future - best.past >= MIN_LEAD:
            found.append(best)
    return found


def _correlations(store: BarStore, channel: int, horizon: int) -> tuple[float, float]:
    """The largest absolute correlation of any form of the channel with the future, and that form's with the past."""
    parts = [part for part in _pieces(store, channel, horizon) if len(part[0])]
    if sum(len(part[0]) for part in parts) < MIN_CHANGES * horizon:
        return 0.0, 0.0
    past, future, *forms = (np.concatenate(column) for column in zip(*parts, strict=True))
    pairs = [(rank_correlation(form, future), rank_correlation(form, past)) for form in forms]
    return max(pairs, key=lambda pair: pair[0] - pair[1])


def _pieces(store: BarStore, channel: int, horizon: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Series by series: change of the close before, change to come, and the forms of the channel, all [n]."""
    target, left = store.channels.index(TARGET), _MOST_BARS
    for first, past in zip(store.offsets[-2::-1], store.offsets[:0:-1], strict=True):
        first = max(int(first), int(past) - left)
        left -= int(past) - first
        x, y = (np.asarray(store.values[first:past, one], dtype=np.float64) for one in (channel, target))
        now = slice(horizon, len(y) - horizon)
        before, after = y[: max(len(y) - 2 * horizon, 0)], y[2 * horizon :]
        if (y > 0).all():  # prices: what counts is the relative change
            gap = np.divide(x, y)[now] - 1
            yield y[now] / before - 1, after / y[now] - 1, gap, x[now], np.diff(x, prepend=x[:1])[now] / y[now]
        else:
            yield y[now] - before, after - y[now], x[now] - y[now], x[now], np.diff(x, prepend=x[:1])[now]
        if left <= 0:
            return


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, absolute, which no outlier makes; 0 where one of the two is constant.

    Args:
        a, b: [n], without NaN.
    """
    from scipy.stats import rankdata

    a, b = (ranks - ranks.mean() for ranks in (rankdata(a), rankdata(b)))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return abs(float((a * b).sum())) / scale if scale > 0 else 0.0
