"""Bidirectional GRU encoder (Cho et al. 2014, arXiv:1406.1078; Schuster & Paliwal 1997).

What differs: PyTorch's unit, which resets the hidden state after its matrix product and not before, as cuDNN does.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from moola.models.encoder import InputShape
from moola.models.recurrent import Recurrent, RecurrentEncoder


@dataclass(frozen=True)
class Gru(Recurrent):
    """Configuration."""

    def build(self, shape: InputShape) -> RecurrentEncoder:
        """A fresh encoder with random weights."""
        return RecurrentEncoder(nn.GRU, shape, self)
