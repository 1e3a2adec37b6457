"""Bidirectional LSTM encoder (Hochreiter & Schmidhuber 1997; Schuster & Paliwal 1997)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from moola.models.encoder import InputShape
from moola.models.recurrent import Recurrent, RecurrentEncoder


@dataclass(frozen=True)
class BiLstm(Recurrent):
    """Configuration."""

    def build(self, shape: InputShape) -> RecurrentEncoder:
        """A fresh encoder with random weights."""
        return RecurrentEncoder(nn.LSTM, shape, self)
