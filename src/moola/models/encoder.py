"""What every encoder is: states of every step, one vector a window, and layers in their order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class InputShape:
    """What windows look like to an encoder.

    Attributes:
        n_inputs: transformed channels.
        n_bars: visible bars.
        spans: first and past-the-end bar of the parts that the configuration tells apart: what comes before the zone,
            and the zone (`moola.features.summary.summary_spans`).
    """

    n_inputs: int
    n_bars: int
    spans: tuple[tuple[int, int], ...] = ()


class Encoder(nn.Module, ABC):
    """Windows to states. Legend: B windows, T bars, D inputs, W state width, E width of the embedding.

    Attributes:
        width: W.
        embedding_width: E.
    """

    width: int
    embedding_width: int

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step: [B, T, D] -> [B, T, W]."""

    @abstractmethod
    def pool(self, states: Tensor) -> Tensor:
        """One vector a window: [B, T, W] -> [B, E]."""

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, T, W] and embedding [B, E]; an encoder whose embedding needs more than the states overrides it."""
        states = self(inputs)
        return states, self.pool(states)

    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Every parameter once, in layers from the inputs to the states: the order in which layers are unfrozen.

        One layer a child module by default.
        """
        return [(name, list(child.parameters())) for name, child in self.named_children() if any(child.parameters())]


def pool_states(states: Tensor) -> Tensor:
    """Mean, maximum and last state, side by side: [B, T, W] -> [B, 3 W]."""
    return torch.cat([states.mean(dim=1), states.amax(dim=1), states[:, -1]], dim=-1)
