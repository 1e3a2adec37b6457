"""Arrays of a fitted model in a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from moola.errors import StorageError
from moola.layout import write_bytes


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, whole or not at all."""
    from safetensors.numpy import save

    write_bytes(path, save({name: np.asarray(value, order="C") for name, value in arrays.items()}))


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote.

    Args:
        path: of the file.
        names: that it has to hold; others are given, too.

    Raises:
        StorageError: the file is missing or damaged, or lacks a name.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise unreadable(path, str(error)) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise unreadable(path, f"it holds no {', '.join(missing)}")
    return found


def unreadable(path: Path, why: str) -> StorageError:
    """A file of a saved model cannot be used."""
    return StorageError(f"{path} cannot be read", why, "put the file back, or fit the model again")
