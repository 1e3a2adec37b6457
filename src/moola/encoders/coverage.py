"""What an encoder has seen, as stretches of a calendar, and whether windows overlap it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moola.data.window_index import WindowSpans


def covered_steps(windows: WindowSpans) -> tuple[tuple[int, int], ...]:
    """First and last step, both included, of every stretch that the windows cover; neighbours that touch are one."""
    if not len(windows):
        return ()
    order = np.argsort(windows.first_step, kind="stable")
    first, last = windows.first_step[order], np.maximum.accumulate(windows.last_step[order])
    begins = np.flatnonzero(first[1:] > last[:-1] + 1) + 1
    firsts = first[np.concatenate([[0], begins])]
    lasts = last[np.concatenate([begins - 1, [len(last) - 1]])]
    return tuple(zip(firsts.tolist(), lasts.tolist(), strict=True))


def overlapping(windows: WindowSpans, stretches: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which windows share a step with one of the stretches, bool [n_windows].

    Args:
        windows: of the bar store that the steps of `stretches` belong to.
        stretches: as `covered_steps` gives them: ascending and apart.
    """
    if not stretches:
        return np.zeros(len(windows), dtype=bool)
    firsts, lasts = np.array(stretches, dtype=np.int64).T
    nearest = np.searchsorted(firsts, windows.last_step, side="right") - 1  # the last one that begins in time
    return (nearest >= 0) & (lasts[nearest.clip(0)] >= windows.first_step)
