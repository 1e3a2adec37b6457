"""Resume state as one safetensors file: tensors as tensors, everything else as JSON in its header. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from moola.errors import StorageError
from moola.layout import write_bytes
from moola.training.weights import digest_weights


class BrokenCheckpointError(StorageError):
    """A checkpoint does not hold what was written."""


class SafetensorsCheckpointIO(CheckpointIO):
    """What Lightning saves and resumes from. A file is written whole or not at all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write one file.

        Raises:
            TypeError: the state holds an object that is neither a tensor nor plain data.
            StorageError: the disk is full or refuses; what stood there before still does.
        """
        tensors: dict[str, Tensor] = {}
        tree = json.dumps(_to_plain(checkpoint, tensors), allow_nan=True)
        content = save(tensors, metadata={"state": tree, "sha256": _digest(tree, tensors)})
        try:
            write_bytes(Path(path), content)
        except OSError as error:
            raise StorageError(
                f"the checkpoint {path} cannot be written",
                f"{error.strerror or error}; it needs {len(content) / 2**20:.1f} MiB; the last one is as it was",
                "make room, or lift the limit on file sizes, and run the same command again: it goes on from there",
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one file; tensors arrive on the CPU and Lightning moves them.

        Raises:
            BrokenCheckpointError: the file is truncated, was changed, or is not a checkpoint.
            StorageError: it cannot be read at all.
        """
        try:
            Path(path).open("rb").close()  # what safetensors says of it does not tell this from a broken file
            with safe_open(str(path), framework="pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
                head = opened.metadata() or {}
            if missing := {"state", "sha256"} - set(head):
                raise ValueError(f"it has no {' and no '.join(sorted(missing))}: another version of moola wrote it")
            tree, digest = head["state"], head["sha256"]
            if _digest(tree, tensors) != digest:
                raise ValueError("its content is not what was written")
            return _from_plain(json.loads(tree), tensors)
        except OSError as error:
            raise StorageError(
                f"the checkpoint {path} cannot be read",
                error.strerror or str(error),
                "mend this and run the same command again, or delete the checkpoint to begin again",
            ) from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BrokenCheckpointError(
                f"the checkpoint {path} is broken", str(error), "delete it to begin again"
            ) from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint; nothing happens where there is none."""
        Path(path).unlink(missing_ok=True)


def _digest(tree: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of all that a checkpoint holds: the file format notices a missing end, but not a changed bit."""
    return hashlib.sha256(tree.encode() + digest_weights(tensors).encode()).hexdigest()


def _to_plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON values; what JSON lacks is tagged: tensors, tuples, and dicts whose keys are not text."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"$tensor": name}
    if isinstance(value, tuple):
        return {"$tuple": [_to_plain(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_to_plain(item, tensors) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _to_plain(item, tensors) for key, item in value.items()}
        return {"$items": [[_to_plain(key, tensors), _to_plain(item, tensors)] for key, item in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"a {type(value).__name__} cannot go into a checkpoint: use tensors, numbers, text, lists and dicts"
    )


def _from_plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_from_plain(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$tuple" in value:
        return tuple(_from_plain(item, tensors) for item in value["$tuple"])
    if "$items" in value:
        return {_from_plain(key, tensors): _from_plain(item, tensors) for key, item in value["$items"]}
    return {key: _from_plain(item, tensors) for key, item in value.items()}


def rng_state() -> dict[str, Tensor]:
    """State of torch's random numbers on the CPU and, where one is used, on the GPU."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, Tensor]) -> None:
    """Put back what `rng_state` gave."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
