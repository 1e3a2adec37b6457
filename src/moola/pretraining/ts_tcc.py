"""TS-TCC: temporal and contextual contrast of a weak and a strong view (Eldele et al. 2021, arXiv:2106.14112).

A window gives two views. Each is cut after a random bar t; a summary c of the states up to t predicts the states z of
the *other* view at the next K bars (equations 1 and 2), and the summaries of the two views have to find each other
among all windows of the batch (equation 4). With W_k one linear map a step ahead, the sums over the windows n of the
batch, and weak and strong changing places::

    temporal   = -1/K sum_k log( exp(W_k(c) . z_k) / sum_n exp(W_k(c) . z_n,k) )
    contextual = paired_contrast of the projected summaries, on unit vectors, with a temperature
    loss       = temporal_weight * (temporal weak + temporal strong) + contextual_weight * contextual

What differs: the paper's convolutions see a few bars, but an encoder here may see its whole input, so the bars up to
t and those after it are encoded apart; else a state before t could tell what comes after. That holds for the encoder
and not for the transform: views are transformed whole, so with one that looks at the whole window (``anchored``,
``standardised``) the past still knows the anchor and the unit, and with them something of the bars to predict. The
projection has no batch normalisation. Over several ranks, windows are contrasted with those of their own rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from moola.augment import Augmentation, build_augmentations
from moola.config import reject
from moola.data.device_batches import Batch
from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.models.encoder import Encoder
from moola.pretraining import WindowInputs
from moola.pretraining.contrast import paired_contrast
from moola.pretraining.fixed_draws import fixed_draws
from moola.pretraining.parts import with_loss
from moola.pretraining.views import view_maker

_PAST_SHARE = 1 / 4
"""The first cut leaves this share of the window before it: a summary of fewer bars has little to tell."""


@dataclass(frozen=True)
class TsTcc:
    """Configuration.

    Attributes:
        weak: augmentations of the weak view, as sections ``{name: jitter, ...}``; the paper jitters and scales.
        strong: of the strong view; the paper permutes and jitters.
        steps: bars after the cut whose states are predicted.
        context: width of the summary.
        heads: attention heads of the transformer layer that summarises.
        projection_hidden: width of the projection's hidden layer.
        projection: width of what the contextual contrast compares.
        temperature: of the contextual contrast.
        temporal_weight: of the temporal contrast.
        contextual_weight: of the contextual contrast.
        seed: of cuts and augmentations, the same for every seed of the run.
    """

    weak: tuple[Augmentation, ...] = ()
    strong: tuple[Augmentation, ...] = ()
    steps: int = 10
    context: int = 64
    heads: int = 4
    projection_hidden: int = 128
    projection: int = 64
    temperature: float = 0.5
    temporal_weight: float = 1.0
    contextual_weight: float = 0.7
    seed: int = 0
    short_name: ClassVar[str] = "tstcc"
    least_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        sizes = ("steps", "context", "heads", "projection_hidden", "projection")
        positive = ("temperature", "temporal_weight", "contextual_weight")
        reject(
            *((getattr(self, name) < 1, f"{name}: {getattr(self, name)} must be at least 1") for name in sizes),
            *((getattr(self, name) <= 0, f"{name}: {getattr(self, name)} must be positive") for name in positive),
            (
                self.heads > 0 and self.context % self.heads != 0,
                f"context: {self.context} must be a multiple of heads ({self.heads})",
            ),
            (not self.weak and not self.strong, "weak, strong: without augmentations both views are the same"),
            (self.seed < 0, f"seed: {self.seed} must not be negative"),
        )
        for name in ("weak", "strong"):
            object.__setattr__(self, name, build_augmentations(getattr(self, name), name))

    def build(self, encoder: Encoder, inputs: WindowInputs) -> TsTccObjective:
        """Wrap an encoder.

        Raises:
            ConfigError: no past is left before the bars to predict.
        """
        self.check_windows(inputs.shape.n_bars)
        return TsTccObjective(encoder, inputs, self)

    def check_windows(self, n_bars: int) -> None:
        """Whether windows of `n_bars` have a past and the bars to predict.

        Raises:
            ConfigError: no past is left.
        """
        most = n_bars - _first_cut(n_bars)
        if self.steps > most:
            raise ConfigError(
                [f"objective.steps: {self.steps} leaves no past in {n_bars} bars"],
                f"use objective.steps={most} or less, or show more bars (data.window.visible)",
            )


class TsTccObjective(nn.Module):
    """Encoder, summary, predictors and projection. Legend: B windows, T bars, W state width, K steps, H summary."""

    def __init__(self, encoder: Encoder, inputs: WindowInputs, config: TsTcc) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.summary = _Summary(encoder.width, config.context, config.heads)
        self.predict = nn.Linear(config.context, config.steps * encoder.width)
        self.project = nn.Sequential(
            nn.Linear(config.context, config.projection_hidden),
            nn.ReLU(),
            nn.Linear(config.projection_hidden, config.projection),
        )
        self._weak, self._strong = view_maker(config.weak, inputs), view_maker(config.strong, inputs)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a training batch; cuts and views depend on (seed, epoch, batch number) alone."""
        return with_loss(self._parts(batch, lambda use: batch.draws(self.config.seed, use)))

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """Losses on held-out windows: ``val_loss`` and its parts, weighted.

        ``val_chance`` is what guessing among the windows loses. All grow with the windows of a batch, so compare
        batches of one size.
        """
        device = batch.inputs.device
        parts = self._parts(batch, lambda use: fixed_draws(batch, use, device=device))
        figures = {f"val_{name}": float(value) for name, value in parts.items()}
        n = len(batch.inputs)
        chance = 2 * self.config.temporal_weight * math.log(n) + self.config.contextual_weight * math.log(2 * n - 1)
        return {"val_loss": sum(figures.values()), **figures, "val_chance": chance}

    def _parts(self, batch: Batch, draws: Callable[[int], Draws]) -> dict[str, Tensor]:
        n_bars, steps = batch.bars.shape[1], self.config.steps
        cut = draws(0).shared(_first_cut(n_bars), n_bars - steps + 1)
        weak, strong = self._weak(batch.bars, draws(1)), self._strong(batch.bars, draws(2))
        weak_context, weak_future = self._sides(weak, cut)
        strong_context, strong_future = self._sides(strong, cut)
        temporal = temporal_contrast(self._predicted(weak_context), strong_future) + temporal_contrast(
            self._predicted(strong_context), weak_future
        )
        contextual = contextual_contrast(
            self.project(weak_context), self.project(strong_context), self.config.temperature
        )
        return {
            "temporal": self.config.temporal_weight * temporal,
            "contextual": self.config.contextual_weight * contextual,
        }

    def _sides(self, view: Tensor, cut: int) -> tuple[Tensor, Tensor]:
        """Summary [B, H] of the bars before the cut, states [B, K, W] of the first bars after it."""
        return self.summary(self.encoder(view[:, :cut])), self.encoder(view[:, cut:])[:, : self.config.steps]

    def _predicted(self, context: Tensor) -> Tensor:
        """[B, H] -> [B, K, W]."""
        return self.predict(context).unflatten(1, (self.config.steps, -1))


