"""minGRU: a recurrence without a loop over bars (Feng et al. 2024, arXiv:2410.01201, section 3.1).

Gate and candidate depend on the bar alone, ``h_t = (1 - z_t) h_{t-1} + z_t c_t``, so all states come out of one scan.
What differs: two directions, a residual stream and pre-normalisation; and the scan works in blocks on the numbers
themselves. The paper's, on logarithms, needs positive candidates and loses digits as sums of logarithms grow (steep
gates over 2,000 bars: 1e-3 in float32): here each state is a mean of candidates, bounded by them for any length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from moola.config import reject
from moola.models.encoder import Encoder, InputShape, pool_states


@dataclass(frozen=True)
class MinGru:
    """Configuration.

    Attributes:
        hidden: units per direction; states are twice as wide.
        layers: stacked layers. One alone weighs bars without regard to what came before; use two or more.
        dropout: of what each layer adds.
    """

    hidden: int = 64
    layers: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        reject(
            (self.hidden < 1, f"hidden: {self.hidden} must be at least 1"),
            (self.layers < 1, f"layers: {self.layers} must be at least 1"),
            (not 0 <= self.dropout < 1, f"dropout: {self.dropout} must lie in [0, 1)"),
        )

    def build(self, shape: InputShape) -> MinGruEncoder:
        """A fresh encoder with random weights."""
        return MinGruEncoder(shape, self)


class MinGruEncoder(Encoder):
    """Per-step states, normalised: [B, T, D] -> [B, T, 2 * hidden]."""

    def __init__(self, shape: InputShape, config: MinGru) -> None:
        super().__init__()
        self.width = 2 * config.hidden
        self.embedding_width = 3 * self.width
        self.embed = nn.Linear(shape.n_inputs, self.width)
        self.blocks = nn.ModuleList(MinGruBlock(self.width, shape.n_bars, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step; a state has seen the whole window, since one half runs backwards."""
        hidden = self.embed(inputs)
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)

    def pool(self, states: Tensor) -> Tensor:
        """Mean, maximum and last state: [B, T, W] -> [B, 3 W]."""
        return pool_states(states)


class MinGruBlock(nn.Module):
    """Adds the states of both directions, half the width each: [B, T, W] -> [B, T, W]."""

    def __init__(self, width: int, n_bars: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate_and_candidate = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():  # units remember from 2 bars to the window (after Tallec & Ollivier, arXiv:1804.11188)
            self.gate_and_candidate.bias[:width] = -math.log(n_bars) * torch.rand(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """The scan runs in float32 under autocast too: products of many gates near 1 would lose them in bfloat16."""
        gate, candidate = self.gate_and_candidate(self.norm(hidden)).float().chunk(2, dim=-1)
        keep, new = torch.sigmoid(-gate), torch.sigmoid(gate) * candidate
        states = _turn_second_half(linear_recurrence(_turn_second_half(keep), _turn_second_half(new)))
        return hidden + self.dropout(states)


def linear_recurrence(keep: Tensor, new: Tensor) -> Tensor:
    """``h_t = keep_t * h_{t-1} + new_t`` with ``h_{-1} = 0``, in about 2 sqrt(T) steps.

    The bars are cut into blocks. All blocks run at once as if each began at 0; then the states in which blocks really
    begin follow from one another; what each leaves of itself is added. Nothing is divided by, so with `keep` in [0, 1]
    no length overflows.

    Args:
        keep: [B, T, W].
        new: [B, T, W].

    Returns:
        The states [B, T, W].
    """
    n_bars = new.shape[1]
    size = math.isqrt(n_bars - 1) + 1  # bars a block: ceil(sqrt(T))
    keeps, news = (pad(values, (0, 0, 0, -n_bars % size)).unflatten(1, (-1, size)).unbind(2) for values in (keep, new))
    states, kept = [news[0]], [keeps[0]]
    for factor, term in zip(keeps[1:], news[1:], strict=True):
        states.append(torch.addcmul(term, factor, states[-1]))
        kept.append(factor * kept[-1])
    begins = [torch.zeros_like(new[:, 0])]
    for factor, end in zip(kept[-1].unbind(1)[:-1], states[-1].unbind(1)[:-1], strict=True):
        begins.append(torch.addcmul(end, factor, begins[-1]))
    begin = torch.stack(begins, dim=1)
    whole = [torch.addcmul(state, factor, begin) for state, factor in zip(states, kept, strict=True)]
    return torch.stack(whole, dim=2).flatten(1, 2)[:, :n_bars]


def _turn_second_half(values: Tensor) -> Tensor:
    """The second half of the channels backwards in time; twice gives back what it was given."""
    ahead, back = values.chunk(2, dim=-1)
    return torch.cat([ahead, back.flip(1)], dim=-1)
