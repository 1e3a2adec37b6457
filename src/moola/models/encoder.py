"""What every encoder is: states of every step, one vector a window, and layers in their order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
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

    def pool(self, states: Tensor) -> Tensor:
        """One vector a window: [B, T, W] -> [B, E]; has to be there unless `encode` is overridden."""
        raise NotImplementedError(f"{type(self).__name__} has neither pool() nor encode()")

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, T, W] and embedding [B, E]; an encoder whose embedding needs more than the states overrides it."""
        states = self(inputs)
        return states, self.pool(states)

    def settle(self, inputs: Tensor) -> None:
        """Take from windows [n, T, D] what the embedding needs beside the weights; by default it needs nothing.

        Called once the weights are there: at the end of pretraining, and with training windows for a random encoder.
        What it takes is kept in buffers, so that it goes where the weights go. The states stay as they are.
        """

    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Every parameter once, in layers from the inputs to the states: the order in which layers are unfrozen.

        By default one layer a child module, in the order in which they were assigned. Each member of a `ModuleList`
        is a layer, and a normalisation goes with the layer before it.
        """
        found: list[tuple[str, list[nn.Parameter]]] = []
        for name, module in self._members():
            parameters = list(module.parameters())
            if found and isinstance(module, nn.LayerNorm):
                found[-1][1].extend(parameters)
            elif parameters:
                found.append((name, parameters))
        return found

    def _members(self) -> Iterator[tuple[str, nn.Module]]:
        for name, child in self.named_children():
            if isinstance(child, nn.ModuleList):
                yield from ((f"{name}_{number}", member) for number, member in enumerate(child))
            else:
                yield name, child


def pool_states(states: Tensor) -> Tensor:
    """Mean, maximum and last state, side by side: [B, T, W] -> [B, 3 W]."""
    return torch.cat([states.mean(dim=1), states.amax(dim=1), states[:, -1]], dim=-1)
