"""Windows without a label that a fit may look at, fold by fold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from moola.data.splits.purging import Margins
from moola.labels.pseudo_labels import may_be_labelled
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.setup import evenly_spaced
from moola.pipelines.units import trained_on


@dataclass(frozen=True)
class UnlabelledPool:
    """Training windows that nobody gave a label, and nobody rejected.

    Attributes:
        data: of the run.
        splits: the artifact.
    """

    data: Dataset
    splits: Artifact

    @cached_property
    def margins(self) -> Margins:
        """What the split declares to lie between windows that train and those that judge."""
        return Margins(**read_json(self.splits.path("proof.json"))["declared"])

    @cached_property
    def sealed(self) -> np.ndarray:
        """Windows of the sealed test, by number."""
        return self.data.rows_of("test")

    @cached_property
    def labelled(self) -> np.ndarray:
        """Windows with a given label, by number, in the order of the labels table."""
        return self.data.labels["row"].to_numpy().astype(np.int64)

    @cached_property
    def _candidates(self) -> np.ndarray:
        """Training windows without a label that nobody rejected, by number."""
        return np.setdiff1d(self.data.rows_of("train"), np.union1d(self.labelled, self.data.rejected))

    def held_out(self, left_out: tuple[int, ...]) -> np.ndarray:
        """Windows that these folds hold out, by number."""
        folds = [self.labelled[self.data.folds[number].held_out] for number in left_out]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *folds]))

    def taught(self, left_out: tuple[int, ...]) -> np.ndarray:
        """Windows whose labels a fit without these folds learns from, by number."""
        return self.labelled[trained_on(self.data.folds, left_out, len(self.labelled))]

    def rows(self, left_out: tuple[int, ...], most: int) -> np.ndarray:
        """Windows that a fit without these folds may look at, by number: at most so many, evenly spaced over time.

        They keep the declared distance from what these folds hold out and from the sealed test
        (`moola.labels.pseudo_labels.may_be_labelled`).
        """
        usable = may_be_labelled(
            self._candidates,
            self.taught(left_out),
            self.held_out(left_out),
            self.sealed,
            self.data.spans,
            self.margins,
        )
        return evenly_spaced(usable, most) if len(usable) else usable

    def bars_for(self, model: object, left_out: tuple[int, ...]) -> tuple[np.ndarray, tuple[str, ...]] | None:
        """What `moola.models.FitResources` gives a model that asks for windows without a label; else None."""
        most = getattr(model, "most_unlabelled", 0)
        if not most:
            return None
        return self.data.windows.gather(self.data.store.values, self.rows(left_out, most)), self.data.store.channels
