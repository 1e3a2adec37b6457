"""Pooling that also counts: for how much of a window each state of every block lies above levels it has elsewhere.

The share of bars above a level is the proportion of positive values of random convolutional kernels (ROCKET, Dempster
et al. 2020, arXiv:1910.13051, section 3), and levels that are quantiles of what comes out of a convolution are the
biases of MiniRocket (Dempster et al. 2021, arXiv:2012.08791). What differs: the convolutions are learned, there are
levels for every state of every block, and a bar near a level counts in part, so that states can be trained through the
shares::

    share above a level = mean over bars of sigmoid((state - level) / (0.05 * spread))

with the .1, .5 and .9 quantile of the state, and its standard deviation, over the windows that `settle` was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_QUANTILES = (0.1, 0.5, 0.9)
_SOFTNESS = 0.05
_SMALLEST_SPREAD = 1e-6
_SAMPLE = 20_000
"""About so many bars of all windows together tell the levels of a state."""
_PORTION = 32
"""Windows whose states are in memory at once."""


class LevelPooling(nn.Module):
    """Blocks to one vector. Legend: B windows, T bars, W width of a block, S sum of the widths.

    Attributes:
        levels: [3, S]; 0 before `settle`.
        spread: [S]; 1 before `settle`.
        embedding_width: 6 S: maximum, minimum, mean and three shares of every state.
    """

    levels: Tensor
    spread: Tensor

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self._widths = list(widths)
        self.embedding_width = (3 + len(_QUANTILES)) * sum(widths)
        self.register_buffer("levels", torch.zeros(len(_QUANTILES), sum(widths)))
        self.register_buffer("spread", torch.ones(sum(widths)))

    def forward(self, blocks: Sequence[Tensor]) -> Tensor:
        """What each block gives, [B, W, T], to one vector a window, [B, 6 S]."""
        parts: list[Tensor] = []
        scales = (_SOFTNESS * self.spread).split(self._widths)
        for states, levels, scale in zip(blocks, self.levels.split(self._widths, dim=1), scales, strict=True):
            states = states.float()  # the shares are steep in the states: under autocast they would keep few digits
            parts += [states.amax(dim=2), states.amin(dim=2), states.mean(dim=2)]
            parts += [((states - level[:, None]) / scale[:, None]).sigmoid().mean(dim=2) for level in levels]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def settle(self, inputs: Tensor, blocks_of: Callable[[Tensor], Sequence[Tensor]]) -> None:
        """Take levels and spread from windows [n, T, D], through what gives the blocks; from bars drawn at random."""
        generator = torch.Generator().manual_seed(0)  # the same windows give the same levels
        n_bars = min(math.ceil(_SAMPLE / len(inputs)), inputs.shape[1])
        found: list[Tensor] = []
        for portion in inputs.split(_PORTION):
            bars = torch.randperm(inputs.shape[1], generator=generator)[:n_bars].to(inputs.device)
            found.append(torch.cat([states[..., bars] for states in blocks_of(portion)], dim=1))
        values = torch.cat(found).transpose(0, 1).flatten(1).float()  # [S, all drawn bars]
        self.levels.copy_(values.quantile(values.new_tensor(_QUANTILES), dim=1))
        self.spread.copy_(values.std(dim=1, correction=0).clamp_min(_SMALLEST_SPREAD))
