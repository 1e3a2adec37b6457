"""From the embedding of a window to classes."""

from __future__ import annotations

from torch import Tensor, nn


class ClassificationHead(nn.Module):
    """Dropout and one linear layer on the embedding: [B, E] -> logits [B, n_classes]."""

    def __init__(self, embedding_width: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(embedding_width, n_classes)

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits, not probabilities."""
        return self.linear(self.dropout(embedding))
