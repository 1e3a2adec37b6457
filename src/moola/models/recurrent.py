"""What encoders of PyTorch's recurrent layers share: one direction or two, a normalisation, a pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from moola.config import reject
from moola.models.encoder import Encoder, InputShape, pool_states
from moola.models.span_pooling import SpanPooling


@dataclass(frozen=True)
class Recurrent:
    """Configuration.

    Attributes:
        hidden: units a direction; states of two directions are twice as wide.
        layers: stacked layers.
        dropout: between layers, so without effect in a single one.
        pooling: ``mean_max_last`` of all states, or ``spans``: the parts of a window by themselves, through a layer.
        span_width: of a part, pooled by ``spans``.
        mixing: width of a layer over all parts that ``spans`` pooled, beside them in the embedding; 0: none.
    """

    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0
    pooling: Literal["mean_max_last", "spans"] = "mean_max_last"
    span_width: int = 32
    mixing: int = 0

    def __post_init__(self) -> None:
        reject(
            (self.hidden < 1, f"hidden: {self.hidden} must be at least 1"),
            (self.layers < 1, f"layers: {self.layers} must be at least 1"),
            (not 0 <= self.dropout < 1, f"dropout: {self.dropout} must lie in [0, 1)"),
            (
                self.layers == 1 and self.dropout > 0,
                "dropout: acts between layers and there is one; use layers=2 or dropout=0",
            ),
            (self.span_width < 1, f"span_width: {self.span_width} must be at least 1"),
            (self.mixing < 0, f"mixing: {self.mixing} must not be negative"),
            (
                self.mixing > 0 and self.pooling != "spans",
                f"mixing: mixes what pooling=spans gives; use it, or mixing=0 with pooling={self.pooling}",
            ),
        )


class RecurrentEncoder(Encoder):
    """Per-step states, normalised: [B, T, D] -> [B, T, hidden], of two directions [B, T, 2 * hidden].

    Args:
        unit: the recurrent layer, of batches first.
        shape: of the inputs.
        config: sizes and pooling.
        bidirectional: whether a second layer runs backwards.
    """

    def __init__(
        self, unit: type[nn.LSTM] | type[nn.GRU], shape: InputShape, config: Recurrent, *, bidirectional: bool = True
    ) -> None:
        super().__init__()
        self.width = (2 if bidirectional else 1) * config.hidden
        self.recurrent = unit(
            shape.n_inputs,
            config.hidden,
            config.layers,
            dropout=config.dropout,
            bidirectional=bidirectional,
            batch_first=True,
        )
        self.norm = nn.LayerNorm(self.width)
        spans = config.pooling == "spans"
        self.pooling = SpanPooling(shape, self.width, config.span_width, config.mixing) if spans else None
        self.embedding_width = self.pooling.embedding_width if self.pooling else 3 * self.width

    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step; of two directions each has seen the whole window, of one what came before it."""
        return self.norm(self.recurrent(inputs)[0])

    def pool(self, states: Tensor) -> Tensor:
        """[B, T, W] -> [B, E]: mean, maximum and last state, or the parts of the window."""
        return self.pooling(states) if self.pooling else pool_states(states)

    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        """One a stacked layer, the normalisation with the last; then the layers of the pooling, where there are any."""
        weights = dict(self.recurrent.named_parameters())
        found = [
            (
                f"recurrent_{number}",
                [value for name, value in weights.items() if name.removesuffix("_reverse").endswith(f"_l{number}")],
            )
            for number in range(self.recurrent.num_layers)
        ]
        found[-1][1].extend(self.norm.parameters())
        return [*found, *self.pooling.layers()] if self.pooling else found
