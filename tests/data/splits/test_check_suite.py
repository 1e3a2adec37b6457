"""The public check-suite passes what is built in, and sees every way to leak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

from moola.data.bar_store import BarStore
from moola.data.splits import SPLITTERS, Coverage, Fold
from moola.data.splits.cases import GivenCases
from moola.data.splits.combinatorial import CombinatorialPurged
from moola.data.splits.groups import GroupFolds
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.sessions import SessionFolds
from moola.data.splits.walk_forward import WalkForward
from moola.data.window_index import WindowConfig, WindowSpans
from moola.errors import DataError
from moola.testing.splitter_checks import check_splitter, random_cases

FROM = "2013-01-01"
PASSING: dict[str, list[tuple[Any, BarStore | None]]] = {
    "purged_kfold": [
        (PurgedKFold(FROM), None),
        (PurgedKFold(FROM, purge_bars=3, embargo_time="9d"), None),
    ],
    "walk_forward": [
        (WalkForward(FROM, purge_time="2d"), None),
        (WalkForward(FROM, train="sliding", min_train=0.4), None),
    ],
    "combinatorial_purged": [(CombinatorialPurged(FROM, embargo_bars=4), None)],
    "session_folds": [(SessionFolds(FROM, by="day", n_folds=4, embargo_bars=2), None)],
    "group_folds": [(GroupFolds(pattern=r"^(\d+)_", test_share=0.2), random_cases())],
    "given_cases": [(GivenCases(), random_cases())],
}


@pytest.mark.parametrize(("splitter", "store"), [pair for pairs in PASSING.values() for pair in pairs])
def test_what_is_built_in_passes(splitter: Any, store: BarStore | None) -> None:
    check_splitter(splitter, store)


def test_every_name_is_checked_here() -> None:
    assert set(PASSING) | {"saved"} == set(SPLITTERS.built_in)


@dataclass(frozen=True)
class Plugin(PurgedKFold):
    """Does as the built-in one does, unless told otherwise."""

    n_folds: int = 3


@dataclass(frozen=True)
class NotPurged(Plugin):
    """Declares whatever it is told and purges nothing."""

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        made = PurgedKFold(self.test_from, self.n_folds).folds(store, windows, labels)
        every = np.arange(len(windows))
        return [Fold(np.setdiff1d(every, fold.held_out), fold.held_out) for fold in made]


@dataclass(frozen=True)
class TooShort(Plugin):
    """Purges overlaps alone, whatever it declares."""

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        return PurgedKFold(self.test_from, self.n_folds).folds(store, windows, labels)


@dataclass(frozen=True)
class LeakyTest(Plugin):
    """Windows across the border of the sealed test train."""

    def spans(self, store: BarStore, windows: WindowSpans) -> np.ndarray:
        part = super().spans(store, windows)
        return np.where(part == "excluded", "train", part)


@dataclass(frozen=True)
class Forgetful(Plugin):
    """Never holds the last block out."""

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        return super().folds(store, windows, labels)[:-1]


@dataclass(frozen=True)
class Repeating(Plugin):
    """Holds the first block out twice."""

    coverage: ClassVar[Coverage] = "some"

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        made = super().folds(store, windows, labels)
        return [*made, made[0]]


@dataclass(frozen=True)
class Moody(Plugin):
    """Folds another way each time."""

    calls: list[int] = field(default_factory=list)

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        self.calls.append(1)
        made = super().folds(store, windows, labels)
        return made if len(self.calls) % 2 else made[::-1]


@dataclass(frozen=True)
class OwnWords(Plugin):
    """Calls the training windows something else."""

    def spans(self, store: BarStore, windows: WindowSpans) -> np.ndarray:
        return np.where(super().spans(store, windows) == "train", "fit", "test")


@pytest.mark.parametrize(
    ("splitter", "says"),
    [
        (lambda: NotPurged(FROM), "shares time with a held-out one"),
        (lambda: NotPurged(FROM, purge_bars=104), "shares time with a held-out one"),
        (lambda: TooShort(FROM, purge_bars=4), "4 bars are declared"),
        (lambda: TooShort(FROM, embargo_bars=4), "4 bars are declared after"),
        (lambda: TooShort(FROM, purge_time="6d"), "more than 518400 s are declared"),
        (lambda: LeakyTest(FROM), "the sealed test shares time with training"),
        (lambda: Forgetful(FROM), "windows are never held out"),
        (lambda: Repeating(FROM), "windows are held out more than once"),
        (lambda: Moody(FROM), "is another one the second time"),
        (lambda: OwnWords(FROM), "'fit' is none of train, test, excluded"),
    ],
)
def test_a_splitter_that_leaks_or_lies_is_refused(splitter: Callable[[], Any], says: str) -> None:
    with pytest.raises((AssertionError, DataError), match=says):
        check_splitter(splitter())


def test_a_declared_purge_that_was_not_done_is_seen_where_windows_do_not_overlap() -> None:
    """The purge of 104 that was declared, and none done, at a stride that hides it from a search for overlaps."""
    window = WindowConfig(length=6, stride_bars=6)
    check_splitter(PurgedKFold(FROM, n_folds=3, purge_bars=20), window=window)
    with pytest.raises(DataError, match="104 bars are declared before what is held out"):
        check_splitter(TooShort(FROM, purge_bars=104), window=window)
