"""Which guesses of a teacher are good enough to be learned from as if they were labels.

Pseudo-labels (Scudder 1965, IEEE Transactions on Information Theory 11; Lee 2013, ICML workshop on challenges in
representation learning): a teacher that learned from the labels there are names the class of windows without any, and a
student learns from both. What it may name is gated here; that it never knew the windows on which the student is judged
is the business of `moola.labels.pseudo_labels`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.config import reject
from moola.data.window_index import WindowSpans


@dataclass(frozen=True)
class PseudoGates:
    """What a guess has to pass, one after the other.

    Attributes:
        sure: mean probability over all votes from which a guess counts.
        likely: the same for a class that has too few of those; it is filled up with these to the number of the others.
        consistency: least share of the votes (teachers of all seeds, each on all weak views of the window) that name
            the class which their mean names.
        max_per_class: most windows of a class.
        imbalance: how far the share of a class may lie from an even one, as a part of it: .1 allows .45 to .55 of two
            classes. Where a class has too few, the others are cut; where it has none, nothing passes.
    """

    sure: float = 0.92
    likely: float = 0.85
    consistency: float = 0.75
    max_per_class: int = 200
    imbalance: float = 0.1

    def __post_init__(self) -> None:
        shares = {"sure": self.sure, "likely": self.likely, "consistency": self.consistency}
        reject(
            *((not 0 < share <= 1, f"{name}: {share} must lie in (0, 1]") for name, share in shares.items()),
            (self.likely > self.sure, f"likely: {self.likely} must not be above sure ({self.sure})"),
            (self.max_per_class < 1, f"max_per_class: {self.max_per_class} must be at least 1"),
            (not 0 <= self.imbalance < 1, f"imbalance: {self.imbalance} must lie in [0, 1)"),
        )

    def judge(self, votes: np.ndarray, spans: WindowSpans) -> Passed:
        """The windows that pass.

        No two of them share time: windows a bar apart are one event, and would fill every class with copies of it.

        Args:
            votes: probabilities [n_votes, n, n_classes].
            spans: of the n windows.
        """
        mean = votes.mean(axis=0)
        label, confidence = mean.argmax(axis=1), mean.max(axis=1)
        agreement = (votes.argmax(axis=2) == label).mean(axis=0)
        likely = confidence >= self.likely
        consistent = likely & (agreement >= self.consistency)
        candidates = np.flatnonzero(consistent)
        order = candidates[np.lexsort((candidates, -confidence[candidates]))]
        apart = self._apart(order, label, spans)
        chosen = self._balanced(apart, label, confidence, votes.shape[2])
        funnel = {
            "looked_at": len(label),
            "likely": int(likely.sum()),
            "sure": int((confidence >= self.sure).sum()),
            "consistent": len(candidates),
            "apart": len(apart),
            "passed": len(chosen),
        }
        return Passed(chosen, label[chosen], confidence[chosen], agreement[chosen], funnel)

    def _apart(self, order: np.ndarray, label: np.ndarray, spans: WindowSpans) -> np.ndarray:
        """Of candidates in order, those that share no time with one before them; at most so many a class."""
        if not len(order):
            return order
        begin = int(spans.first_step[order].min())
        taken = np.zeros(int(spans.last_step[order].max()) - begin + 1, dtype=bool)
        counts: dict[int, int] = {}
        kept: list[int] = []
        for row in order.tolist():
            steps = slice(spans.first_step[row] - begin, spans.last_step[row] - begin + 1)
            number = int(label[row])
            if counts.get(number, 0) < self.max_per_class and not taken[steps].any():
                taken[steps] = True
                counts[number] = counts.get(number, 0) + 1
                kept.append(row)
        return np.array(kept, dtype=np.int64)

    def _balanced(self, rows: np.ndarray, label: np.ndarray, confidence: np.ndarray, n_classes: int) -> np.ndarray:
        """The most confident of each class in such numbers that no class has too large or too small a share."""
        by_class = [rows[label[rows] == number] for number in range(n_classes)]
        sure = [int((confidence[own] >= self.sure).sum()) for own in by_class]
        wanted = max(sure)
        counts = np.array([min(len(own), wanted) for own in by_class])
        even = 1 / n_classes
        for most in range(int(counts.max()), 0, -1):
            cut = np.minimum(counts, most)
            if np.all(np.abs(cut / cut.sum() - even) <= self.imbalance * even + 1e-12):
                return np.sort(np.concatenate([own[:n] for own, n in zip(by_class, cut, strict=True)]))
        return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Passed:
    """Guesses that passed every gate.

    Attributes:
        rows: places among the windows that were looked at, int64 [m], ascending.
        labels: class numbers, int64 [m].
        confidence: mean probability of the class, float64 [m].
        agreement: share of the votes that name it, float64 [m].
        funnel: how many windows were looked at and how many were left after each gate.
    """

    rows: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    agreement: np.ndarray
    funnel: dict[str, int]
