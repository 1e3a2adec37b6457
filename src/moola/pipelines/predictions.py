"""The predictions table as arrays, one model at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from moola.layout import read_json
from moola.pipelines.artifacts import Artifact


@dataclass(frozen=True)
class Predictions:
    """Out-of-fold and test predictions of all models.

    Attributes:
        table: `moola.schemas.predictions`.
        kinds: model -> ``role`` and ``deterministic``.
        classes: class names in the order of the probability columns.
    """

    table: pl.DataFrame
    kinds: dict[str, dict[str, Any]]
    classes: tuple[str, ...]

    @classmethod
    def open(cls, oof: Artifact, stack: Artifact | None = None) -> Predictions:
        """From the artifact ``oof`` and, where it is given, ``stack``."""
        head = read_json(oof.path("models.json"))
        table = pl.read_parquet(oof.path("oof.parquet"))
        kinds = dict(head["models"])
        if stack is not None:
            stacked = pl.read_parquet(stack.path("stack.parquet"))
            if stacked.height:
                table = pl.concat([table, stacked])
                kinds["stack"] = {"role": "stack", "deterministic": False}
        return cls(table, kinds, tuple(head["classes"]))

    @property
    def models(self) -> list[str]:
        """Names in the order of the configuration."""
        return list(self.kinds)

    @property
    def seeds(self) -> list[int]:
        """All seeds, ascending."""
        return sorted(self.table["seed"].unique().to_list())

    def role(self, model: str) -> Literal["model", "baseline", "control", "stack"]:
        """What the model is there for."""
        return self.kinds[model]["role"]

    def has(self, model: str, split: Literal["oof", "test"]) -> bool:
        """Whether the model was asked on this split."""
        return not self.table.filter((pl.col("model") == model) & (pl.col("split") == split)).is_empty()

    def of_model(self, model: str, split: Literal["oof", "test"], window_ids: pl.Series) -> np.ndarray:
        """float64 [n_seeds, n_windows, n_classes] in the order of `window_ids`; seeds ascending."""
        rows = self.table.filter((pl.col("model") == model) & (pl.col("split") == split))
        seeds = sorted(rows["seed"].unique().to_list())
        return np.stack([self._of(rows.filter(pl.col("seed") == seed), window_ids) for seed in seeds])

    def of_seed(
        self, models: Sequence[str], split: Literal["oof", "test"], seed: int, window_ids: pl.Series
    ) -> np.ndarray:
        """float64 [n_models, n_windows, n_classes] of one seed; models without seeds give their only predictions."""
        parts: list[np.ndarray] = []
        for model in models:
            rows = self.table.filter((pl.col("model") == model) & (pl.col("split") == split))
            if not self.kinds[model]["deterministic"]:
                rows = rows.filter(pl.col("seed") == seed)
            parts.append(self._of(rows, window_ids))
        return np.stack(parts)

    def _of(self, rows: pl.DataFrame, window_ids: pl.Series) -> np.ndarray:
        names = [f"prob_{name}" for name in self.classes]
        ordered = window_ids.to_frame("window_id").join(rows, on="window_id", how="left", maintain_order="left")
        return ordered.select(names).to_numpy().astype(np.float64)
