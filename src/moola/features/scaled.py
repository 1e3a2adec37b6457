"""Outputs of a transform brought to one scale, by numbers that come from training windows alone."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor

from moola.config import reject
from moola.errors import ConfigError, DataError
from moola.features import Causality, Fittable, Transform, build_part
from moola.features.source_channels import SourceChannels


class _Around:
    """What a scale has in common with the transform that it stands around."""

    of: Any

    @property
    def causality(self) -> Causality:
        """As the inner transform."""
        return self.of.causality

    @property
    def scale_invariant(self) -> bool:
        """As the inner transform."""
        return self.of.scale_invariant

    @property
    def memory_bars(self) -> int | None:
        """As the inner transform."""
        return self.of.memory_bars

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """Those of the inner transform."""
        return self.of.summary_channels(channels)


@dataclass(frozen=True)
class Scaled(_Around):
    """To be fitted: centre and scale of each output of another transform; `fit` gives a `Scaling`.

    By quartiles, the centre is the median and the scale the interquartile range over all bars of the training windows:
    a few wild bars move neither. By moments, they are mean and standard deviation, for sensors that rest most of the
    time. Where the scale is 0, as where half of the values are the same number, the output keeps its own unit.

    Attributes:
        of: section of the transform whose outputs are scaled, or the transform; default the source's own channels.
        clip: largest output, in units of the scale, in either direction.
        by: ``quartiles`` or ``moments``.
    """

    of: Any = field(default_factory=SourceChannels)
    clip: float = 10.0
    by: Literal["quartiles", "moments"] = "quartiles"

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", _inner(self.of))
        reject((self.clip <= 0, f"clip: {self.clip} must be positive"))

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the inner transform."""
        return self.of.output_channels(channels)

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> NoReturn:
        """Refused: there are no numbers yet.

        Raises:
            DataError: always.
        """
        raise DataError(
            "transform=scaled is not fitted",
            "its centre and scale come from training windows, and it was given none",
            "call fit(training windows, channels) and use what it gives; `moola run` does so in every stage and fold",
        )

    def fit(self, portions: Iterable[Tensor], channels: tuple[str, ...]) -> Scaling:
        """Centre and scale of every output over all bars of these windows, float32 [n, T, C] each.

        Raises:
            DataError: there are no windows, or some output is not finite.
        """
        names = self.of.output_channels(channels)
        found = [self.of.apply(portion, channels).flatten(0, 1).cpu().numpy() for portion in portions]
        values = np.concatenate(found).astype(np.float64) if found else np.empty((0, len(names)))
        if not len(values):
            raise DataError("transform=scaled has nothing to be fitted on", "there is no training window", "give more")
        unusable = [name for i, name in enumerate(names) if not np.isfinite(values[:, i]).all()]
        if unusable:
            raise DataError(
                "transform=scaled cannot be fitted",
                f"training windows hold values that are not finite in {', '.join(unusable)}",
                "see which bars these are with `moola data validate`",
            )
        centre, scale = _quartiles(values) if self.by == "quartiles" else _moments(values)
        scale = np.where(scale > 0, scale, 1.0)
        return Scaling(self.of, names, tuple(centre.tolist()), tuple(scale.tolist()), self.clip)


@dataclass(frozen=True)
class Scaling(_Around):
    """Fitted: ``(x - centre) / scale`` of each output of another transform, clipped.

    Attributes:
        of: the transform whose outputs are scaled, or its section.
        names: its outputs, [D].
        centre: [D], in the unit of each output.
        scale: [D], in the unit of each output.
        clip: largest output in either direction.
    """

    of: Any
    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    clip: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", _inner(self.of))
        lengths = {len(self.names), len(self.centre), len(self.scale)}
        reject(
            (len(lengths) > 1, f"names, centre, scale: {sorted(lengths)} numbers, but each output has one"),
            (any(value <= 0 for value in self.scale), f"scale: {list(self.scale)} must be positive"),
            (self.clip <= 0, f"clip: {self.clip} must be positive"),
        )

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the inner transform.

        Raises:
            DataError: it gives other outputs for these channels than for those it was fitted on.
        """
        names = self.of.output_channels(channels)
        if names != self.names:
            raise DataError(
                "the fitted transform does not belong to this data",
                f"it was fitted on {', '.join(self.names)}; the data gives {', '.join(names)}",
                "fit it on this data: run the same command with --force=pretrain",
            )
        return names

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, D]; computed in float64."""
        self.output_channels(channels)
        outputs = self.of.apply(bars, channels).double()
        centre, scale = _row(self.centre, bars.device), _row(self.scale, bars.device)
        return ((outputs - centre) / scale).clamp(-self.clip, self.clip).to(bars.dtype)


def _quartiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range of each column, [D] each."""
    lower, centre, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return centre, upper - lower


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, [D] each; exactly 0 for a constant, whose mean may be rounded."""
    moves = (values != values[0]).any(axis=0)
    return np.where(moves, values.mean(axis=0), values[0]), np.where(moves, values.std(axis=0), 0.0)


def _inner(part: Any) -> Transform:
    """The transform inside; one that has itself to be fitted is refused."""
    inner = build_part(part, "of")
    if isinstance(inner, Fittable):
        raise ConfigError(["of: has to be fitted itself, and one scale around another changes nothing"])
    return inner


@functools.lru_cache(maxsize=64)
def _row(values: tuple[float, ...], device: torch.device) -> Tensor:
    """float64 [D] on the device, copied there once."""
    return torch.tensor(values, dtype=torch.float64, device=device)
