"""Proof that training moved what it should have moved, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moola.models.encoder import Encoder
from moola.training.weights import TransferError

_TINY = 1e-12
"""Norm that a change from zero is measured by."""


@dataclass(frozen=True)
class Movement:
    """How far training moved an encoder: ``|after - before| / |before|`` in the Euclidean norm.

    Attributes:
        layers: of all weights of each layer together, from the inputs to the states.
        tensors: of each weight.
    """

    layers: Mapping[str, float]
    tensors: Mapping[str, float]

    def check(self, frozen: Collection[str] = ()) -> None:
        """Every layer moved but the `frozen` ones, which stayed where they were.

        A single weight may stay: one that the embedding does not need has no gradient.

        Raises:
            TransferError: a layer did not do what it should; each is named.
        """
        still = [name for name, moved in self.layers.items() if name not in frozen and moved == 0.0]
        if still:
            raise TransferError(
                "layers that should have trained did not move",
                _named(still, self.tensors),
                "train for more epochs than model.*.frozen_epochs, and look for weights that no gradient reaches",
            )
        moved = [name for name in self.layers if name in frozen and self.layers[name] != 0.0]
        if moved:
            raise TransferError(
                "layers that should have stayed frozen moved",
                "\n".join(f"- {name}: by {self.layers[name]:.2g} of their norm" for name in moved),
                "this is a defect of the training loop",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values of both."""
        return {"layers": dict(self.layers), "tensors": dict(self.tensors)}


def snapshot(encoder: Encoder) -> dict[str, Tensor]:
    """A copy of the weights on the CPU; buffers are left out, because nothing expects them to move."""
    return {name: value.detach().cpu().clone() for name, value in encoder.named_parameters()}


def movement(encoder: Encoder, before: Mapping[str, Tensor]) -> Movement:
    """How far `encoder` is from the snapshot `before`, which was taken of it."""
    names = {id(value): name for name, value in encoder.named_parameters()}
    after = snapshot(encoder)
    layers = {
        layer: _relative_change([before[names[id(value)]] for value in values], [value.detach() for value in values])
        for layer, values in encoder.layers()
    }
    return Movement(layers, {name: _relative_change([before[name]], [after[name]]) for name in before})


def untrained_layers(encoder: Encoder, before: Mapping[str, Tensor]) -> list[str]:
    """Layers that are as they were in the snapshot `before`, bit for bit: no gradient reached them."""
    return [name for name, moved in movement(encoder, before).layers.items() if moved == 0.0]


def _relative_change(before: list[Tensor], after: list[Tensor]) -> float:
    old, new = (torch.cat([value.cpu().double().flatten() for value in values]) for values in (before, after))
    return float(torch.linalg.vector_norm(new - old) / torch.linalg.vector_norm(old).clamp_min(_TINY))


def _named(layers: list[str], tensors: Mapping[str, float]) -> str:
    lines = [f"- layer {name}" for name in layers]
    lines += [f"- {name}" for name, moved in tensors.items() if moved == 0.0]
    return "\n".join(lines)
