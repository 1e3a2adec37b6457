"""What an encoder has seen, against a count of single steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moola.data.window_index import WindowSpans
from moola.encoders.coverage import covered_steps, overlapping

WINDOWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=12)


def spans(windows: list[tuple[int, int]]) -> WindowSpans:
    first, extra = np.array(windows, dtype=np.int64).reshape(-1, 2).T
    return WindowSpans(first * 0, first * 0, first, first + extra, first, first + extra)


def steps_of(windows: list[tuple[int, int]]) -> set[int]:
    return {step for first, extra in windows for step in range(first, first + extra + 1)}


@given(WINDOWS)
def test_stretches_hold_exactly_the_steps_of_the_windows_and_lie_apart(windows):
    stretches = covered_steps(spans(windows))
    assert {step for first, last in stretches for step in range(first, last + 1)} == steps_of(windows)
    assert all(first <= last for first, last in stretches)
    assert all(after[0] > before[1] + 1 for before, after in pairwise(stretches))


@given(WINDOWS, WINDOWS)
def test_a_window_overlaps_if_it_shares_a_step(learned, tested):
    seen = steps_of(learned)
    expected = [bool(steps_of([window]) & seen) for window in tested]
    assert overlapping(spans(tested), covered_steps(spans(learned))).tolist() == expected
