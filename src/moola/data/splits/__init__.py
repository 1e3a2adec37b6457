"""Splits that do not leak: a sealed test, and folds whose training windows share no time with what they predict.

`purging` holds the one rule that keeps windows apart, `proof` measures afterwards that it was kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowSpans
from moola.registry import Registry

Coverage = Literal["once", "some", "many"]
"""How often the folds hold a labelled window out: each once; some never, none twice; each, some more than once."""


@dataclass(frozen=True)
class Fold:
    """Row numbers of labelled windows: what a fold trains on and what it predicts; the others are in neither.

    Attributes:
        train: int64 [n_train].
        held_out: int64 [n_held_out].
    """

    train: np.ndarray
    held_out: np.ndarray


class Splitter(Protocol):
    """Which windows train, which are sealed, and how labelled training windows are folded.

    Three things more are read where a splitter has them. ``purge_bars``, ``purge_time``, ``embargo_bars`` and
    ``embargo_time`` are a promise: the finished split is measured and refused where it was not kept. ``test_from``
    goes into the seal of the test. ``fingerprint()`` is the digest of what is read from outside moola.
    """

    coverage: ClassVar[Coverage]
    """How often `folds` holds a window out."""

    def spans(self, store: BarStore, windows: WindowSpans) -> np.ndarray:
        """``"train"``, ``"test"`` or ``"excluded"`` for each window, str [n_windows].

        Raises:
            DataError: these bars cannot be split this way.
        """
        ...

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """Folds over labelled training windows, as row numbers into `windows`.

        Args:
            store: the bars.
            windows: spans of the labelled training windows alone, n of them, in the order of the windows table.
            labels: int64 [n] class numbers.

        Raises:
            DataError: these windows cannot be folded this way.
        """
        ...


def fingerprint_of(splitter: Splitter) -> str:
    """Digest of what the splitter reads from outside moola; empty when nothing."""
    fingerprint = getattr(splitter, "fingerprint", None)
    return fingerprint() if fingerprint is not None else ""


SPLITTERS: Registry[Splitter] = Registry(
    "splitter",
    {
        "purged_kfold": "moola.data.splits.purged_kfold:PurgedKFold",
        "walk_forward": "moola.data.splits.walk_forward:WalkForward",
        "combinatorial_purged": "moola.data.splits.combinatorial:CombinatorialPurged",
        "session_folds": "moola.data.splits.sessions:SessionFolds",
        "group_folds": "moola.data.splits.groups:GroupFolds",
        "given_cases": "moola.data.splits.cases:GivenCases",
        "saved": "moola.data.splits.saved:Saved",
    },
)
