"""Learning from windows without labels: masks and objectives, one file each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from moola.config import build_all
from moola.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from moola.data.device_batches import Batch
    from moola.models.encoder import Encoder, InputShape


@dataclass(frozen=True)
class WindowInputs:
    """Where the inputs of an objective come from.

    Attributes:
        shape: of the inputs.
        channels: names of the source's channels, those of ``Batch.bars``.
        transform: bars [B, T, C] -> inputs [B, T, D]; what makes another view out of augmented bars.
    """

    shape: InputShape
    channels: tuple[str, ...]
    transform: Callable[[Tensor], Tensor]


class Objective(Protocol):
    """A module around an encoder that turns a batch into losses."""

    encoder: Encoder

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars: ``loss``, which is minimised, and the parts, already weighted, that sum to it (one at least)."""
        ...

    def validate(self, batch: Batch) -> dict[str, float]:
        """Means over held-out windows under draws that never change, each name beginning with ``val_``.

        ``val_loss`` is what early stopping watches. An objective that predicts inputs gives ``val_copy_last`` and
        ``val_mean`` beside it, the errors of two trivial predictors in the units of ``val_reconstruction``.
        """
        ...


@runtime_checkable
class Reconstructing(Protocol):
    """An objective that predicts hidden inputs, so that there is something to look at."""

    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Rebuilt inputs [B, T, D] and the mask [B, T] under which they were rebuilt."""
        ...


class ObjectiveConfig(Protocol):
    """Configuration of an objective."""

    def build(self, encoder: Encoder, inputs: WindowInputs) -> Objective:
        """Wrap an encoder.

        Raises:
            ConfigError: the objective does not fit such windows.
        """
        ...


def least_batch(objective: ObjectiveConfig) -> int:
    """Fewest windows of a batch from which an objective learns: its ``least_batch``, or 1 where it declares none.

    One that tells the windows of a batch from each other declares 2: a single window has nothing to be told from.
    """
    return getattr(objective, "least_batch", 1)


def check_windows(components: Iterable[object], n_bars: int) -> None:
    """Ask configurations of encoders and objectives whether they take windows of `n_bars` visible bars.

    One refuses with a method ``check_windows(n_bars)``; one without it takes any.

    Raises:
        ConfigError: the problems of all of them.
    """
    checks = (getattr(component, "check_windows", None) for component in components)
    build_all(*(functools.partial(check, n_bars) for check in checks if check is not None))


OBJECTIVES: Registry[ObjectiveConfig] = Registry(
    "objective",
    {
        "hierarchical_contrast": "moola.pretraining.hierarchical_contrast:HierarchicalContrast",
        "masked_autoencoder": "moola.pretraining.masked_autoencoder:MaskedAutoencoder",
        "mixture": "moola.pretraining.mixture:Mixture",
        "path_statistics": "moola.pretraining.path_statistics:PathStatistics",
        "structure_labels": "moola.pretraining.structure_labels:StructureLabels",
        "ts_tcc": "moola.pretraining.ts_tcc:TsTcc",
    },
)
