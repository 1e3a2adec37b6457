"""The transformer's parts (Vaswani et al. 2017, arXiv:1706.03762), for encoders that put them on bars or patches.

What differs: normalisation stands before each part and not after it (Xiong et al. 2020, arXiv:2002.04745), which
trains without a long warm-up; and steps are counted from the window's last one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def transformer_rules(width: int, layers: int, heads: int, dropout: float) -> list[tuple[bool, str]]:
    """What every configuration with transformer blocks keeps, for `moola.config.reject`."""
    return [
        (width < 2 or width % 2 == 1, f"width: {width} must be even and at least 2"),
        (layers < 1, f"layers: {layers} must be at least 1"),
        (heads < 1 or width % max(heads, 1) != 0, f"heads: {heads} must divide width={width}"),
        (not 0 <= dropout < 1, f"dropout: {dropout} must lie in [0, 1)"),
    ]


class TransformerBlock(nn.Module):
    """Attention between all steps and a network at each: [B, T, W] -> [B, T, W]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.network_norm = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Each part adds to what passes by it; dropout acts on what is added, not inside the attention."""
        hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden)))
        return hidden + self.dropout(self.network(self.network_norm(hidden)))

    def _attend(self, hidden: Tensor) -> Tensor:
        parts = self.query_key_value(hidden).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [B, heads, T, W / heads]
        return self.attention_out(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


def sinusoidal_positions(n_steps: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of a step's distance from the last one, wavelengths from 2 pi to 20,000 pi: float32 [T, W].

    No weights, so an encoder takes windows of any length; its last steps are where it has learned to find them.
    """
    steps = torch.arange(n_steps - 1, -1, -1, device=device, dtype=torch.float32)
    rates = torch.exp(torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(10_000.0) / width))
    angles = steps[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
