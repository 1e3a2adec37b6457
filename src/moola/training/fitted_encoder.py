"""A fine-tuned classifier: what it predicts, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moola.models import LabelledWindows
from moola.training.labelled_task import LabelledTask
from moola.training.movement import Movement
from moola.training.weights import TransferError, TransferReport, digest_weights

_PORTION = 1024
"""Windows predicted at once; many at once would need memory that training does not."""


@dataclass(frozen=True)
class Member:
    """One fine-tuned encoder with its heads.

    Attributes:
        task: encoder and heads.
        movement: how far the encoder went.
        started_from: digest of the encoder's weights before the first step (`moola.training.weights.digest_weights`).
        transfer: what was loaded into it; None from scratch.
    """

    task: LabelledTask
    movement: Movement
    started_from: str
    transfer: TransferReport | None


@dataclass(frozen=True)
class FittedEncoder:
    """A fine-tuned classifier.

    Attributes:
        members: whose predictions are averaged; one at least.
        device: where they live.
    """

    members: tuple[Member, ...]
    device: str

    def check_start(self, pretrained: Mapping[str, Tensor] | None, which: str) -> None:
        """Every member began with the pretrained weights, in whichever fold it was trained.

        Args:
            pretrained: those of its seed.
            which: the fit, for the message.

        Raises:
            TransferError: a member began elsewhere.
        """
        expected = digest_weights(pretrained) if pretrained is not None else "none at all"
        for member in self.members:
            if member.started_from != expected:
                raise TransferError(
                    f"{which} did not start from the pretrained weights",
                    f"it started from {member.started_from[:12]}, the pretrained weights are {expected[:12]}",
                    "this is a defect of the model",
                )

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]: mean over the members."""
        found = [self._logits(member.task, windows)[0].double().softmax(dim=1) for member in self.members]
        return torch.stack(found).mean(dim=0).numpy()

    @property
    def points(self) -> bool:
        """Whether it learned pointers."""
        return self.members[0].task.pointer_head is not None

    def predict_pointers(self, windows: LabelledWindows) -> np.ndarray:
        """First and last bar of what a person would mark, int64 [n, 2] with first < last; bars of the window.

        The pair of the greatest probability, which is the geometric mean over the members.

        Raises:
            ValueError: it learned no pointers.
        """
        head = self.members[0].task.pointer_head
        if head is None:
            raise ValueError("no training window had pointers")
        found = [self._logits(member.task, windows)[1].log_softmax(dim=1) for member in self.members]
        return head.best_pair(torch.stack(found).mean(dim=0)).numpy()

    @torch.no_grad()
    def _logits(self, task: LabelledTask, windows: LabelledWindows) -> tuple[Tensor, Tensor]:
        """What `LabelledTask.predict` gives for all windows, a portion at a time, on the CPU."""
        task.eval()
        portions = torch.from_numpy(windows.inputs).split(_PORTION)
        classes, bars = zip(*(task.predict(portion.to(self.device)) for portion in portions), strict=True)
        return torch.cat(classes).cpu(), torch.cat(bars).cpu()
