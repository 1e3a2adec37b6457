"""Weights in and out: safetensors on disk, strict loading, and proof that training moved what it should."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from moola.errors import EXIT_FAILED, MoolaError, StorageError
from moola.layout import write_bytes


class TransferError(MoolaError):
    """Weights do not fit the module, or training left them where they were."""

    exit_code = EXIT_FAILED


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


def transfer_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Copy every weight into `module`, in place.

    Returns:
        Names of the tensors that were copied: all of them.

    Raises:
        TransferError: anything is missing, left over or of another shape; each is named.
    """
    own = module.state_dict()
    problems = [f"- {name}: missing from the file" for name in own if name not in weights]
    problems += [f"- {name}: not in this encoder" for name in weights if name not in own]
    problems += [
        f"- {name}: the file has {list(weights[name].shape)}, this encoder {list(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if problems:
        raise TransferError(
            "the pretrained weights do not fit this encoder",
            "\n".join(problems),
            "pretrain with the same encoder= and transform=",
        )
    module.load_state_dict(dict(weights))
    return list(own)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters on the CPU; buffers are left out, because nothing expects them to move."""
    return {name: value.detach().cpu().clone() for name, value in module.named_parameters()}


def weight_deltas(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """Relative change of each tensor: ``|after - before| / |before|`` in the Euclidean norm."""
    return {
        name: float(torch.linalg.vector_norm(after[name] - old) / torch.linalg.vector_norm(old).clamp_min(1e-12))
        for name, old in before.items()
    }


def check_moved(deltas: Mapping[str, float]) -> None:
    """Refuse an encoder that training left untouched.

    Raises:
        TransferError: a tensor did not move at all; each is named.
    """
    still = [name for name, delta in deltas.items() if delta == 0.0]
    if still:
        raise TransferError(
            "weights that should have trained did not move",
            "\n".join(f"- {name}" for name in still),
            "train for more epochs than model.*.frozen_epochs, or set encoder_lr_factor above 0",
        )
