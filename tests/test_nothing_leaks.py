"""From bars to inputs, in one go: whatever the calendar, no window crosses a gap and nothing sees what it must not."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from moola.data.bar_store import BarStore
from moola.data.calendars import SessionCalendar
from moola.data.splits import Splitter
from moola.data.splits.combinatorial import CombinatorialPurged
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.walk_forward import WalkForward
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import DataError
from moola.features.anchored import Anchored
from moola.features.relative import RelativeTransform

MINUTE = 60_000_000
HALF_SESSION = SessionCalendar(timezone="America/New_York", open="09:30", close="12:00")
OHLC = ("open", "high", "low", "close")

# A series is the pauses between its bars, in minutes; those above 5 are gaps.
SERIES = st.lists(st.sampled_from([1, 1, 1, 1, 2, 5, 6, 45, 700]), min_size=60, max_size=160)


def candles(n: int, generator: np.random.Generator) -> np.ndarray:
    close = 100 * np.exp(0.01 * generator.normal(size=n).cumsum())
    opened = close * (1 + 0.002 * generator.normal(size=n))
    return np.stack([opened, np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999, close], axis=1)


def splitter(kind: str, test_from: str, folds: int, purge: int, embargo: int, in_time: bool) -> Splitter:
    margins = (
        {"purge_time": f"{purge}m", "embargo_time": f"{embargo}m"}
        if in_time
        else {"purge_bars": purge, "embargo_bars": embargo}
    )
    if kind == "walk_forward":  # nothing trains after what it holds out, so it takes no embargo
        purges = {name: value for name, value in margins.items() if name.startswith("purge")}
        return WalkForward(test_from=test_from, n_folds=folds, **purges)
    if kind == "combinatorial":
        return CombinatorialPurged(test_from=test_from, n_blocks=folds + 2, n_held_out=2, **margins)
    return PurgedKFold(test_from=test_from, n_folds=folds, **margins)


def held(store: BarStore, windows: WindowIndex, rows: np.ndarray) -> np.ndarray:
    """bool [n_bars]: bars that some window of these rows holds, counted one by one."""
    bars = np.zeros(store.n_bars, dtype=bool)
    for row in rows:
        bars[windows.starts[row] : windows.starts[row] + windows.reach] = True
    return bars


def apart(store: BarStore, train: np.ndarray, other: np.ndarray, before: int, after: int, in_time: bool) -> bool:
    """Whether no bar of `other` lies within the margins of a bar of `train`, compared pair by pair."""
    axis = store.timestamps if in_time else np.searchsorted(np.unique(store.timestamps), store.timestamps)
    unit = MINUTE if in_time else 1
    distance = axis[train][:, None] - axis[other][None, :]  # above 0: training comes after
    return not np.any((distance >= -before * unit) & (distance <= after * unit))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@given(
    pauses=st.lists(SERIES, min_size=1, max_size=2),
    length=st.integers(3, 9),
    horizon=st.integers(0, 3),
    stride=st.integers(1, 4),
    sessions=st.booleans(),
    kind=st.sampled_from(["kfold", "walk_forward", "combinatorial"]),
    folds=st.integers(2, 4),
    purge=st.integers(0, 8),
    embargo=st.integers(0, 12),
    in_time=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_window_crosses_a_gap_no_training_window_meets_a_held_out_one_and_no_input_sees_the_future(
    pauses: list[list[int]],
    length: int,
    horizon: int,
    stride: int,
    sessions: bool,
    kind: str,
    folds: int,
    purge: int,
    embargo: int,
    in_time: bool,
    seed: int,
    store_of: Callable[..., BarStore],
) -> None:
    generator = np.random.default_rng(seed)
    monday = 1_704_724_200_000_000  # 09:30 in New York
    shape = store_of(*(monday + np.cumsum(some) * MINUTE for some in pauses), channels=OHLC)
    values = candles(shape.n_bars, generator).astype(np.float32)
    store = BarStore(values, *list(vars(shape).values())[1:])
    calendar = HALF_SESSION if sessions else None
    config = WindowConfig(length=length, stride_bars=stride, horizon_bars=horizon, max_gap="5m")
    try:
        windows = WindowIndex.build(store, config, calendar)
    except DataError:
        assume(False)
        raise

    session = HALF_SESSION.sessions(store.timestamps)
    for start in windows.starts:
        bars = slice(start, start + windows.reach)
        assert np.diff(store.timestamps[bars]).max() <= 5 * MINUTE
        assert not any(start < edge < start + windows.reach for edge in store.offsets)
        assert not sessions or (len(set(session[bars])) == 1 and session[start] >= 0)

    spans = windows.spans(store)
    border = int(np.quantile(spans.first_time, 0.8))
    test_from = (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=border)).isoformat()
    split = splitter(kind, test_from, folds, purge, embargo, in_time)
    try:
        part = split.spans(store, spans)
        train = np.flatnonzero(part == "train")
        labelled = train[:: int(generator.integers(1, 4))]
        found = split.folds(store, spans[labelled], np.zeros(len(labelled), dtype=np.int64))
    except DataError:
        assume(False)
        raise
    sealed = held(store, windows, np.flatnonzero(part == "test"))
    training = held(store, windows, train)
    assert apart(store, training, sealed, purge, 0, in_time) and not np.any(training & sealed)
    for fold in found:
        first, second = (held(store, windows, labelled[rows]) for rows in (fold.train, fold.held_out))
        for row in labelled[
            fold.held_out
        ]:  # each held-out window by itself: embargo and purge are measured from its end
            one = held(store, windows, np.array([row]))
            assert apart(store, first, one, purge, max(purge, embargo), in_time)
        assert not np.any(first & second)

    # Whatever the sealed bars are, no training input moves; whatever comes later, no earlier output moves.
    changed = values.copy()
    changed[sealed] = candles(int(sealed.sum()), np.random.default_rng(seed + 1)).astype(np.float32)
    for transform in (Anchored(), RelativeTransform()):
        inputs, others = (
            transform.apply(torch.from_numpy(windows.gather(bars, train)), OHLC) for bars in (values, changed)
        )
        assert torch.equal(inputs, others)
    bars = torch.from_numpy(windows.gather(values, train[:4]))
    cut = int(generator.integers(1, length))
    later = bars.clone()
    later[:, cut:] *= 1.7
    causal = RelativeTransform()
    assert torch.equal(causal.apply(bars, OHLC)[:, :cut], causal.apply(later, OHLC)[:, :cut])
