"""What every model says of every window of the queue, out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Opinions:
    """Probabilities of models that did not train on the windows.

    Attributes:
        models: names.
        classes: names in the order of the last axis.
        probabilities: float32 [n_queue, n_models, n_classes], means over seeds; NaN where a model was not asked.
    """

    models: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray

    @classmethod
    def of(
        cls, table: pl.DataFrame, models: Sequence[str], classes: Sequence[str], positions: Mapping[str, int]
    ) -> Opinions:
        """From rows of predictions.

        Args:
            table: ``window_id``, ``model`` and ``prob_CLASS``; several rows of one window and model are averaged.
            models: those to show, in the order wanted.
            classes: names in the order wanted.
            positions: window id -> place in the queue.
        """
        columns = [f"prob_{name}" for name in classes]
        places = pl.DataFrame(
            {"window_id": list(positions), "position": list(positions.values())},
            schema={"window_id": pl.String, "position": pl.Int64},
        )
        numbers = pl.DataFrame(
            {"model": models, "number": range(len(models))}, schema={"model": pl.String, "number": pl.Int64}
        )
        means = table.group_by("window_id", "model").agg(pl.col(columns).mean()).join(places, on="window_id")
        means = means.join(numbers, on="model")
        probabilities = np.full((len(positions), len(models), len(classes)), np.nan, dtype=np.float32)
        probabilities[means["position"].to_numpy(), means["number"].to_numpy()] = means.select(columns).to_numpy()
        return cls(tuple(models), tuple(classes), probabilities)

    @classmethod
    def none(cls, n_queue: int, classes: Sequence[str]) -> Opinions:
        """Where no model was asked."""
        return cls((), tuple(classes), np.full((n_queue, 0, len(classes)), np.nan, dtype=np.float32))

    def at(self, position: int) -> list[tuple[str, np.ndarray]]:
        """Each model that was asked about a window, and its probabilities float32 [n_classes]."""
        said = zip(self.models, self.probabilities[position], strict=True)
        return [(model, values) for model, values in said if np.isfinite(values).all()]

    def agreement(self) -> np.ndarray:
        """float64 [n_queue]: share of models whose first choice is the most frequent one; NaN where none was asked."""
        asked = np.isfinite(self.probabilities).all(axis=2)
        choice = np.where(asked, np.nan_to_num(self.probabilities).argmax(axis=2), -1)
        votes = np.stack([(choice == number).sum(axis=1) for number in range(len(self.classes))], axis=1)
        n = asked.sum(axis=1)
        return np.divide(votes.max(axis=1, initial=0), n, out=np.full(len(n), np.nan), where=n > 0)
