"""Structure labels as a pretext: say what happens at hidden bars, read off the candles themselves.

At each bar three questions (`moola.pretraining.candle_targets`): is it an expansion, a swing, and of what shape. Each
has a linear head on the states; with M the hidden bars, ``part = weight * mean over M of cross-entropy`` and the loss
is their sum (multitask learning, Caruana 1997, with labels that cost nothing).

The answer at a bar could be read off its own inputs, so the bars that are asked about are hidden as in the masked
autoencoder, and only they count: the encoder has to tell from what is around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from moola.config import reject
from moola.data.device_batches import Batch
from moola.models.encoder import Encoder
from moola.pretraining import WindowInputs
from moola.pretraining.candle_targets import N_EXPANSION, N_SHAPE, N_SWING, expansion, price_columns, shape, swing
from moola.pretraining.fixed_draws import fixed_draws
from moola.pretraining.masks import Masking
from moola.pretraining.parts import with_loss


@dataclass(frozen=True)
class StructureLabels(Masking):
    """Configuration; the masks are those of `Masking`.

    Attributes:
        expansion_atr: a bar is an expansion if its true range is more than this many average true ranges.
        atr_bars: bars before it in the average.
        swing_bars: bars of the window in whose middle a swing is the extreme; odd.
        doji: largest body of a doji, as a share of its range.
        expansion_weight: of that part of the loss.
        swing_weight: of that part.
        shape_weight: of that part.
        seed: of the masks, the same for every seed of the run.
    """

    expansion_atr: float = 2.0
    atr_bars: int = 14
    swing_bars: int = 5
    doji: float = 0.1
    expansion_weight: float = 1.0
    swing_weight: float = 1.0
    shape_weight: float = 1.0
    seed: int = 0
    short_name: ClassVar[str] = "structure"

    def __post_init__(self) -> None:
        weights = self.weights
        reject(
            *self.mask_rules(),
            (self.expansion_atr <= 0, f"expansion_atr: {self.expansion_atr} must be positive"),
            (self.atr_bars < 1, f"atr_bars: {self.atr_bars} must be at least 1"),
            (
                self.swing_bars < 3 or self.swing_bars % 2 == 0,
                f"swing_bars: {self.swing_bars} must be odd and at least 3",
            ),
            (not 0 <= self.doji < 1, f"doji: {self.doji} must lie in [0, 1)"),
            *((weight < 0, f"{name}_weight: {weight} must not be negative") for name, weight in weights.items()),
            (not any(weights.values()), "expansion_weight, swing_weight, shape_weight: one must be above 0"),
            (self.seed < 0, f"seed: {self.seed} must not be negative"),
        )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each question."""
        return {"expansion": self.expansion_weight, "swing": self.swing_weight, "shape": self.shape_weight}

    def build(self, encoder: Encoder, inputs: WindowInputs) -> StructureLabelsObjective:
        """Wrap an encoder.

        Raises:
            ConfigError: such masks cannot be drawn for these windows.
            DataError: the source has no candles.
        """
        self.check_windows(inputs.shape.n_bars)
        columns = price_columns(inputs.channels, "structure_labels")
        return StructureLabelsObjective(encoder, inputs.shape.n_inputs, columns, self)

    def targets(self, prices: Tensor) -> dict[str, Tensor]:
        """Class numbers int64 [B, T] of each question: prices [B, T, 4] in."""
        return {
            "expansion": expansion(prices, self.expansion_atr, self.atr_bars),
            "swing": swing(prices, self.swing_bars),
            "shape": shape(prices, self.doji),
        }


class StructureLabelsObjective(nn.Module):
    """Encoder, mask token and a linear head a question. Legend: B windows, T bars, D inputs, W width, K classes."""

    def __init__(self, encoder: Encoder, n_inputs: int, columns: list[int], config: StructureLabels) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.columns = columns
        self.mask_token = nn.Parameter(torch.zeros(n_inputs))
        n_classes = {"expansion": N_EXPANSION, "swing": N_SWING, "shape": N_SHAPE}
        self.heads = nn.ModuleDict(
            {name: nn.Linear(encoder.width, n_classes[name]) for name, weight in config.weights.items() if weight > 0}
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a training batch; the mask depends on (seed, epoch, batch number) alone."""
        mask = self.config.draw_mask(batch.draws(self.config.seed), batch.inputs.shape[1])
        return with_loss(self._parts(batch, mask))

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """``val_loss`` and its weighted parts on held-out windows, under masks that never change.

        Beside each part, ``val_NAME_constant`` is the least that one fixed guess for all bars could lose: the entropy
        of the answers, weighted alike.
        """
        mask = self.config.draw_mask(fixed_draws(batch), batch.inputs.shape[1]).to(batch.inputs.device)
        figures = {f"val_{name}": float(value) for name, value in self._parts(batch, mask).items()}
        targets = self._targets(batch)
        constant = {
            f"val_{name}_constant": self.config.weights[name] * constant_log_loss(targets[name][mask])
            for name in self.heads
        }
        return {"val_loss": sum(figures.values()), **figures, **constant}

    def _parts(self, batch: Batch, mask: Tensor) -> dict[str, Tensor]:
        states = self.encoder(torch.where(mask[..., None], self.mask_token, batch.inputs))
        targets, weights = self._targets(batch), self.config.weights
        return {
            name: weights[name] * masked_cross_entropy(head(states), targets[name], mask)
            for name, head in self.heads.items()
        }

    def _targets(self, batch: Batch) -> dict[str, Tensor]:
        return self.config.targets(batch.bars[..., self.columns])


def masked_cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``-log softmax(logits)[target]`` over hidden bars: [B, T, K], int64 [B, T], bool [B, T] -> scalar."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * mask.flatten()).sum() / mask.sum()


def constant_log_loss(targets: Tensor) -> float:
    """Log loss of the best constant probabilities, their frequencies: int64 [n] -> the entropy in nats."""
    frequencies = targets.bincount() / len(targets)
    return float(torch.special.entr(frequencies).sum())
