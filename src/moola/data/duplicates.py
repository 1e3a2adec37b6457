"""Windows whose bars are the same to the last bit, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex

_PORTION = 4096
"""Windows copied out at once."""


def find_duplicates(store: BarStore, windows: WindowIndex, seen: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Numbers of judged windows whose visible bars equal those of a window that was seen, int64 [n], ascending.

    A series that stands twice in the data, or a case copied from the training into the test file, passes every check
    of times; its bars give it away.

    Args:
        store: the bars.
        windows: where windows start.
        seen, judged: window numbers; one that is in both is no duplicate of itself.
    """
    known: dict[bytes, int] = dict(_digests(store, windows, seen))
    own = set(seen.tolist())
    found = [row for digest, row in _digests(store, windows, judged) if digest in known and row not in own]
    return np.array(sorted(found), dtype=np.int64)


def _digests(store: BarStore, windows: WindowIndex, rows: np.ndarray) -> Iterator[tuple[bytes, int]]:
    for first in range(0, len(rows), _PORTION):
        some = rows[first : first + _PORTION]
        for row, bars in zip(some.tolist(), windows.gather(store.values, some), strict=True):
            yield hashlib.blake2b(bars.tobytes(), digest_size=16).digest(), row
