"""Pseudo-labels that remember who made them and from what, and refuse to be used where that would leak.

A teacher that learned from all labels has read the answers of every fold, and its guesses carry them into each: figures
of students out of fold are then figures of memory. So pseudo-labels belong to the folds that their teacher left out,
and `PseudoLabels.check` stands between them and every fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.data.splits.purging import Margins, too_near
from moola.data.window_index import WindowSpans
from moola.errors import DataError


@dataclass(frozen=True)
class PseudoLabels:
    """Guessed labels for the students of some folds.

    Attributes:
        left_out: numbers of the folds whose held-out windows the teacher never saw; none: those of the sealed test.
        teacher_rows: windows whose labels the teacher learned from, int64 [n_taught], by number in the windows table.
        rows: windows that got a label, int64 [m], the same.
        labels: class numbers, int64 [m].
    """

    left_out: tuple[int, ...]
    teacher_rows: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    def check(
        self,
        left_out: tuple[int, ...],
        held_out: np.ndarray,
        sealed: np.ndarray,
        spans: WindowSpans,
        margins: Margins,
    ) -> None:
        """Refuse to train a student with these labels where they would leak.

        Args:
            left_out: folds that will judge the student.
            held_out: their windows, int64, by number in the windows table.
            sealed: windows of the sealed test.
            spans: of all windows.
            margins: that the split declares.

        Raises:
            DataError: the labels were made for other folds; the teacher learned from windows that judge, or from such
                as overlap them or come too near; or a pseudo-labelled window does. All of it in one go.
        """
        problems: list[str] = []
        if self.left_out != left_out:
            problems.append(f"- they were made for {_folds(self.left_out)} and are used for {_folds(left_out)}")
        for name, judging in (("held-out", held_out), ("sealed", sealed)):
            for what, rows in (("windows that taught", self.teacher_rows), ("pseudo-labelled windows", self.rows)):
                count = _near(rows, judging, spans, margins)
                if count:
                    problems.append(f"- {count} {what} are {name} windows, overlap some or come too near to them")
        if problems:
            raise DataError(
                f"these pseudo-labels leak into {_folds(left_out)}",
                "\n".join(problems),
                "let a teacher that left these folds out label windows that keep their distance from them",
            )


def may_be_labelled(
    candidates: np.ndarray,
    train: np.ndarray,
    held_out: np.ndarray,
    sealed: np.ndarray,
    spans: WindowSpans,
    margins: Margins,
) -> np.ndarray:
    """Windows without a label that the students of a fold may learn from, int64, by number in the windows table.

    They keep the declared distance from what judges. Where every labelled training window ends before the held-out
    ones begin (walk-forward), so do they: else students would know the future. Series that only held-out windows are
    of are left out too: a split by groups holds whole series out.

    Args:
        candidates: windows of the training span without a label.
        train: labelled windows that the fold trains on.
        held_out: labelled windows that it holds out.
        sealed: windows of the sealed test.
        spans: of all windows.
        margins: that the split declares.
    """
    own = spans[candidates]
    usable = ~too_near(own, spans[sealed], margins)
    if len(held_out):
        usable &= ~too_near(own, spans[held_out], margins)
        begins = spans.first_step[held_out].min()
        if spans.last_step[train].max() < begins:
            usable &= own.last_step < begins
        usable &= ~np.isin(own.series, np.setdiff1d(spans.series[held_out], spans.series[train]))
    return candidates[usable]


def _near(rows: np.ndarray, judging: np.ndarray, spans: WindowSpans, margins: Margins) -> int:
    """How many windows are too near to those that judge, or are of them."""
    if not len(rows) or not len(judging):
        return 0
    return int(too_near(spans[rows], spans[judging], margins).sum())


def _folds(left_out: tuple[int, ...]) -> str:
    names = " and ".join(map(str, left_out))
    return f"fold{'s' * (len(left_out) > 1)} {names}" if left_out else "the sealed test"
