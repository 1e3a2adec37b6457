"""The next windows to annotate: those that a model is unsure of and that cover what nobody has looked at.

Filtered active selection (Wei, Iyer & Bilmes 2015, ICML): uncertainty filters, coverage chooses among what is left.
Coverage is the greedy k-centre of core-sets (Sener & Savarese 2018, arXiv:1708.00489, algorithm 1): again and again the
window that is farthest from all labelled and all chosen ones. It asks for odd windows early; the filter and the strata
hold it to windows that a model is unsure of, at every part of the day and in calm and wild markets alike. Where there
is little free time the farthest window may stand in the way of two others: then it is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.config import reject
from moola.data.window_index import WindowIndex, WindowSpans
from moola.errors import DataError


@dataclass(frozen=True)
class BatchConfig:
    """How windows are chosen.

    Attributes:
        size: windows to choose.
        unsure_share: of each stratum, the most uncertain ones that coverage chooses among; 1: uncertainty has no say.
        pool: windows to look at, evenly spaced over time.
    """

    size: int = 50
    unsure_share: float = 0.25
    pool: int = 20_000

    def __post_init__(self) -> None:
        reject(
            (self.size < 1, f"size: {self.size} must be at least 1"),
            (not 0 < self.unsure_share <= 1, f"unsure_share: {self.unsure_share} must lie in (0, 1]"),
            (self.pool < self.size, f"pool: {self.pool} must be at least size ({self.size})"),
        )

    def choose(
        self,
        spans: WindowSpans,
        strata: np.ndarray,
        vectors: np.ndarray,
        known: np.ndarray,
        uncertainty: np.ndarray | None = None,
    ) -> ChosenWindows:
        """Choose among n candidates; no two of those chosen share time.

        Every stratum gets as many as the others, as far as it has some; what is left over goes to the others. None is
        chosen that leaves too little room for the rest: there are fewer than `size` where no more fit side by side.

        Args:
            spans: of the candidates.
            strata: number of the stratum of each, int64 [n].
            vectors: embeddings of length 1, float32 [n, E] (`moola.labels.neighbours.Standardisation.unit`).
            known: the same of windows that have a label, [m, E]; none before the first label.
            uncertainty: of each, [n]; None: coverage alone chooses.

        Raises:
            DataError: there are no candidates.
        """
        if not len(strata):
            raise DataError(
                "there is no window left to annotate",
                "all training windows overlap one that is labelled, blacklisted or in a batch already",
                "bring more bars, or take batches back by deleting their files",
            )
        allowed = np.ones(len(strata), dtype=bool) if uncertainty is None else self._unsure(strata, uncertainty)
        rows, distances = self._cover(spans, strata, vectors, known, allowed)
        return ChosenWindows(rows, distances)

    def _unsure(self, strata: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
        """The most uncertain share of every stratum, and at least four times what it is to give: bool [n]."""
        numbers = np.unique(strata)
        least = 4 * -(-self.size // len(numbers))
        allowed = np.zeros(len(strata), dtype=bool)
        for number in numbers:
            own = np.flatnonzero(strata == number)
            n = max(least, round(self.unsure_share * len(own)))
            allowed[own[np.lexsort((own, -uncertainty[own]))][:n]] = True
        return allowed

    def _cover(
        self, spans: WindowSpans, strata: np.ndarray, vectors: np.ndarray, known: np.ndarray, allowed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the chosen ones in their order, and how far each was from all known and chosen before."""
        apart = np.ones(len(strata), dtype=bool)  # from all that were chosen
        room = side_by_side(spans, apart)
        n = min(self.size, int(room.max()))
        steps = spans.last_step - spans.first_step + 1
        is_tight = room.max() < n * (1 - (-steps.max() // steps.min()))  # so many others does one window meet at most
        distance = _to_nearest(vectors, known)
        given = dict.fromkeys(np.unique(strata).tolist(), 0)
        rows: list[int] = []
        distances: list[float] = []
        while len(rows) < n:
            fitting = apart & (room >= n - len(rows))
            free = fitting & allowed
            free = free if free.any() else fitting  # what uncertainty left is used up: the others may come
            open_strata = np.unique(strata[free])
            fewest = min(given[number] for number in open_strata.tolist())
            turn = free & np.isin(strata, [number for number in open_strata.tolist() if given[number] == fewest])
            # Where nothing is known every window is equally far: the most usual one is first, not the oddest.
            score = distance if len(known) or rows else 1 + vectors @ vectors.mean(axis=0)
            row = int(np.where(turn, score, -1.0).argmax())
            rows.append(row)
            distances.append(float(distance[row]))
            given[int(strata[row])] += 1
            distance = np.minimum(distance, 1 - vectors @ vectors[row])
            apart &= (spans.last_step < spans.first_step[row]) | (spans.first_step > spans.last_step[row])
            room = side_by_side(spans, apart) if is_tight else room
        return np.array(rows, dtype=np.int64), np.array(distances)


@dataclass(frozen=True)
class ChosenWindows:
    """What was chosen.

    Attributes:
        rows: places among the candidates, int64 [size] or fewer, in the order in which they were chosen.
        distances: of each from the nearest window that was labelled or chosen before it, 1 minus the cosine.
    """

    rows: np.ndarray
    distances: np.ndarray


def normalised_entropy(probabilities: np.ndarray) -> np.ndarray:
    """``-sum p log p / log K`` of each row, 0 (sure) to 1 (knows nothing): [n, K] -> float64 [n]."""
    p = np.asarray(probabilities, dtype=np.float64)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return -(p * logs).sum(axis=1) / np.log(p.shape[1])


def thirds(values: np.ndarray) -> np.ndarray:
    """0, 1 or 2: in which third of all values each lies, int64 [n]; equal values lie in the same."""
    lower, upper = np.quantile(values, [1 / 3, 2 / 3], method="lower")
    return (values > lower).astype(np.int64) + (values > upper)


def touched(windows: WindowIndex, intervals: np.ndarray) -> np.ndarray:
    """Which windows share a bar with some interval, bool [n_windows].

    Args:
        windows: with their horizon.
        intervals: first and past-the-end bar of the store, int64 [m, 2].
    """
    n_bars = int(windows.starts[-1]) + windows.reach
    edges = np.zeros(n_bars + 1, dtype=np.int64)
    np.add.at(edges, intervals[:, 0].clip(0, n_bars), 1)
    np.add.at(edges, intervals[:, 1].clip(0, n_bars), -1)
    covered = np.concatenate([[0], np.cumsum(np.cumsum(edges[:-1]) > 0)])
    starts = np.asarray(windows.starts)
    return covered[starts + windows.reach] > covered[starts]


def side_by_side(spans: WindowSpans, among: np.ndarray) -> np.ndarray:
    """How many windows can be taken of which no two share time and this is one: int64 [n], 0 for those not among.

    Before it as many fit as there are when the one that ends first is taken again and again, which no other choice
    beats for any prefix of time (Kleinberg & Tardos 2006, "Algorithm Design", section 4.1); after it, backwards.

    Args:
        spans: of the windows.
        among: those that may be taken, bool [n].
    """
    first, last = spans.first_step[among], spans.last_step[among]
    by_first, by_last = np.argsort(first), np.argsort(last)
    starts, ends = first[by_first], last[by_last]
    next_end = np.minimum.accumulate(last[by_first][::-1])[::-1]  # of windows that start there or later
    next_start = np.maximum.accumulate(first[by_last])  # of windows that end there or earlier
    taken_ends: list[int] = []
    place = 0
    while place < len(starts):
        taken_ends.append(int(next_end[place]))
        place = int(starts.searchsorted(taken_ends[-1], side="right"))
    taken_starts: list[int] = []
    place = len(ends)
    while place > 0:
        taken_starts.append(int(next_start[place - 1]))
        place = int(ends.searchsorted(taken_starts[-1], side="left"))
    found = np.zeros(len(among), dtype=np.int64)
    after = len(taken_starts) - np.searchsorted(taken_starts[::-1], last, side="right")
    found[among] = np.searchsorted(taken_ends, first, side="left") + 1 + after
    return found


def _to_nearest(vectors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 minus the cosine to the nearest known vector, 2 without any: float32 [n]."""
    nearest = np.full(len(vectors), 2.0, dtype=np.float32)
    for first in range(0, len(known), 1024):
        np.minimum(nearest, 1 - (vectors @ known[first : first + 1024].T).max(axis=1), out=nearest)
    return nearest
