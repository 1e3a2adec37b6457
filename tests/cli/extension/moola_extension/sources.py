"""Made-up cases: sines of two frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.data.sources import BarScan, Chunk, series_table
from moola.schemas import TIMESTAMP

N_STEPS = 24


@dataclass(frozen=True)
class Waves:
    """Slow and fast sines with noise; two thirds of the cases train."""

    n_cases: int = 60

    def fingerprint(self) -> str:
        return f"waves-{self.n_cases}"

    def scan(self) -> BarScan:
        generator = np.random.default_rng(0)
        names = [f"wave{number:03d}" for number in range(self.n_cases)]
        labels = ["fast" if number % 2 else "slow" for number in range(self.n_cases)]
        steps = np.arange(N_STEPS)
        frames = [
            pl.DataFrame(
                {
                    "series": [name] * N_STEPS,
                    "timestamp": pl.Series(steps).cast(TIMESTAMP),
                    "value": np.sin(steps * (1.5 if label == "fast" else 0.4)) + generator.normal(size=N_STEPS) / 2,
                }
            )
            for name, label in zip(names, labels, strict=True)
        ]
        split = ["train" if number < self.n_cases * 2 // 3 else "test" for number in range(self.n_cases)]
        chunks = iter([Chunk(pl.concat(frames), "waves")])
        return BarScan(("value",), chunks, independent=True, series=series_table(names, split, labels))
