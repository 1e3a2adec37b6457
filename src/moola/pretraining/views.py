"""Other views of the same windows: bars changed by augmentations, then transformed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from moola.augment import AUGMENTATIONS, Augmentation, chain
from moola.config import build_all
from moola.data.draws import Draws
from moola.pretraining import WindowInputs


def build_augmentations(given: Sequence[Augmentation | Mapping[str, Any]], name: str) -> tuple[Augmentation, ...]:
    """Augmentations of sections ``{name: jitter, ...}``; what is built already stays as it is.

    Raises:
        ConfigError: the problems of every section, each with its place in the list `name`.
    """
    return tuple(
        build_all(*(functools.partial(_build, section, f"{name}[{number}]") for number, section in enumerate(given)))
    )


def view_maker(augmentations: Sequence[Augmentation], inputs: WindowInputs) -> Callable[[Tensor, Draws], Tensor]:
    """From bars [B, T, C] and draws to the inputs [B, T, D] of the changed bars."""
    augment = chain(augmentations, inputs.channels)

    def view(bars: Tensor, draws: Draws) -> Tensor:
        return inputs.transform(bars if augment is None else augment(bars, draws))

    return view


def _build(section: Augmentation | Mapping[str, Any], place: str) -> Augmentation:
    return AUGMENTATIONS.build_section(section, place) if isinstance(section, Mapping) else section
