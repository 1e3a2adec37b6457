"""What is fine-tuned: an encoder with its heads, and the losses of a batch of labelled windows."""

from __future__ import annotations

import torch
from torch import Tensor

from moola.data.device_batches import Batch
from moola.data.draws import mix_seeds
from moola.models import LabelledWindows
from moola.models.encoder import Encoder
from moola.models.heads import EncoderClassifier
from moola.pretraining.parts import with_loss
from moola.training.consistency import ConsistencyLoss
from moola.training.losses import ClassLoss, pointer_loss, soft_targets, start_penalty
from moola.training.mixing import Mixed, Mixing

_MIXING = 0x_311
"""Sets the draws of mixing apart from every other."""
_UNLABELLED = 0x_F1C5
"""The same of windows without a label."""


class LabelledTask(EncoderClassifier):
    """Encoder and heads; called with a batch it gives losses, as the loop takes them.

    Args:
        encoder: where training starts.
        windows: all training windows, in the order in which batches number them.
        zone: first and past-the-end bar that may be pointed at.
        head_dropout: on what the heads get.
        class_loss: of the classes.
        mixing: of windows with each other.
        pointer_weight: of the pointers' loss; without pointers in `windows` there is no such head.
        l2_sp: of the penalty on the distance from where the encoder starts.
        consistency: of views of windows without a label; None: there are none.
        seed: of the mixing and of those views.
    """

    def __init__(
        self,
        encoder: Encoder,
        windows: LabelledWindows,
        *,
        zone: tuple[int, int],
        head_dropout: float = 0.0,
        class_loss: ClassLoss | None = None,
        mixing: Mixing | None = None,
        pointer_weight: float = 0.0,
        l2_sp: float = 0.0,
        consistency: ConsistencyLoss | None = None,
        seed: int = 0,
    ) -> None:
        marked = windows.pointers is not None and bool((windows.pointers >= 0).any()) and pointer_weight > 0
        super().__init__(encoder, windows.n_classes, zone if marked else None, head_dropout)
        self._class_loss, self._mixing, self._seed = class_loss or ClassLoss(), mixing or Mixing(), seed
        self._pointer_weight, self._l2_sp, self._consistency = pointer_weight, l2_sp, consistency
        self._n_classes = windows.n_classes
        labels = torch.from_numpy(windows.labels)
        self._keep("class_weights", self._class_loss.weights(labels, windows.n_classes))
        if marked:
            self._keep("pointers", torch.from_numpy(windows.pointers) - zone[0])
        if l2_sp > 0:
            for number, value in enumerate(encoder.parameters()):
                self._keep(f"start_{number}", value.detach().clone())

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``loss`` and its weighted parts: ``classes``; where on: ``pointers``, ``l2_sp``, ``consistency``."""
        mixed = self._mixed(batch)
        states, embedding = self.encoder.encode(mixed.inputs)
        targets = soft_targets(batch.labels, mixed.partner, mixed.share, self._n_classes)
        parts = {"classes": self._class_loss(self.head(embedding), targets, self.get_buffer("class_weights"))}
        if self.pointer_head is not None:
            logits, pointers = self.pointer_head(states), self.get_buffer("pointers")[batch.index]
            own = pointer_loss(logits, pointers, mixed.share)
            others = pointer_loss(logits, pointers[mixed.partner], 1 - mixed.share)
            parts["pointers"] = self._pointer_weight * (own + others)
        if self._l2_sp > 0:
            starts = (self.get_buffer(f"start_{number}") for number, _ in enumerate(self.encoder.parameters()))
            parts["l2_sp"] = self._l2_sp * start_penalty(self.encoder.parameters(), starts)
        if self._consistency is not None and self.training:
            seed = mix_seeds(self._seed, _UNLABELLED, batch.epoch, batch.number)
            parts["consistency"] = self._consistency(self._classify, self, len(batch.labels), seed)
        return with_loss(parts)

    def _classify(self, inputs: Tensor) -> Tensor:
        """Inputs [U, T, D] -> logits [U, K]."""
        return self.head(self.encoder.encode(inputs)[1])

    def _mixed(self, batch: Batch) -> Mixed:
        if self.training and self._mixing.active:
            return self._mixing(batch.inputs, batch.draws(self._seed, _MIXING))
        return Mixed.unmixed(batch.inputs)

    def _keep(self, name: str, value: Tensor) -> None:
        """A tensor that moves to the device with the module and is no part of what is saved."""
        self.register_buffer(name, value, persistent=False)
