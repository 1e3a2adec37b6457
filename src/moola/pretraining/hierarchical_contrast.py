"""Hierarchical contrast as in TS2Vec (Yue et al. 2022, arXiv:2106.10466).

Two random crops overlap; bars of each are hidden at random, each crop by a mask of its own; the states of the overlap
have to agree at every scale. A scale pools the states of the one below by the maximum of two bars, until one is left.
With r and r' the states of the two crops, at each scale (equations 1 and 2)::

    temporal = of each window, each bar has to find itself in the other crop among all bars of both
    instance = at each bar, each window has to find itself in the other crop among all windows of both

both `moola.pretraining.contrast.paired_contrast`, and ``loss = mean over scales of temporal_share * temporal +
(1 - temporal_share) * instance``, the largest scale having no temporal part.

What differs: both crops have the same length, about 0.5 to 0.9 of a window, and share half of it or more; a hidden bar
is replaced by a learnable token before the encoder, where the paper sets it to 0 after the first layer; and one linear
layer on the same states rebuilds the hidden bars, ``reconstruction_weight * mean squared error``, which costs no second
pass. Over several ranks, windows are contrasted with those of their own rank, and at most `group_windows` with each
other: memory grows with B T^2 + B G T floats for B windows in groups of G and an overlap of T bars, which `crop_bars`
bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from moola.config import reject
from moola.data.device_batches import Batch
from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.models.encoder import Encoder
from moola.pretraining import WindowInputs
from moola.pretraining.contrast import paired_contrast
from moola.pretraining.fixed_draws import fixed_draws
from moola.pretraining.parts import with_loss
from moola.pretraining.reconstruction_error import copy_last, masked_mse, visible_mean


@dataclass(frozen=True)
class HierarchicalContrast:
    """Configuration.

    Attributes:
        hidden_share: chance of each bar to be hidden.
        temporal_share: weight of the temporal contrast; the instance contrast has the rest.
        reconstruction_weight: of the error of rebuilt bars; 0: nothing is rebuilt.
        crop_bars: most bars of a crop.
        group_windows: windows of a batch that are contrasted with each other.
        seed: of crops and masks, the same for every seed of the run.
    """

    hidden_share: float = 0.5
    temporal_share: float = 0.5
    reconstruction_weight: float = 1.0
    crop_bars: int = 200
    group_windows: int = 64
    seed: int = 0
    short_name: ClassVar[str] = "hier"

    def __post_init__(self) -> None:
        weight = self.reconstruction_weight
        reject(
            (not 0 <= self.hidden_share < 1, f"hidden_share: {self.hidden_share} must lie in [0, 1)"),
            (not 0 <= self.temporal_share <= 1, f"temporal_share: {self.temporal_share} must lie in [0, 1]"),
            (weight < 0, f"reconstruction_weight: {weight} must not be negative"),
            (
                weight > 0 and self.hidden_share == 0,
                "hidden_share: 0 leaves nothing to rebuild; use reconstruction_weight=0",
            ),
            (self.crop_bars < 2, f"crop_bars: {self.crop_bars} must be at least 2"),
            (self.group_windows < 2, f"group_windows: {self.group_windows} must be at least 2"),
            (self.seed < 0, f"seed: {self.seed} must not be negative"),
        )

    @property
    def least_batch(self) -> int:
        """The instance contrast takes two windows; without it, the bars of one are told from each other."""
        return 2 if self.temporal_share < 1 else 1

    def build(self, encoder: Encoder, inputs: WindowInputs) -> HierarchicalContrastObjective:
        """Wrap an encoder.

        Raises:
            ConfigError: a window has a single bar.
        """
        if inputs.shape.n_bars < 2:
            raise ConfigError([f"data.window.visible: {inputs.shape.n_bars} bar cannot be cropped"], "show 2 or more")
        kind = ContrastAndReconstruction if self.reconstruction_weight > 0 else HierarchicalContrastObjective
        return kind(encoder, inputs.shape.n_inputs, self)


class HierarchicalContrastObjective(nn.Module):
    """Encoder and mask token. Legend: B windows, T bars, L bars of a crop, D inputs, W state width."""

    def __init__(self, encoder: Encoder, n_inputs: int, config: HierarchicalContrast) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.mask_token = nn.Parameter(torch.zeros(n_inputs))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a training batch; crops and masks depend on (seed, epoch, batch number) alone."""
        return with_loss(self._parts(self._hide(batch.inputs, batch.draws(self.config.seed))))

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """Losses on held-out windows: ``val_loss`` and its parts, weighted.

        The instance part grows with the windows of a group.
        """
        parts = self._parts(self._hide(batch.inputs, fixed_draws(batch)))
        figures = {f"val_{name}": float(value) for name, value in parts.items()}
        return {"val_loss": sum(figures.values()), **figures}

    def _hide(self, inputs: Tensor, draws: Draws) -> HiddenCrops:
        """First crops of all windows, then second ones, and states under the masks."""
        crops = draw_crops(draws, inputs.shape[1], self.config.crop_bars)
        bars = crops.starts.to(inputs.device)[:, None] + torch.arange(crops.span, device=inputs.device)
        spans = inputs.gather(1, bars[..., None].expand(-1, -1, inputs.shape[2]))
        windows = torch.cat([spans[:, : crops.length], spans[:, -crops.length :]])
        drawn = draws.uniform(2, crops.length).transpose(0, 1).flatten(0, 1)
        hidden = (drawn < self.config.hidden_share).to(inputs.device)
        states = self.encoder(torch.where(hidden[..., None], self.mask_token, windows))
        return HiddenCrops(windows, hidden, states, crops.overlap)

    def _parts(self, crops: HiddenCrops) -> dict[str, Tensor]:
        first, second = crops.states.chunk(2)
        first, second = first[:, -crops.overlap :], second[:, : crops.overlap]
        groups = zip(first.split(self.config.group_windows), second.split(self.config.group_windows), strict=True)
        summed = torch.stack([len(one) * torch.stack(hierarchical_contrast(one, other)) for one, other in groups])
        temporal, instance = summed.sum(dim=0) / len(first)
        share = self.config.temporal_share
        return {"temporal": share * temporal, "instance": (1 - share) * instance}


