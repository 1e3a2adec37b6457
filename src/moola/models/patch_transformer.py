"""Transformer on patches of a window (Nie et al. 2023, PatchTST, arXiv:2211.14730).

What differs: a patch holds the bars of all channels, as an image patch does (Dosovitskiy et al. 2021,
arXiv:2010.11929), for candles mean little apart; patches do not overlap; positions are sines, so any length works;
and each patch is opened again into one state a bar.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moola.config import reject
from moola.errors import ConfigError
from moola.models.encoder import Encoder, InputShape, pool_states
from moola.models.transformer import TransformerBlock, sinusoidal_positions, transformer_rules


@dataclass(frozen=True)
class PatchTransformer:
    """Configuration.

    Attributes:
        patch_bars: bars a patch; attention costs the square of the number of patches.
        width: of patches inside the transformer and of the states.
        layers: transformer blocks.
        heads: attention heads, which share the width.
        dropout: of what each block adds.
    """

    patch_bars: int = 5
    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        reject(
            (self.patch_bars < 1, f"patch_bars: {self.patch_bars} must be at least 1"),
            *transformer_rules(self.width, self.layers, self.heads, self.dropout),
        )

    def build(self, shape: InputShape) -> PatchTransformerEncoder:
        """A fresh encoder with random weights.

        Raises:
            ConfigError: a patch is longer than the windows.
        """
        self.check_windows(shape.n_bars)
        return PatchTransformerEncoder(shape, self)

    def check_windows(self, n_bars: int) -> None:
        """Whether windows of `n_bars` hold a patch.

        Raises:
            ConfigError: a patch is longer.
        """
        if self.patch_bars > n_bars:
            raise ConfigError(
                [f"encoder.patch_bars: {self.patch_bars} is more than the {n_bars} bars of a window"],
                f"use encoder.patch_bars={n_bars} or less, or show more bars (data.window.visible)",
            )


class PatchTransformerEncoder(Encoder):
    """Per-step states, normalised: [B, T, D] -> [B, T, width]. Legend: P bars a patch."""

    def __init__(self, shape: InputShape, config: PatchTransformer) -> None:
        super().__init__()
        self.patch_bars = config.patch_bars
        self.width = config.width
        self.embedding_width = 3 * config.width
        self.embed = nn.Linear(config.patch_bars * shape.n_inputs, config.width)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.to_bars = nn.Linear(config.width, config.patch_bars * config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step, each read off its patch, which has seen the whole window."""
        hidden = self.embed(patches(inputs, self.patch_bars))
        hidden = hidden + sinusoidal_positions(hidden.shape[1], self.width, hidden.device)
        for block in self.blocks:
            hidden = block(hidden)
        states = self.to_bars(hidden).unflatten(-1, (self.patch_bars, self.width)).flatten(1, 2)
        return self.norm(states[:, -inputs.shape[1] :])

    def pool(self, states: Tensor) -> Tensor:
        """Mean, maximum and last state: [B, T, W] -> [B, 3 W]."""
        return pool_states(states)


def patches(inputs: Tensor, patch_bars: int) -> Tensor:
    """Neighbouring bars side by side: [B, T, D] -> [B, ceil(T / P), P * D].

    The last bar ends a patch. Where T is no multiple of P the first bar is repeated in front, which adds no jump.
    """
    lead = inputs[:, :1].expand(-1, -inputs.shape[1] % patch_bars, -1)
    return torch.cat([lead, inputs], dim=1).unflatten(1, (-1, patch_bars)).flatten(2)
