"""Dilated temporal convolutions (Bai et al. 2018, arXiv:1803.01271), as TS2Vec uses them.

Residual blocks of two convolutions, GELU before each, dilated by 2^i in block i, and padded on both sides, so that a
state sees what follows too (Yue et al. 2022, arXiv:2106.10466, under "Model Architecture"). What differs: the last
block repeats the widest dilation; states are normalised unless `normalise` is off, so that objectives find the scale
that other encoders give; and inputs are hidden by the objective, not inside the encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import gelu

from moola.config import reject
from moola.models.encoder import Encoder, InputShape, pool_states
from moola.models.level_pooling import LevelPooling


@dataclass(frozen=True)
class Tcn:
    """Configuration. The defaults are small; width=320, hidden=64, depth=10 is TS2Vec's encoder.

    Attributes:
        width: of the states.
        hidden: channels of every block but the last.
        depth: blocks of `hidden` channels; one of `width` channels follows. A state sees ``(kernel - 1) *
            sum(dilations)`` bars to either side. null: from 3 to 8 by the length of the windows, so that the widest
            dilation is a quarter to half of one.
        kernel: bars a convolution takes, an odd number.
        dropout: of states while training.
        pooling: ``max`` over bars, as TS2Vec; ``mean_max_last``, as the other encoders; or ``levels``, the states of
            every block by `moola.models.level_pooling`.
        normalise: layer normalisation of the states.
    """

    width: int = 64
    hidden: int = 32
    depth: int | None = 5
    kernel: int = 3
    dropout: float = 0.1
    pooling: Literal["max", "mean_max_last", "levels"] = "mean_max_last"
    normalise: bool = True

    def __post_init__(self) -> None:
        reject(
            (self.width < 1, f"width: {self.width} must be at least 1"),
            (self.hidden < 1, f"hidden: {self.hidden} must be at least 1"),
            (
                self.depth is not None and not 0 <= self.depth <= 16,
                f"depth: {self.depth} must lie in [0, 16], or a state sees 100,000 bars; null goes by the windows",
            ),
            (self.kernel < 1 or self.kernel % 2 == 0, f"kernel: {self.kernel} must be odd and at least 1"),
            (not 0 <= self.dropout < 1, f"dropout: {self.dropout} must lie in [0, 1)"),
        )

    def build(self, shape: InputShape) -> TcnEncoder:
        """A fresh encoder with random weights."""
        return TcnEncoder(shape, self)

    def dilations(self, n_bars: int) -> list[int]:
        """Of every block, for windows of so many bars."""
        depth = self.depth
        if depth is None:
            depth = min(max(math.ceil(math.log2(max(n_bars, 1))) - 1, 3), 8)
        return [2**number for number in (*range(depth), max(depth - 1, 0))]


class TcnEncoder(Encoder):
    """Per-step states: [B, T, D] -> [B, T, width]."""

    def __init__(self, shape: InputShape, config: Tcn) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        dilations = config.dilations(shape.n_bars)
        channels = [config.hidden] * len(dilations) + [config.width]
        self.pooling = LevelPooling(channels[1:]) if config.pooling == "levels" else None
        own = config.width if config.pooling == "max" else 3 * config.width
        self.embedding_width = self.pooling.embedding_width if self.pooling else own
        self.embed = nn.Linear(shape.n_inputs, config.hidden)
        self.blocks = nn.ModuleList(
            DilatedBlock(channels[number], channels[number + 1], config.kernel, dilation)
            for number, dilation in enumerate(dilations)
        )
        self.norm = nn.LayerNorm(config.width) if config.normalise else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step; beyond the window's ends the convolutions see zeros."""
        return self._states(self._hidden(inputs)[-1])

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, T, W] of the last block, and the embedding [B, E]; ``levels`` looks at every block."""
        hidden = self._hidden(inputs)
        states = self._states(hidden[-1])
        if self.pooling:
            return states, self.pooling(hidden)
        return states, states.amax(dim=1) if self.config.pooling == "max" else pool_states(states)

    def settle(self, inputs: Tensor) -> None:
        """``levels`` takes its levels from these windows."""
        if self.pooling:
            self.pooling.settle(inputs, self._hidden)

    def _hidden(self, inputs: Tensor) -> list[Tensor]:
        """What each block gives, [B, channels, T]."""
        hidden, found = self.embed(inputs).transpose(1, 2), []
        for block in self.blocks:
            hidden = block(hidden)
            found.append(hidden)
        return found

    def _states(self, hidden: Tensor) -> Tensor:
        return self.dropout(self.norm(hidden.transpose(1, 2)))


class DilatedBlock(nn.Module):
    """Two convolutions and what they leave out: [B, channels, T] -> [B, out, T]."""

    def __init__(self, channels: int, out: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.first = nn.Conv1d(channels, out, kernel, padding=padding, dilation=dilation)
        self.second = nn.Conv1d(out, out, kernel, padding=padding, dilation=dilation)
        self.shortcut = nn.Identity() if channels == out else nn.Conv1d(channels, out, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Pre-activation: the sum itself passes through nothing."""
        return self.shortcut(hidden) + self.second(gelu(self.first(gelu(hidden))))
