"""LSTM encoder of one direction (Hochreiter & Schmidhuber 1997): a state knows no bar after its own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from moola.models.encoder import InputShape
from moola.models.recurrent import Recurrent, RecurrentEncoder


@dataclass(frozen=True)
class Lstm(Recurrent):
    """Configuration."""

    def build(self, shape: InputShape) -> RecurrentEncoder:
        """A fresh encoder with random weights."""
        return RecurrentEncoder(nn.LSTM, shape, self, bidirectional=False)
