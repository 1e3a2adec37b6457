"""Bidirectional LSTM encoder (Hochreiter & Schmidhuber 1997; Schuster & Paliwal 1997)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from moola.config import reject


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

    def build(self, n_inputs: int) -> BiLstmEncoder:
        """A fresh encoder with random weights."""
        return BiLstmEncoder(n_inputs, self)


class BiLstmEncoder(nn.Module):
    """Per-step states, normalised: [B, T, n_inputs] -> [B, T, 2 * hidden]."""

    def __init__(self, n_inputs: int, config: BiLstm) -> None:
        super().__init__()
        self.width = 2 * config.hidden
        self.lstm = nn.LSTM(
            n_inputs, config.hidden, config.layers, dropout=config.dropout, bidirectional=True, batch_first=True
        )
        self.norm = nn.LayerNorm(self.width)

    def forward(self, inputs: Tensor) -> Tensor:
        """States of every step; a state has seen the whole window, since one direction runs backwards."""
        return self.norm(self.lstm(inputs)[0])
