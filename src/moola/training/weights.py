"""Weights in and out: safetensors on disk, and strict loading that says what was loaded."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from moola.errors import EXIT_FAILED, MoolaError, StorageError
from moola.layout import write_bytes

Shape = tuple[int, ...]


class TransferError(MoolaError):
    """Weights do not fit the module, or a fit did not start from them or did not move them as it should."""

    exit_code = EXIT_FAILED


@dataclass(frozen=True)
class TransferReport:
    """Weights of a file beside those of an encoder, by name.

    Attributes:
        matched: shape of what both have.
        missing: shape of what the encoder has and the file has not.
        mismatched: shape in the file and shape in the encoder, where they differ.
        unexpected: shape of what the file has and the encoder has not.
    """

    matched: Mapping[str, Shape]
    missing: Mapping[str, Shape]
    mismatched: Mapping[str, tuple[Shape, Shape]]
    unexpected: Mapping[str, Shape]

    @property
    def problems(self) -> list[str]:
        """One line for each weight that was not matched."""
        return [
            *(f"- {name}: missing from the file; this encoder has {list(own)}" for name, own in self.missing.items()),
            *(f"- {name}: {list(found)} in the file, not in this encoder" for name, found in self.unexpected.items()),
            *(
                f"- {name}: the file has {list(found)}, this encoder {list(own)}"
                for name, (found, own) in self.mismatched.items()
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values of all four."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What `to_json` said."""
        matched, missing, unexpected = (
            {name: tuple(shape) for name, shape in said[key].items()} for key in ("matched", "missing", "unexpected")
        )
        mismatched = {name: (tuple(found), tuple(own)) for name, (found, own) in said["mismatched"].items()}
        return cls(matched, missing, mismatched, unexpected)


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all."""
    write_bytes(path, save_bytes({name: value.detach().cpu().contiguous() for name, value in weights.items()}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        StorageError: the file is missing or truncated.
    """
    try:
        return load_bytes(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"the weights {path} cannot be read", str(error), "delete the folder they are in and run again"
        ) from error


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of names, types, shapes and bits; the order of the names changes nothing."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        total.update(f"{name}\0{value.dtype}\0{list(value.shape)}\0".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def compare_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> TransferReport:
    """What `transfer_weights` would find; changes nothing."""
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    both = [name for name in own if name in found]
    return TransferReport(
        matched={name: own[name] for name in both if own[name] == found[name]},
        missing={name: shape for name, shape in own.items() if name not in found},
        mismatched={name: (found[name], own[name]) for name in both if own[name] != found[name]},
        unexpected={name: shape for name, shape in found.items() if name not in own},
    )


def transfer_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: str = "") -> TransferReport:
    """Copy every weight into `module`, in place; all of them or none.

    Args:
        module: the encoder.
        weights: by name, as `load_weights` gives them.
        origin: what they were made with, for the message.

    Raises:
        TransferError: anything is missing, left over or of another shape; each is named.
    """
    report = compare_weights(module, weights)
    if report.problems:
        made_with = f": these weights were made with {origin}" if origin else ""
        raise TransferError(
            f"the pretrained weights do not fit this encoder ({len(report.matched)} of "
            f"{len(report.matched) + len(report.missing) + len(report.mismatched)} match)",
            "\n".join(report.problems),
            f"pretrain with the same encoder= and transform={made_with}",
        )
    module.load_state_dict(dict(weights))
    return report
