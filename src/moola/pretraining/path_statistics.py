"""Path statistics as a pretext: say how far prices went between two bars, from the states between them.

A linear head on the pooled states of a random span predicts its net move, its size and its range
(`moola.pretraining.path_targets`); with `relations_weight`, another head on the pooled states of two neighbouring
spans, mixed where the encoder mixes the parts of a window, predicts how they relate. ``loss = mean over statistics and
spans of Huber's error (delta 1), and relations_weight times the same for relations``, each target in units of its usual
spread. Nothing is hidden: what counts is a pooled vector that knows the path, where an autoencoder teaches single
states. So spans are pooled as the encoder itself pools the parts of a window, if it can (`moola.models.span_pooling`),
and its pooling is trained with it. Spans are the same in all windows of a batch.

This pretext is not neutral. The labels of ``task=structure`` (`moola.labels.structure_rule`) are a function of three of
its targets: the net move of the bars before the zone, and the net move and the range of the zone, all in units of TR,
as here. Only the spans differ: they are drawn at random. So a gain on that label is one of being taught what the label
is made of, and says little of learning representations; labels by hand that speak of moves and ranges are near to it,
too. To judge the encoder by itself, take labels that say something else, or an objective that knows nothing of moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from moola.config import reject
from moola.data.device_batches import Batch
from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.models.encoder import Encoder
from moola.models.span_pooling import pooling_of, span_features
from moola.pretraining import WindowInputs
from moola.pretraining.candle_targets import price_columns
from moola.pretraining.fixed_draws import fixed_draws
from moola.pretraining.parts import with_loss
from moola.pretraining.path_targets import (
    RELATIONS,
    SPREADS_TR,
    Statistic,
    draw_neighbours,
    draw_spans,
    log_prices,
    path_statistics,
    span_relations,
)


@dataclass(frozen=True)
class PathStatistics:
    """Configuration.

    Attributes:
        statistics: what is predicted: of ``net``, ``distance``, ``range``, ``bar_range``.
        n_spans: spans a batch, and pairs of neighbouring ones.
        min_bars: fewest bars of a span; lengths from there to the whole window are equally likely.
        relations_weight: of the relations of neighbouring spans; 0: none.
        seed: of the spans, the same for every seed of the run.
    """

    statistics: tuple[Statistic, ...] = ("net", "distance", "range")
    n_spans: int = 4
    min_bars: int = 8
    relations_weight: float = 0.0
    seed: int = 0
    short_name: ClassVar[str] = "path"

    def __post_init__(self) -> None:
        reject(
            (not self.statistics, "statistics: needs at least one"),
            (len(set(self.statistics)) < len(self.statistics), f"statistics: {list(self.statistics)} holds one twice"),
            (self.n_spans < 1, f"n_spans: {self.n_spans} must be at least 1"),
            (self.min_bars < 2, f"min_bars: {self.min_bars} must be at least 2"),
            (self.relations_weight < 0, f"relations_weight: {self.relations_weight} must not be negative"),
            (self.seed < 0, f"seed: {self.seed} must not be negative"),
        )

    def build(self, encoder: Encoder, inputs: WindowInputs) -> PathStatisticsObjective:
        """Wrap an encoder.

        Raises:
            ConfigError: windows are shorter than a span.
            DataError: the source has no candles.
        """
        self.check_windows(inputs.shape.n_bars)
        return PathStatisticsObjective(encoder, price_columns(inputs.channels, "path_statistics"), self)

    def check_windows(self, n_bars: int) -> None:
        """Whether windows of `n_bars` hold a span, or two where relations are learnt.

        Raises:
            ConfigError: they do not.
        """
        most = n_bars // (2 if self.relations_weight else 1)
        if self.min_bars > most:
            pair = "two spans of " if self.relations_weight else ""
            raise ConfigError(
                [f"objective.min_bars: {pair}{self.min_bars} do not fit the {n_bars} bars of a window"],
                f"use objective.min_bars={most} or less, or show more bars (data.window.visible)",
            )


class PathStatisticsObjective(nn.Module):
    """Encoder and linear heads. Legend: B windows, W state width, P width of a pooled span, K targets."""

    def __init__(self, encoder: Encoder, columns: list[int], config: PathStatistics) -> None:
        super().__init__()
        pooling = pooling_of(encoder)
        self.config = config
        self.encoder = encoder
        self.columns = columns
        self._pooling = [pooling] if pooling else []  # in a list: its weights belong to the encoder alone
        pooled_width = pooling.span_width if pooling else 5 * encoder.width
        self.head = nn.Linear(pooled_width, len(config.statistics))
        self._mixes = pooling is not None and pooling.mixed_width > 0 and len(pooling.spans) == 2
        if config.relations_weight:
            mixed_width = pooling.mixed_width if pooling and self._mixes else 2 * pooled_width
            self.relations_head = nn.Linear(mixed_width, len(RELATIONS))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a training batch; spans depend on (seed, epoch, batch number) alone."""
        errors = self._errors(batch, batch.draws(self.config.seed))
        shares = errors["statistics"][0] / len(self.config.statistics)
        parts: dict[str, Tensor] = dict(zip(self.config.statistics, shares, strict=True))
        if "relations" in errors:
            parts["relations"] = self.config.relations_weight * errors["relations"][0].mean()
        return with_loss(parts)

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """``val_loss``, the error of each statistic and of the relations, and ``val_constant``.

        The last is what one fixed guess for all windows would lose: the mean of each target in each span.
        """
        errors = self._errors(batch, fixed_draws(batch))
        figures = dict(zip((f"val_{name}" for name in self.config.statistics), errors["statistics"][0], strict=True))
        weights = {"statistics": 1.0, "relations": self.config.relations_weight}
        loss, constant = (sum(weights[name] * found[i].mean() for name, found in errors.items()) for i in (0, 1))
        if "relations" in errors:
            figures["val_relations"] = errors["relations"][0].mean()
        return {name: float(value) for name, value in {"val_loss": loss, **figures, "val_constant": constant}.items()}

    def _errors(self, batch: Batch, draws: Draws) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of the model and of a constant guess, [K] each, of the statistics and of the relations."""
        states = self.encoder(batch.inputs)
        logs = log_prices(batch.bars[..., self.columns])
        n_bars, config = states.shape[1], self.config
        spans = draw_spans(draws, n_bars, config.n_spans, config.min_bars)
        found = {
            "statistics": _errors_of(
                [(self.head(self._pooled(states[:, span])), self._statistics(logs, span)) for span in spans]
            )
        }
        if config.relations_weight:
            pairs = draw_neighbours(draws, n_bars, config.n_spans, config.min_bars)
            found["relations"] = _errors_of([self._related(states, logs, *pair) for pair in pairs])
        return found

    def _pooled(self, states: Tensor) -> Tensor:
        return self._pooling[0].pool_span(states) if self._pooling else span_features(states)

    def _related(self, states: Tensor, logs: Tensor, first: slice, second: slice) -> tuple[Tensor, Tensor]:
        pair = [self._pooled(states[:, span]) for span in (first, second)]
        mixed = self._pooling[0].mix(pair) if self._mixes else torch.cat(pair, dim=-1)
        return self.relations_head(mixed), _in_spreads(span_relations(logs, first, second), RELATIONS)

    def _statistics(self, logs: Tensor, span: slice) -> Tensor:
        every = path_statistics(logs, span)
        wanted = torch.stack([every[name] for name in self.config.statistics], dim=-1)
        return _in_spreads(wanted, self.config.statistics)


def _in_spreads(targets: Tensor, names: Sequence[str]) -> Tensor:
    """Targets [B, K], each in units of its usual spread."""
    return (targets / targets.new_tensor([SPREADS_TR[name] for name in names])).float()


def _errors_of(guesses: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Errors of guesses [B, K] of what was wanted [B, K], and of its mean, over windows and spans: [K] each."""
    found = [_huber(guess, wanted) for guess, wanted in guesses]
    constant = [_huber(wanted.mean(dim=0, keepdim=True).expand_as(wanted), wanted) for _, wanted in guesses]
    return torch.stack(found).mean(dim=0), torch.stack(constant).mean(dim=0)


def _huber(guess: Tensor, wanted: Tensor) -> Tensor:
    """Huber's error (1964, delta 1), mean over windows: [B, K], [B, K] -> [K]."""
    return F.huber_loss(guess, wanted, reduction="none").mean(dim=0)
