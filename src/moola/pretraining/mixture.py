"""Several objectives for one encoder, summed by weight: ``loss = sum over parts of weight * loss of the part``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moola.config import ConfigProblems, build_all, reject, structure
from moola.data.device_batches import Batch
from moola.errors import ConfigError
from moola.models.encoder import Encoder
from moola.pretraining import OBJECTIVES, ObjectiveConfig, Reconstructing, WindowInputs, check_windows, least_batch
from moola.pretraining.parts import with_loss

_SHOWN = ("val_reconstruction", "val_copy_last", "val_mean")
"""Figures of the part that rebuilds inputs which also stand under their own names, where reports look for them."""


@dataclass(frozen=True)
class Part:
    """One objective of a mixture.

    Attributes:
        name: of the objective; what its figures begin with.
        objective: its configuration.
        weight: of its loss.
    """

    name: str
    objective: ObjectiveConfig
    weight: float = 1.0

    def __post_init__(self) -> None:
        reject((self.weight <= 0, f"weight: {self.weight} must be positive"))


@dataclass(frozen=True)
class Mixture:
    """Configuration. Every part runs the encoder for itself, so their times add up.

    Attributes:
        parts: sections ``{name: masked_autoencoder, weight: 1.0, ...}``, the rest being the objective's own keys; or
            parts that are built already.
    """

    parts: tuple[Any, ...]

    def __post_init__(self) -> None:
        built = build_all(*(functools.partial(_build, part, f"parts[{i}]") for i, part in enumerate(self.parts)))
        object.__setattr__(self, "parts", tuple(built))
        names = [part.name for part in built]
        reject(
            (not names, "parts: needs at least one"),
            (len(set(names)) < len(names), f"parts: {', '.join(names)} holds one twice"),
            ("mixture" in names, "parts: a mixture takes no mixture; list all parts in one"),
        )

    @property
    def short_name(self) -> str:
        """Short names of the parts, joined."""
        return "_".join(getattr(part.objective, "short_name", part.name) for part in self.parts)

    @property
    def least_batch(self) -> int:
        """What its most demanding part needs."""
        return max(least_batch(part.objective) for part in self.parts)

    def realised_ratio(self, n_bars: int) -> float | None:
        """Share of the bars that the first part with masks hides; None where no part has any."""
        masking = (part.objective.realised_ratio for part in self.parts if hasattr(part.objective, "realised_ratio"))
        return next((realised(n_bars) for realised in masking), None)

    def build(self, encoder: Encoder, inputs: WindowInputs) -> MixtureObjective:
        """Wrap an encoder.

        Raises:
            ConfigError: a part does not fit such windows; the problems of all parts.
            DataError: a part needs channels that the source lacks.
        """
        built = self._ask_all(lambda objective: objective.build(encoder, inputs))
        rebuilds = any(isinstance(objective, Reconstructing) for objective in built)
        return (ReconstructingMixture if rebuilds else MixtureObjective)(encoder, built, self)

    def check_windows(self, n_bars: int) -> None:
        """Whether every part can learn from windows of `n_bars`.

        Raises:
            ConfigError: the problems of all parts.
        """
        self._ask_all(lambda objective: check_windows([objective], n_bars))

    def _ask_all(self, ask: Callable[[ObjectiveConfig], Any]) -> list[Any]:
        """The answers of all parts, or all their problems; what one says of its keys is said of their place."""
        problems, answers = ConfigProblems(), []
        for number, part in enumerate(self.parts):
            try:
                answers.append(ask(part.objective))
            except ConfigError as error:
                told = (*error.problems, error.way_out)
                *own, way_out = (said.replace("objective.", f"objective.parts[{number}].") for said in told)
                problems.take(ConfigError(own, way_out))
        if problems:
            error, whole = problems.error(), "a command line gives all of objective.parts at once"
            raise ConfigError(error.problems, f"{error.way_out}; {whole}" if error.way_out else whole)
        return answers


class MixtureObjective(nn.Module):
    """One encoder and what each part has around it."""

    def __init__(self, encoder: Encoder, objectives: Sequence[Any], config: Mixture) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights = {part.name: part.weight for part in config.parts}
        self.parts = nn.ModuleDict(dict(zip(self.weights, objectives, strict=True)))
        for objective in objectives:
            _share_encoder(objective, encoder)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every part's own parts, weighted once more, each under ``NAME_PART``."""
        found: dict[str, Tensor] = {}
        for name, objective in self.parts.items():
            losses = objective(batch)
            found |= {f"{name}_{part}": self.weights[name] * losses[part] for part in losses if part != "loss"}
        return with_loss(found)

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """``val_loss``, the weighted sum, and every part's figures as the part gives them, ``val_NAME_FIGURE``.

        The figures of the first part that rebuilds inputs beside the trivial predictors also stand without its name.
        """
        total = 0.0
        found: dict[str, float] = {}
        shown: dict[str, float] = {}
        for name, objective in self.parts.items():
            figures = objective.validate(batch)  # type: ignore[operator]
            total += self.weights[name] * figures["val_loss"]
            found |= {f"val_{name}_{figure.removeprefix('val_')}": value for figure, value in figures.items()}
            shown = shown or {figure: figures[figure] for figure in _SHOWN if figure in figures}
        return {"val_loss": total, **shown, **found}


class ReconstructingMixture(MixtureObjective):
    """A mixture of which a part rebuilds inputs."""

    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Rebuilt inputs [B, T, D] and mask [B, T] of the first part that can."""
        able = next(objective for objective in self.parts.values() if isinstance(objective, Reconstructing))
        return able.reconstruct(batch)


def _build(given: Part | Mapping[str, Any], place: str) -> Part:
    if isinstance(given, Part):
        return given
    own = {key: value for key, value in given.items() if key != "weight"} if isinstance(given, Mapping) else given
    objective = OBJECTIVES.build_section(own, place)
    return structure(Part, {"name": own["name"], "objective": objective, "weight": given.get("weight", 1.0)}, place)


def _share_encoder(objective: nn.Module, encoder: Encoder) -> None:
    """Leave the encoder to the mixture: saved once, not once a part. The part reaches it as a plain attribute."""
    del objective.encoder
    object.__setattr__(objective, "encoder", encoder)
