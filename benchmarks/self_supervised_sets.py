"""Labelled sets that ship inside aeon, with the published values beside which ours stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from moola.data.sources.ucr import Ucr
from moola.features.combined import Combined
from moola.features.differences import Differences
from moola.features.scaled import Scaled
from moola.features.source_channels import SourceChannels
from moola.models import LabelledWindows
from moola.models.encoder import InputShape

TS2VEC = {
    "ItalyPowerDemand": (0.960, "TS2Vec, run on such a machine"),
    "GunPoint": (0.980, "TS2Vec, run on such a machine"),
    "ArrowHead": (0.811, "TS2Vec, run on such a machine"),
    "OSULeaf": (0.855, "TS2Vec, run on such a machine"),
    "ACSF1": (0.910, "TS2Vec, published"),
    "BasicMotions": (0.975, "TS2Vec, run on such a machine"),
    "JapaneseVowels": (0.992, "TS2Vec, run on such a machine, padded as here"),
}
"""Accuracy on the default test split; the published figure of JapaneseVowels is .984."""


@dataclass(frozen=True)
class LabelledSet:
    """One set, transformed by numbers of its training split.

    Attributes:
        channels: of the source.
        train: windows of the training split.
        test: windows of the test split.
    """

    channels: tuple[str, ...]
    train: LabelledWindows
    test: LabelledWindows

    @classmethod
    def read(cls, name: str) -> LabelledSet:
        """Default split; cases of different lengths go on with their last value to the longest of both parts."""
        scan = Ucr(name, unequal="pad").scan()
        assert scan.series is not None
        values = pl.concat([chunk.frame for chunk in scan.chunks]).select(scan.channels).to_numpy().astype(np.float32)
        bars = values.reshape(scan.series.height, -1, len(scan.channels))
        known, labels = np.unique(scan.series["label"].to_numpy(), return_inverse=True)
        train = scan.series["split"].to_numpy() == "train"
        unfitted = Scaled(Combined((SourceChannels(), Differences())), clip=1000.0, by="moments")
        fitted = unfitted.fit([torch.from_numpy(bars[train])], scan.channels)

        def apply(some: Tensor) -> Tensor:
            return fitted.apply(some, scan.channels)

        def windows(rows: np.ndarray) -> LabelledWindows:
            inputs = apply(torch.from_numpy(bars[rows])).numpy()
            return LabelledWindows(bars[rows], inputs, labels[rows].astype(np.int64), len(known), transform=apply)

        return cls(scan.channels, windows(train), windows(~train))

    @property
    def shape(self) -> InputShape:
        """Of the inputs."""
        return InputShape(self.train.inputs.shape[2], self.train.inputs.shape[1])


def stratified_share(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows of so many windows of each class, at least one, drawn at random."""
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        drawn.append(rows[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(drawn))
