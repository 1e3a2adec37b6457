"""From an encoder to what a label says: the class of a window, and where in it the class shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moola.config import reject
from moola.models.encoder import Encoder


class ClassificationHead(nn.Module):
    """Dropout and one linear layer on the embedding: [B, E] -> logits [B, n_classes].

    Attributes:
        centre: of each number of the embedding, [E]; 0 unless somebody sets it.
        spread: of each number, [E]; 1 unless somebody sets it.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, embedding_width: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(embedding_width))
        self.register_buffer("spread", torch.ones(embedding_width))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(embedding_width, n_classes)

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits, not probabilities."""
        return self.linear(self.dropout((embedding - self.centre) / self.spread))


class PointerHead(nn.Module):
    """Dropout and one linear layer on the states of the zone: [B, T, W] -> logits [B, Z, 2].

    A softmax over the Z bars turns them into the probability of each to be the first, and to be the last, of what a
    person would mark (pointers as in Vinyals et al. 2015, arXiv:1506.03134; here over bars, by two linear scores).

    Args:
        width: W.
        zone: first and past-the-end bar that may be pointed at.
        dropout: on the states.

    Raises:
        ConfigError: the zone has fewer than two bars, so that no first bar comes before a last one.
    """

    def __init__(self, width: int, zone: tuple[int, int], dropout: float) -> None:
        reject((zone[1] - zone[0] < 2, f"data.window.zone: {list(zone)} must have two visible bars to point at"))
        super().__init__()
        self.zone = zone
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, 2)

    def forward(self, states: Tensor) -> Tensor:
        """Logits of the first and of the last bar."""
        return self.linear(self.dropout(states[:, slice(*self.zone)]))

    def best_pair(self, logits: Tensor) -> Tensor:
        """The most probable first and last bar with first < last: [B, Z, 2] -> int64 [B, 2], bars of the window."""
        first, last = logits.unbind(dim=2)
        score, bar = first.cummax(dim=1)  # the best first bar up to each bar
        end = (score[:, :-1] + last[:, 1:]).argmax(dim=1, keepdim=True)
        return torch.cat([bar.gather(1, end), end + 1], dim=1) + self.zone[0]


class EncoderClassifier(nn.Module):
    """An encoder with its heads: what predicts, and what is saved of a fine-tuned classifier.

    Args:
        encoder: of windows.
        n_classes: K.
        zone: first and past-the-end bar that may be pointed at; None: there is no head for pointers.
        head_dropout: on what the heads get while they train.
    """

    def __init__(
        self, encoder: Encoder, n_classes: int, zone: tuple[int, int] | None = None, head_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ClassificationHead(encoder.embedding_width, n_classes, head_dropout)
        self.pointer_head = None if zone is None else PointerHead(encoder.width, zone, head_dropout)

    def predict(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the classes [B, K] and of the bars [B, Z, 2]; without a pointer head [B, 0, 2]."""
        states, embedding = self.encoder.encode(inputs)
        head = self.pointer_head
        return self.head(embedding), states.new_empty(len(states), 0, 2) if head is None else head(states)

    def head_parameters(self) -> list[nn.Parameter]:
        """Everything that is not the encoder's."""
        heads = [self.head] if self.pointer_head is None else [self.head, self.pointer_head]
        return [value for head in heads for value in head.parameters()]
