"""Windows a second into batches: one index operation, beside a Dataset and DataLoader as usually written."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from measurement import Row, benchmark_main, compare, seconds
from moola.data.device_batches import DeviceBatches

LENGTH, CHANNELS, BATCH = 105, 4, 512


class WindowDataset(Dataset):
    """One window at a time out of an array, the way a user would write it."""

    def __init__(self, values: torch.Tensor, starts: np.ndarray) -> None:
        self.values, self.starts = values, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> torch.Tensor:
        start = int(self.starts[number])
        return self.values[start : start + LENGTH]


def measure(quick: bool) -> list[Row]:
    """One shuffled epoch over overlapping windows, nothing done with the batches."""
    n_windows = 100_000 if quick else 1_000_000
    values = torch.randn(n_windows + LENGTH - 1, CHANNELS)
    starts = np.arange(n_windows)
    batches = DeviceBatches(values, starts, LENGTH, lambda bars: bars, BATCH, seed=0)
    rows = []
    for workers in (0, 2):
        loader = DataLoader(WindowDataset(values, starts), batch_size=BATCH, shuffle=True, num_workers=workers)
        rows.append(
            compare(
                f"shuffled epoch of {n_windows:,} windows of {LENGTH}x{CHANNELS} on the CPU",
                "windows/s",
                lambda: n_windows / seconds(lambda: sum(len(batch.index) for batch in batches)),
                lambda loader=loader: n_windows / seconds(lambda: sum(len(batch) for batch in loader)),
                f"Dataset + DataLoader, {workers} workers",
                higher_is_better=True,
                target=None,
                repeats=3 if quick else 7,
            )
        )
    return rows


if __name__ == "__main__":
    raise SystemExit(benchmark_main(str(__doc__), measure))
