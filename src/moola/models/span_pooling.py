"""Pooling that knows where in the window it looks: each part that the configuration tells apart is pooled by itself.

A label speaks of a zone; a mean over all bars cannot say what happened inside it and what before. Mean, maximum,
minimum, first and last state of each part go through one small layer, the same for all parts, so that it can be
trained on any span of bars (`moola.pretraining.path_statistics`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moola.models.encoder import InputShape


def span_features(states: Tensor) -> Tensor:
    """Mean, maximum, minimum, first and last state of some bars in a row, side by side: [B, n, W] -> [B, 5 W]."""
    ends = [states[:, 0], states[:, -1]]
    return torch.cat([states.mean(dim=1), states.amax(dim=1), states.amin(dim=1), *ends], dim=-1)


class SpanPooling(nn.Module):
    """States of a window to one vector. Legend: B windows, T bars, W state width, P width of a pooled span, S spans.

    Attributes:
        spans: the parts, in bars of a window of `n_bars`; the whole window where none are told apart.
        n_bars: bars of the windows it was made for; in others the parts keep their share of the window.
        span_width: P.
        mixed_width: M, of the layer that mixes the parts; 0 where there is none.
        embedding_width: S P + M: the parts, and beside them what mixes them.
    """

    def __init__(self, shape: InputShape, width: int, span_width: int, mixing: int) -> None:
        super().__init__()
        self.spans = shape.spans or ((0, shape.n_bars),)
        self.n_bars = shape.n_bars
        self.span_width, self.mixed_width = span_width, mixing
        self.embedding_width = len(self.spans) * span_width + mixing
        self.projection = nn.Sequential(nn.Linear(5 * width, span_width), nn.GELU())
        self.mixing = (
            nn.Sequential(nn.Linear(len(self.spans) * span_width, mixing), nn.GELU()) if mixing else nn.Identity()
        )

    def pool_span(self, states: Tensor) -> Tensor:
        """States of some bars in a row, [B, n, W] -> [B, P]."""
        return self.projection(span_features(states))

    def forward(self, states: Tensor) -> Tensor:
        """[B, T, W] -> [B, E]."""
        bounds = self._bounds(states.shape[1])
        parts = torch.cat([self.pool_span(states[:, first:end]) for first, end in bounds], dim=-1)
        return torch.cat([parts, self.mixing(parts)], dim=-1) if self.mixed_width else parts

    def mix(self, pooled: list[Tensor]) -> Tensor:
        """As many pooled spans as there are parts, [B, P] each -> [B, M]."""
        return self.mixing(torch.cat(pooled, dim=-1))

    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Its layers from the states to the embedding, as `moola.models.encoder.Encoder.layers` wants them."""
        named = (("projection", self.projection), ("mixing", self.mixing))
        return [(name, list(module.parameters())) for name, module in named if any(True for _ in module.parameters())]

    def _bounds(self, n_bars: int) -> list[tuple[int, int]]:
        """The parts of a window of any length, of at least one bar each."""
        if n_bars == self.n_bars:
            return list(self.spans)
        scaled = ((round(first * n_bars / self.n_bars), round(end * n_bars / self.n_bars)) for first, end in self.spans)
        return [(min(first, n_bars - 1), max(end, min(first, n_bars - 1) + 1)) for first, end in scaled]


def pooling_of(encoder: nn.Module) -> SpanPooling | None:
    """The span pooling of an encoder, or None where it pools otherwise."""
    found = getattr(encoder, "pooling", None)
    return found if isinstance(found, SpanPooling) else None
