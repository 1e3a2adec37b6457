"""Other views of the same windows: bars changed by augmentations, then transformed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from moola.augment import Augmentation, chain
from moola.data.draws import Draws
from moola.pretraining import WindowInputs


def view_maker(augmentations: Sequence[Augmentation], inputs: WindowInputs) -> Callable[[Tensor, Draws], Tensor]:
    """From bars [B, T, C] and draws to the inputs [B, T, D] of the changed bars."""
    augment = chain(augmentations, inputs.channels)

    def view(bars: Tensor, draws: Draws) -> Tensor:
        return inputs.transform(bars if augment is None else augment(bars, draws))

    return view