class ContrastAndReconstruction(HierarchicalContrastObjective):
    """Rebuilds the hidden bars, too, by one linear layer on the same states."""

    def __init__(self, encoder: Encoder, n_inputs: int, config: HierarchicalContrast) -> None:
        super().__init__(encoder, n_inputs, config)
        self.decoder = nn.Sequential(nn.GELU(), nn.Linear(encoder.width, n_inputs))

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """As without reconstruction, and the error of rebuilt bars beside that of two trivial predictors, unweighted.

        ``val_reconstruction``, ``val_copy_last`` and ``val_mean``; ``val_loss`` holds the first of them, weighted.
        """
        crops = self._hide(batch.inputs, fixed_draws(batch))
        figures = {f"val_{name}": float(value) for name, value in self._parts(crops).items()}
        total = sum(figures.values())
        guesses = {
            "reconstruction": self.decoder(crops.states),
            "copy_last": copy_last(crops.windows, crops.hidden),
            "mean": visible_mean(crops.windows, crops.hidden),
        }
        errors = {name: float(masked_mse(guess, crops.windows, crops.hidden)) for name, guess in guesses.items()}
        return {"val_loss": total, **figures, **{f"val_{name}": error for name, error in errors.items()}}

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Rebuilt windows [B, T, D], whole, and the masks [B, T] they were rebuilt under."""
        drawn = fixed_draws(batch).uniform(batch.inputs.shape[1])
        mask = (drawn < self.config.hidden_share).to(batch.inputs.device)
        return self.decoder(self.encoder(torch.where(mask[..., None], self.mask_token, batch.inputs))), mask

    def _parts(self, crops: HiddenCrops) -> dict[str, Tensor]:
        error = masked_mse(self.decoder(crops.states), crops.windows, crops.hidden)
        return {**super()._parts(crops), "reconstruction": self.config.reconstruction_weight * error}


class HiddenCrops(NamedTuple):
    """Crops [2 B, L, D], bool masks [2 B, L], states [2 B, L, W] and the bars that a first and a second crop share."""

    windows: Tensor
    hidden: Tensor
    states: Tensor
    overlap: int


class Crops(NamedTuple):
    """Bars of a crop, bars that two of them share, and the first bar of the first crop in each window, int64 [B]."""

    length: int
    overlap: int
    starts: Tensor

    @property
    def span(self) -> int:
        """Bars from the first of the first crop to the last of the second."""
        return 2 * self.length - self.overlap


def draw_crops(draws: Draws, n_bars: int, most_bars: int) -> Crops:
    """Lengths are the same for all windows of a batch, places are not.

    Crops have `most_bars`; where windows are shorter than 1.5 times that, 0.5 to 0.9 of the smaller of the two. The
    overlap is half a crop to a whole one, and more where two crops would not fit.
    """
    generator = torch.Generator().manual_seed(draws.shared(0, 1 << 62))  # one wait for the device in place of two
    length = min(most_bars, n_bars)
    if n_bars <= 1.5 * most_bars:
        length = max(int(length * (0.5 + 0.4 * float(torch.rand((), generator=generator)))), 2)
    wanted = int(torch.randint(max(length // 2, 2), length + 1, (1,), generator=generator))
    overlap = max(wanted, 2 * length - n_bars)
    return Crops(length, overlap, draws.integers(0, n_bars - (2 * length - overlap) + 1))


def hierarchical_contrast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Temporal and instance contrast, each summed over scales and divided by their number: [B, T, W] twice."""
    temporal = instance = first.new_zeros(())
    n_scales = 1
    while first.shape[1] > 1:
        temporal = temporal + paired_contrast(first, second)
        instance = instance + paired_contrast(first.transpose(0, 1), second.transpose(0, 1))
        first, second = _coarser(first), _coarser(second)
        n_scales += 1
    instance = instance + paired_contrast(first.transpose(0, 1), second.transpose(0, 1))
    return temporal / n_scales, instance / n_scales


def _coarser(states: Tensor) -> Tensor:
    """The maximum of every two bars, an odd last one left out: [B, T, W] -> [B, T // 2, W]."""
    half = states.shape[1] // 2
    return states[:, : 2 * half].unflatten(1, (half, 2)).amax(dim=2)
