"""Convolutions of several widths, then a transformer over bars.

The stem looks at short shapes with parallel kernels, as InceptionTime does (Ismail Fawaz et al. 2020,
arXiv:1909.04939); attention relates them across the window. What differs from InceptionTime: one module
without bottleneck or pooling, and no batch normalisation, under which windows would see each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from moola.config import reject
from moola.models.encoder import Encoder, InputShape, pool_states
from moola.models.transformer import TransformerBlock, sinusoidal_positions, transformer_rules


@dataclass(frozen=True)
class CnnTransformer:
    """Configuration.

    Attributes:
        kernels: bars each convolution of the stem takes, odd numbers.
        channels: of each convolution.
        width: of the transformer and of the states.
        layers: transformer blocks.
        heads: attention heads, which share the width.
        dropout: of what each block adds.
    """

    kernels: tuple[int, ...] = (3, 5, 9)
    channels: int = 32
    width: int = 64
    layers: int = 1
    heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        reject(
            (not self.kernels, "kernels: needs at least one"),
            (
                any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels),
                f"kernels: {list(self.kernels)} must be odd and at least 1",
            ),
            (self.channels < 1, f"channels: {self.channels} must be at least 1"),
            *transformer_rules(self.width, self.layers, self.heads, self.dropout),
        )

    def build(self, shape: InputShape) -> CnnTransformerEncoder:
        """A fresh encoder with random weights."""
        return CnnTransformerEncoder(shape, self)


class CnnTransformerEncoder(Encoder):
    """Per-step states, normalised: [B, T, D] -> [B, T, width]."""

    def __init__(self, shape: InputShape, config: CnnTransformer) -> None:
        super().__init__()
        self.width = config.width
        self.embedding_width = 3 * config.width
        self.stem = ConvolutionStem(shape.n_inputs, config.kernels, config.channels, config.width)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step; attention lets each see the whole window."""
        hidden = self.stem(inputs)
        hidden = hidden + sinusoidal_positions(hidden.shape[1], self.width, hidden.device)
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)

    def pool(self, states: Tensor) -> Tensor:
        """Mean, maximum and last state: [B, T, W] -> [B, 3 W]."""
        return pool_states(states)


class ConvolutionStem(nn.Module):
    """Parallel convolutions, mixed at each bar: [B, T, D] -> [B, T, W]."""

    def __init__(self, n_inputs: int, kernels: tuple[int, ...], channels: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n_inputs, channels, kernel, padding=kernel // 2) for kernel in kernels
        )
        self.mix = nn.Linear(channels * len(kernels), width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Beyond the window's ends the convolutions see zeros."""
        across = inputs.transpose(1, 2)
        shapes = torch.cat([convolution(across) for convolution in self.convolutions], dim=1)
        return self.mix(gelu(shapes).transpose(1, 2))
