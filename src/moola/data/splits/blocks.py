"""Cutting windows into blocks of time that hold about equally many."""

from __future__ import annotations

import numpy as np

from moola.errors import DataError


def time_blocks(
    positions: np.ndarray, borders: np.ndarray, what: str = "moments", ways: tuple[str, ...] = ()
) -> np.ndarray:
    """Number of the block that each window belongs to; windows at one position never part, and no block is empty.

    Args:
        positions: int64 [n_windows], where each window stands in time; blocks ascend with it.
        borders: float [n_blocks - 1], ascending in (0, 1): the share of windows before each border.
        what: what the positions are, for the message.
        ways: further ways out, for the message.

    Returns:
        int64 [n_windows] in [0, n_blocks).

    Raises:
        DataError: there are fewer distinct positions than blocks.
    """
    distinct, inverse, counts = np.unique(positions, return_inverse=True, return_counts=True)
    n_blocks = len(borders) + 1
    if len(distinct) < n_blocks:
        fewer = f"choose a split with {len(distinct)} blocks or fewer (split.n_folds, split.n_blocks)"
        raise DataError(
            f"{len(distinct)} labelled {what} cannot make {n_blocks} blocks",
            "windows that stand together in time are never parted",
            ", or ".join([*([fewer] if len(distinct) >= 2 else []), *ways, "label windows at more times"]),
        )
    # A border falls where the running count, taken at the middle of a position, passes its share ...
    middles = np.cumsum(counts) - counts / 2
    wanted = np.searchsorted(middles, borders * len(positions))
    # ... moved on where positions with many windows leave too few for the blocks before or after it.
    order = np.arange(1, n_blocks)
    begins = np.maximum.accumulate(np.concatenate([[0], wanted - order]))[1:] + order
    begins = np.minimum(begins, len(distinct) - n_blocks + order)
    return np.searchsorted(begins, np.arange(len(distinct)), side="right")[inverse]


def equal_borders(n_blocks: int) -> np.ndarray:
    """Borders of blocks that hold equal shares, float [n_blocks - 1]."""
    return np.arange(1, n_blocks) / n_blocks
