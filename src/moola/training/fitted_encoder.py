"""A fine-tuned classifier: what it predicts, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from moola.errors import StorageError
from moola.layout import write_json
from moola.models import EncoderConfig, LabelledWindows
from moola.models.classical import in_columns
from moola.models.heads import EncoderClassifier
from moola.training.encoder_files import EncoderPlan, read_group
from moola.training.movement import Movement
from moola.training.weights import (
    TransferError,
    TransferReport,
    digest_weights,
    load_weights,
    save_weights,
    transfer_weights,
)

_PORTION = 1024
"""Windows predicted at once; many at once would need memory that training does not."""


@dataclass(frozen=True)
class Member:
    """One fine-tuned encoder with its heads.

    Attributes:
        network: encoder and heads.
        movement: how far the encoder went.
        started_from: digest of the encoder's weights before the first step (`moola.training.weights.digest_weights`).
        transfer: what was loaded into it; None from scratch.
    """

    network: EncoderClassifier
    movement: Movement
    started_from: str
    transfer: TransferReport | None

    def to_json(self) -> dict[str, Any]:
        """All but the weights as plain values."""
        transfer = self.transfer.to_json() if self.transfer else None
        return {"started_from": self.started_from, "movement": self.movement.to_json(), "transfer": transfer}

    @classmethod
    def from_json(cls, network: EncoderClassifier, said: Mapping[str, Any]) -> Self:
        """What `to_json` said, around the network."""
        transfer = TransferReport.from_json(said["transfer"]) if said["transfer"] else None
        return cls(network, Movement(**said["movement"]), said["started_from"], transfer)


@dataclass(frozen=True)
class FittedEncoder:
    """A fine-tuned classifier.

    Attributes:
        members: whose predictions are averaged; one at least.
        device: where they live.
        classes: class numbers of the training windows, ascending; the others have probability 0.
        plan: of the encoder.
    """

    members: tuple[Member, ...]
    device: str
    classes: tuple[int, ...]
    plan: EncoderPlan

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
        """[n, n_classes]: mean over the members; a class the fit never saw has probability 0."""
        seen = list(self.classes)
        found = [self._logits(member.network, windows)[0].double()[:, seen].softmax(dim=1) for member in self.members]
        n_classes = self.members[0].network.head.linear.out_features
        return in_columns(torch.stack(found).mean(dim=0).numpy(), np.array(seen), n_classes)

    @property
    def points(self) -> bool:
        """Whether it learned pointers."""
        return self.members[0].network.pointer_head is not None

    def predict_pointers(self, windows: LabelledWindows) -> np.ndarray:
        """First and last bar of what a person would mark, int64 [n, 2] with first < last; bars of the window.

        The pair of the greatest probability, which is the geometric mean over the members.

        Raises:
            ValueError: it learned no pointers.
        """
        head = self.members[0].network.pointer_head
        if head is None:
            raise ValueError("no training window had pointers")
        found = [self._logits(member.network, windows)[1].log_softmax(dim=1) for member in self.members]
        return head.best_pair(torch.stack(found).mean(dim=0)).numpy()

    def save(self, folder: Path) -> None:
        """``encoder.json``, and the weights of every member as `member_file` names them."""
        network = self.members[0].network
        for number, member in enumerate(self.members):
            save_weights(folder / member_file(number), member.network.state_dict())
        said = {
            **self.plan.to_json(),
            "n_classes": network.head.linear.out_features,
            "classes": list(self.classes),
            "zone": None if network.pointer_head is None else list(network.pointer_head.zone),
            "members": [member.to_json() for member in self.members],
        }
        write_json(folder / "encoder.json", said)

    @classmethod
    def load(cls, folder: Path, config: EncoderConfig | None, device: str) -> Self:
        """What `save` wrote, with the encoder that it has to be.

        Raises:
            StorageError: a file is missing or damaged, or belongs to another encoder.
        """
        path = folder / "encoder.json"
        said = read_group(path, ("encoder", "shape", "n_classes", "classes", "zone", "members"))
        plan = EncoderPlan.from_json(said, config, path)
        zone = None if said["zone"] is None else (said["zone"][0], said["zone"][1])
        members: list[Member] = []
        for number, told in enumerate(said["members"]):
            with torch.random.fork_rng(devices=[]):
                network = EncoderClassifier(plan.build(), said["n_classes"], zone)
            file = folder / member_file(number)
            try:
                transfer_weights(network, load_weights(file))
            except TransferError as error:
                raise StorageError(f"{file} does not fit its encoder", error.why, "fit the model again") from error
            members.append(Member.from_json(network.to(device), told))
        return cls(tuple(members), device, tuple(said["classes"]), plan)

    @torch.no_grad()
    def _logits(self, network: EncoderClassifier, windows: LabelledWindows) -> tuple[Tensor, Tensor]:
        """What `EncoderClassifier.predict` gives for all windows, a portion at a time, on the CPU."""
        network.eval()
        portions = torch.from_numpy(windows.inputs).split(_PORTION)
        classes, bars = zip(*(network.predict(portion.to(self.device)) for portion in portions), strict=True)
        return torch.cat(classes).cpu(), torch.cat(bars).cpu()


def member_file(number: int) -> str:
    """Name of the weights of a member: ``member0.safetensors``."""
    return f"member{number}.safetensors"
