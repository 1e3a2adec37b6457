"""When each layer of an encoder begins to train, and how fast."""

from __future__ import annotations

from collections import Counter

from torch import nn

from moola.errors import ConfigError
from moola.models.encoder import Encoder
from moola.training.optimisation import ParameterGroup


def encoder_groups(
    encoder: Encoder,
    epochs: int,
    *,
    frozen_epochs: int = 0,
    every_epochs: int = 0,
    lr_factor: float = 1.0,
    lr_decay: float = 1.0,
    trained_layers: int | None = None,
) -> list[ParameterGroup]:
    """One parameter group a layer: gradual unfreezing and discriminative rates.

    Howard & Ruder (2018, arXiv:1801.06146, sections 3.2 and 3.3), with any number of epochs between two layers.
    Layers are counted from the states: the last one is number 0.

    Args:
        encoder: in layers as `Encoder.layers` gives them.
        epochs: of the whole schedule.
        frozen_epochs: epochs in which no layer trains.
        every_epochs: layer number d begins ``d * every_epochs`` epochs after the last one; 0: all begin together.
        lr_factor: rate of the last layer as a share of the schedule's.
        lr_decay: layer number d has ``lr_decay^d`` of that.
        trained_layers: how many of the last layers train; the others are frozen to the end. None: all of them.

    Returns:
        From the inputs to the states, named ``encoder.LAYER``.

    Raises:
        ConfigError: a layer that should train would still be frozen when training ends; each is named.
        ValueError: the encoder's layers leave weights out, which would never train, or hold some twice.
    """
    layers = encoder.layers()
    _check_partition(encoder, layers)
    trained = len(layers) if trained_layers is None else trained_layers
    groups: list[ParameterGroup] = []
    problems: list[str] = []
    for place, (name, parameters) in enumerate(layers):
        depth = len(layers) - 1 - place
        begins = frozen_epochs + depth * every_epochs if depth < trained else epochs
        if depth < trained and begins >= epochs:
            problems.append(
                f"unfreeze_every_epochs: layer {name} would begin after {begins} of trainer.finetune.epochs={epochs}"
            )
        groups.append(ParameterGroup(parameters, lr_factor * lr_decay**depth, begins, f"encoder.{name}"))
    if problems:
        raise ConfigError(
            problems, "use fewer frozen_epochs, a smaller unfreeze_every_epochs, fewer trained_layers or more epochs"
        )
    return groups


def _check_partition(encoder: Encoder, layers: list[tuple[str, list[nn.Parameter]]]) -> None:
    held = Counter(id(value) for _, values in layers for value in values)
    odd = [name for name, value in encoder.named_parameters() if held[id(value)] != 1]
    if odd:
        raise ValueError(f"{type(encoder).__name__}.layers() must hold every weight once; it does not: {odd}")


def frozen_layers(encoder: Encoder, trained_layers: int | None) -> tuple[str, ...]:
    """Names of the layers that are to stay as they are."""
    names = [name for name, _ in encoder.layers()]
    return () if trained_layers is None else tuple(names[: max(len(names) - trained_layers, 0)])