class _Summary(nn.Module):
    """One pre-norm transformer layer over the states and a learnable token, whose output it is: [B, t, W] -> [B, H]."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width, context)
        self.token = nn.Parameter(torch.zeros(context))
        self.layer = nn.TransformerEncoderLayer(
            context, heads, 4 * context, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(context)

    def forward(self, states: Tensor) -> Tensor:
        embedded = self.embed(states)
        token = self.token.to(embedded.dtype).expand(len(states), 1, -1)
        return self.norm(self.layer(torch.cat([token, embedded], dim=1))[:, 0])


def temporal_contrast(predicted: Tensor, states: Tensor) -> Tensor:
    """Each prediction has to find the states of its own window among those of the batch: [B, K, W] twice -> scalar.

    ``-1/(B K) sum_b sum_k log( exp(p_bk . z_bk) / sum_n exp(p_bk . z_nk) )``; 0 for a single window.
    """
    scores = torch.einsum("bkw,nkw->kbn", predicted, states)
    own = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
    return F.cross_entropy(scores.flatten(0, 1), own)


def contextual_contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """`moola.pretraining.contrast.paired_contrast` of the directions of two views: [B, P] twice -> scalar."""
    return paired_contrast(F.normalize(first, dim=-1)[None], F.normalize(second, dim=-1)[None], temperature)


def _first_cut(n_bars: int) -> int:
    return max(round(n_bars * _PAST_SHARE), 1)
