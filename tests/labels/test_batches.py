"""Batches ask for windows that a model is unsure of and that nobody has looked at, from every stratum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.data.window_index import WindowIndex, WindowSpans
from moola.errors import ConfigError, DataError, StorageError
from moola.labels.batch_files import batch_names, find_batch, next_name, read_batch, write_batch
from moola.labels.batches import BatchConfig, normalised_entropy, thirds, touched

LENGTH = 5


def spans(starts: np.ndarray) -> WindowSpans:
    nothing = np.zeros_like(starts)
    return WindowSpans(nothing, nothing, starts, starts + LENGTH - 1, starts * 60, (starts + LENGTH - 1) * 60)


def on_circle(*degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_windows_that_are_far_away_leave_room_for_as_many_as_are_asked_for() -> None:
    vectors = on_circle(*[0.0] * 2, 90.0, *[0.0] * 2)  # five windows of which the oddest would stand in the way of two
    where = spans(np.array([0, 1, 4, 7, 8]))
    assert BatchConfig(size=1).choose(where, np.zeros(5, int), vectors, on_circle(1)).rows.tolist() == [2]
    found = BatchConfig(size=2).choose(where, np.zeros(5, int), vectors, on_circle(1))
    assert len(found.rows) == 2 and 2 not in found.rows


def test_the_farthest_window_comes_next() -> None:
    where, one = spans(np.arange(4) * LENGTH), np.zeros(4, int)
    found = BatchConfig(size=3).choose(where, one, on_circle(5, 180, 90, 170), on_circle(0))
    assert found.rows.tolist() == [1, 2, 3]
    assert np.allclose(found.distances, [2, 1, 1 - np.cos(np.radians(10))], atol=1e-6)


def test_without_any_label_the_most_usual_window_is_first() -> None:
    found = BatchConfig(size=2).choose(
        spans(np.arange(4) * LENGTH), np.zeros(4, int), on_circle(0, 10, 20, 120), on_circle()
    )
    assert found.rows.tolist() == [2, 3]  # 20 degrees is nearest to the common direction


def test_only_what_a_model_is_unsure_of_is_covered_as_long_as_there_is_some() -> None:
    n = 100
    vectors = on_circle(*np.linspace(0, 180, n))
    unsure = np.zeros(n)
    unsure[40:60] = 1.0
    config = BatchConfig(size=4, unsure_share=0.2, pool=n)
    found = config.choose(spans(np.arange(n) * LENGTH), np.zeros(n, int), vectors, on_circle(0), unsure)
    assert found.rows[0] == 59 and set(found.rows) <= set(range(40, 60))
    alone = BatchConfig(size=4, unsure_share=1.0).choose(
        spans(np.arange(n) * LENGTH), np.zeros(n, int), vectors, on_circle(0), unsure
    )
    assert alone.rows[0] == n - 1


@settings(max_examples=30)
@given(
    n=st.integers(1, 80),
    size=st.integers(1, 30),
    stride=st.integers(1, 7),
    n_strata=st.integers(1, 5),
    unsure=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_batch_is_spread_over_strata_and_time(n, size, stride, n_strata, unsure, seed) -> None:
    generator = np.random.default_rng(seed)
    where, strata = spans(np.arange(n) * stride), generator.integers(0, n_strata, n)
    vectors = on_circle(*generator.uniform(0, 360, n))
    uncertainty = generator.uniform(size=n) if unsure else None
    found = BatchConfig(size=size).choose(where, strata, vectors, on_circle(0)[: seed % 2], uncertainty)
    rows = np.sort(found.rows)
    assert len(np.unique(rows)) == len(rows) and (np.diff(rows) * stride >= LENGTH).all()
    apart = -(-LENGTH // stride)  # windows after which the next one shares no time
    assert len(rows) == min(size, -(-n // apart))  # as many as fit side by side, wherever the first ones lie
    if len(rows) == size and stride >= LENGTH and not unsure:
        counts, there = np.bincount(strata[rows], minlength=n_strata), np.bincount(strata, minlength=n_strata)
        short = counts < there  # strata that have more to give got as many as any other, up to one
        assert not short.any() or counts[short].min() >= counts.max() - 1


@settings(max_examples=30)
@given(starts=st.lists(st.integers(0, 60), min_size=1, unique=True), first=st.integers(0, 70), n=st.integers(1, 9))
def test_windows_that_share_a_bar_are_found(starts: list[int], first: int, n: int) -> None:
    index = WindowIndex(np.array(sorted(starts)), LENGTH, LENGTH, (0, LENGTH), np.array([0]))
    found = touched(index, np.array([[first, first + n], [200, 300]]))
    assert found.tolist() == [start < first + n and start + LENGTH > first for start in sorted(starts)]
    assert not touched(index, np.empty((0, 2), int)).any()


def test_entropy_and_thirds() -> None:
    assert normalised_entropy(np.array([[0.5, 0.5], [1.0, 0.0], [0.9, 0.1]])) == pytest.approx([1, 0, 0.469], abs=1e-3)
    assert thirds(np.array([3.0, 1, 2, 6, 5, 4])).tolist() == [1, 0, 0, 2, 2, 1]
    assert thirds(np.full(4, 7.0)).tolist() == [0] * 4


def test_what_is_asked_must_make_sense() -> None:
    with pytest.raises(ConfigError) as caught:
        BatchConfig(size=0, unsure_share=0, pool=-1)
    assert len(caught.value.problems) == 3
    with pytest.raises(DataError, match="there is no window left"):
        BatchConfig().choose(spans(np.arange(0)), np.zeros(0, int), on_circle(), on_circle())


def test_batches_are_named_in_turn_and_never_written_over(tmp_path: Path) -> None:
    assert next_name(tmp_path) == "batch_0001"
    table = pl.DataFrame({"window_id": ["a"]})
    for name in ("batch_0001", "mine"):
        write_batch(tmp_path, name, table, {}, (0, 5))
    assert next_name(tmp_path) == "batch_0002" and batch_names(tmp_path) == ["batch_0001", "mine"]
    with pytest.raises(StorageError, match="is there already"):
        write_batch(tmp_path, "mine", table, {}, (0, 5))
    elsewhere = find_batch("batch_0001", tmp_path).rename(tmp_path / "moved.parquet")
    assert find_batch(str(elsewhere), tmp_path / "other") == elsewhere
    assert read_batch(tmp_path, "moved").equals(table)
    with pytest.raises(DataError, match="there is no batch 'min'") as caught:
        read_batch(tmp_path, "min")
    assert caught.value.why == "did you mean 'mine'?"
