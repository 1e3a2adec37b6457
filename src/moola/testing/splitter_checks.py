"""What every splitter has to keep: nothing that trains shares time with what is held out, and promises are kept."""

from __future__ import annotations

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.durations import UNITS_US
from moola.data.splits import Fold, Splitter
from moola.data.splits.proof import prove
from moola.data.splits.sealed import moment_us
from moola.data.window_index import WindowConfig, WindowIndex, WindowSpans
from moola.pipelines.stages.splits import check_folds, check_gaps, check_parts
from moola.testing.checks import check_component

_DAY_US = UNITS_US["d"]


def check_splitter(splitter: Splitter, store: BarStore | None = None, window: WindowConfig | None = None) -> None:
    """Parts and folds are disjoint in time as declared, cover the windows as announced, and come out the same twice.

    Args:
        splitter: to be checked.
        store: bars to split; None: three random markets whose series trade at different times, around the splitter's
            ``test_from``. Give `random_cases` to a splitter of independent cases, and a store with names of its own to
            one that reads them.
        window: how windows are cut; None: 6 bars of a calendar, whole cases.

    Raises:
        AssertionError: it broke a rule.
        DataError: it leaks; or it cannot split these bars at all.
    """
    check_component(splitter)
    assert splitter.coverage in ("once", "some", "many"), f"coverage is '{splitter.coverage}'"
    test_from = getattr(splitter, "test_from", None)
    stores = [random_market(seed, test_from) for seed in range(3)] if store is None else [store]
    for bars in stores:
        config = window or WindowConfig(length=None if bars.independent else 6)
        windows = WindowIndex.build(bars, config)
        _check_on(splitter, bars, windows, windows.spans(bars))


def _check_on(splitter: Splitter, store: BarStore, windows: WindowIndex, spans: WindowSpans) -> None:
    part = splitter.spans(store, spans)
    check_parts(part, len(spans))
    assert np.array_equal(part, splitter.spans(store, spans)), "the same windows are split otherwise the second time"
    rows = np.flatnonzero(part == "train")
    assert len(rows), "no window trains"
    labels = np.random.default_rng(0).integers(0, 2, len(rows))
    labelled = spans[rows]
    folds = splitter.folds(store, labelled, labels)
    assert folds, "there are no folds"
    check_folds(folds, len(rows), splitter.coverage)
    for number, (fold, again) in enumerate(zip(folds, splitter.folds(store, labelled, labels), strict=True)):
        same = np.array_equal(fold.train, again.train) and np.array_equal(fold.held_out, again.held_out)
        assert same, f"fold {number} is another one the second time"
        assert len(fold.train), f"fold {number} trains on nothing"
        shares = _shares_time(labelled, fold)
        assert not shares, f"fold {number} trains on a window that shares time with a held-out one"
    test = np.flatnonzero(part == "test")
    assert not _shares_time(spans, Fold(rows, test)), "the sealed test shares time with training"
    check_gaps(prove(splitter, store, windows, spans, part, rows, folds))


def _shares_time(windows: WindowSpans, fold: Fold) -> bool:
    """Whether some pair overlaps, by comparing all of them."""
    kept, held = windows[fold.train], windows[fold.held_out]
    begun = kept.first_step[:, None] <= held.last_step[None, :]
    return bool(np.any(begun & (kept.last_step[:, None] >= held.first_step[None, :])))


def random_market(seed: int = 0, test_from: str | None = None, n_series: int = 3, n_bars: int = 300) -> BarStore:
    """Series on one calendar that pause at different times; a quarter of the bars begin at `test_from` or later."""
    generator = np.random.default_rng(seed)
    border = moment_us(test_from) if test_from is not None else 0
    days = [np.cumsum(generator.choice([1, 1, 1, 2, 5], n_bars)) for _ in range(n_series)]
    times = [border + (day - day[3 * n_bars // 4]) * _DAY_US for day in days]
    return _store(times, seed, independent=False, split=None)


def random_cases(seed: int = 0, n_cases: int = 40, n_bars: int = 12) -> BarStore:
    """Independent cases of equal length, three of four for training."""
    return _store([np.arange(n_bars)] * n_cases, seed, independent=True, split=("train", "train", "train", "test"))


def _store(times: list[np.ndarray], seed: int, *, independent: bool, split: tuple[str, ...] | None) -> BarStore:
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in times])]).astype(np.int64)
    values = np.random.default_rng(seed).normal(size=(int(offsets[-1]), 1)).astype(np.float32)
    return BarStore(
        values,
        np.concatenate(times).astype(np.int64),
        offsets,
        tuple(f"{number // 2}_{number % 2}" for number in range(len(times))),
        tuple(split[number % len(split)] if split else None for number in range(len(times))),
        (None,) * len(times),
        ("x",),
        independent,
        digest=f"random bars {seed}",
    )
