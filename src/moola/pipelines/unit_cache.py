"""Predictions of single fits, kept on disk by what they were made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from moola.layout import write_bytes


def write_unit(path: Path, probabilities: np.ndarray) -> None:
    """Keep the predictions of one fit with a digest of their bytes."""
    from safetensors.numpy import save

    digest = hashlib.sha256(probabilities.tobytes()).hexdigest()
    write_bytes(path, save({"probabilities": probabilities}, metadata={"sha256": digest}))


def read_unit(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Kept predictions, or None where there are none or they are not what was written: then they are made again."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as opened:
            probabilities = opened.get_tensor("probabilities")
            digest = opened.metadata()["sha256"]
    except (SafetensorError, OSError, KeyError, TypeError):
        return None
    whole = probabilities.shape == shape and hashlib.sha256(probabilities.tobytes()).hexdigest() == digest
    return probabilities if whole else None
