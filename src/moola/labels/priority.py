"""How urgently a label wants a look, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ISSUE, INVALID_POINTER, DISAGREE, OUTLIER = "issue", "invalid pointer", "annotators disagree", "outlier"
MOST = 2 / 3
"""Share of models and seeds from which an issue is urgent."""


@dataclass(frozen=True)
class Doubts:
    """What speaks against each label, arrays [n].

    Attributes:
        issue: confident learning flags it.
        agreement: share of models and seeds that are for the label of the consensus.
        duplicate_of: id of a window that looks the same and has another label; None where there is none.
        invalid_pointer: its pointers break a rule (`moola.schemas.annotations.pointer_rules`).
        disagree: the people who decided about it differ.
        outlier: the window looks like no other.
    """

    issue: np.ndarray
    agreement: np.ndarray
    duplicate_of: tuple[str | None, ...]
    invalid_pointer: np.ndarray
    disagree: np.ndarray
    outlier: np.ndarray

    def reasons(self) -> list[str]:
        """All that there are of each window, joined by ``"; "``; empty where nothing speaks against the label."""
        return ["; ".join(self._reasons(row)) for row in range(len(self.issue))]

    def priorities(self) -> np.ndarray:
        """int64 [n].

        - 3: one of two labels must be wrong (people differ, or the same window has two labels), or an issue that two
          thirds of models and seeds stand by;
        - 2: another issue, or pointers that cannot be right;
        - 1: an outlier: no model can tell what it is;
        - 0: nothing speaks against it.
        """
        contradicted = self.disagree | np.array([name is not None for name in self.duplicate_of], dtype=bool)
        urgent = contradicted | (self.issue & (self.agreement >= MOST))
        return np.select([urgent, self.issue | self.invalid_pointer, self.outlier], [3, 2, 1], default=0)

    def _reasons(self, row: int) -> Iterator[str]:
        if self.issue[row]:
            yield ISSUE
        if self.duplicate_of[row] is not None:
            yield f"near duplicate with another label: {self.duplicate_of[row]}"
        if self.invalid_pointer[row]:
            yield INVALID_POINTER
        if self.disagree[row]:
            yield DISAGREE
        if self.outlier[row]:
            yield OUTLIER
