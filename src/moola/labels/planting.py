"""Choosing which windows get a label, and flipping some of them on purpose so that their discovery can be measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.config import reject
from moola.errors import DataError


@dataclass(frozen=True)
class LabelDraw:
    """How many labels the models get.

    Attributes:
        n_given: labelled training windows to draw, as evenly over classes as it divides; null: all of them.
        n_flipped: of those, how many are flipped to another class.
        draw: number of the draw; another number, another sample and other flips.
    """

    n_given: int | None = None
    n_flipped: int = 0
    draw: int = 0

    def __post_init__(self) -> None:
        reject(
            (self.n_given is not None and self.n_given < 2, f"n_given: {self.n_given} must be at least 2"),
            (self.n_flipped < 0, f"n_flipped: {self.n_flipped} must not be negative"),
            (self.draw < 0, f"draw: {self.draw} must not be negative"),
        )

    def choose(self, candidates: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
        """Draw windows and flip labels.

        Args:
            candidates: ``window_id`` and ``true_label`` of the labelled training windows.
            classes: class names in order.

        Returns:
            ``window_id``, ``label`` (as given), ``true_label``, ``planted``; in the order of `candidates`.

        Raises:
            DataError: one class only, a class with too few windows, or more flips than labels.
        """
        numbers = np.array([classes.index(label) for label in candidates["true_label"]], dtype=np.int64)
        generator = np.random.default_rng([20_130_101, self.draw])
        rows = self._draw(numbers, classes, generator)
        if self.n_flipped > len(rows):
            raise DataError(
                f"task.n_flipped={self.n_flipped} flips more labels than the {len(rows)} there are", "", "flip fewer"
            )
        flipped = np.zeros(len(rows), dtype=bool)
        flipped[generator.choice(len(rows), self.n_flipped, replace=False)] = True
        shift = generator.integers(1, len(classes), size=len(rows))
        given = np.where(flipped, (numbers[rows] + shift) % len(classes), numbers[rows])
        chosen = candidates[rows.tolist()]
        return chosen.select(
            "window_id",
            pl.Series("label", [classes[number] for number in given], dtype=pl.String),
            "true_label",
            pl.Series("planted", flipped),
        )

    def _draw(self, numbers: np.ndarray, classes: tuple[str, ...], generator: np.random.Generator) -> np.ndarray:
        counts = np.bincount(numbers, minlength=len(classes))
        present = {name: int(count) for name, count in zip(classes, counts, strict=True)}
        if np.count_nonzero(counts) < 2:
            raise DataError(
                "the labelled training windows hold one class only"
                if counts.sum()
                else "no training window has a label",
                f"labels a class: {present or 'none'}",
                "label windows of at least two classes in the training span",
            )
        if self.n_given is None:
            return np.arange(len(numbers))
        wanted = np.full(len(classes), self.n_given // len(classes))
        wanted[: self.n_given % len(classes)] += 1
        if np.any(wanted > counts):
            raise DataError(
                f"task.n_given={self.n_given} asks for more labels than there are",
                f"labels a class: {present}; wanted {dict(zip(classes, wanted.tolist(), strict=True))}",
                f"choose task.n_given={int(counts.min()) * len(classes)} or less, or null for all",
            )
        picks = [generator.choice(np.flatnonzero(numbers == k), wanted[k], replace=False) for k in range(len(classes))]
        return np.sort(np.concatenate(picks))
