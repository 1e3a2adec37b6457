"""Bidirectional LSTM encoder (Hochreiter & Schmidhuber 1997; Schuster & Paliwal 1997)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from moola.config import reject
from moola.models.encoder import Encoder, InputShape, pool_states


@dataclass(frozen=True)
class BiLstm:
    """Configuration.

    Attributes:
        hidden: units per direction; states are twice as wide.
        layers: stacked layers.
        dropout: between layers, so without effect in a single one.
    """

    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        reject(
            (self.hidden < 1, f"hidden: {self.hidden} must be at least 1"),
            (self.layers < 1, f"layers: {self.layers} must be at least 1"),
            (not 0 <= self.dropout < 1, f"dropout: {self.dropout} must lie in [0, 1)"),
            (
                self.layers == 1 and self.dropout > 0,
                "dropout: acts between layers and there is one; use layers=2 or dropout=0",
            ),
        )

    def build(self, shape: InputShape) -> BiLstmEncoder:
        """A fresh encoder with random weights."""
        return BiLstmEncoder(shape, self)


class BiLstmEncoder(Encoder):
    """Per-step states, normalised: [B, T, D] -> [B, T, 2 * hidden]."""

    def __init__(self, shape: InputShape, config: BiLstm) -> None:
        super().__init__()
        self.width = 2 * config.hidden
        self.embedding_width = 3 * self.width
        self.lstm = nn.LSTM(
            shape.n_inputs, config.hidden, config.layers, dropout=config.dropout, bidirectional=True, batch_first=True
        )
        self.norm = nn.LayerNorm(self.width)

    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step; a state has seen the whole window, since one direction runs backwards."""
        return self.norm(self.lstm(inputs)[0])

    def pool(self, states: Tensor) -> Tensor:
        """Mean, maximum and last state: [B, T, W] -> [B, 3 W]."""
        return pool_states(states)

    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        """One a stacked layer, the normalisation with the last."""
        found = [
            (f"lstm_{number}", [value for name, value in self.lstm.named_parameters() if f"_l{number}" in name])
            for number in range(self.lstm.num_layers)
        ]
        found[-1][1].extend(self.norm.parameters())
        return found
