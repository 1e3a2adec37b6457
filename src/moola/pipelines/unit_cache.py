"""Predictions of single fits, kept on disk by what they were made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moola.layout import write_bytes


@dataclass(frozen=True)
class KeptUnit:
    """What one fit left.

    Attributes:
        probabilities: float64 [n, n_classes].
        seconds: wall time of the fit and of the predictions.
    """

    probabilities: np.ndarray
    seconds: float


def write_unit(path: Path, unit: KeptUnit) -> None:
    """Keep what one fit left, with a digest of the bytes of its predictions."""
    from safetensors.numpy import save

    digest = hashlib.sha256(unit.probabilities.tobytes()).hexdigest()
    head = {"sha256": digest, "seconds": f"{unit.seconds:.4f}"}
    write_bytes(path, save({"probabilities": unit.probabilities}, metadata=head))


def read_unit(path: Path, shape: tuple[int, int]) -> KeptUnit | None:
    """What was kept, or None where there is none or it is not what was written: then it is made again."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as opened:
            probabilities = opened.get_tensor("probabilities")
            head = opened.metadata()
            unit = KeptUnit(probabilities, float(head["seconds"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
    whole = probabilities.shape == shape and hashlib.sha256(probabilities.tobytes()).hexdigest() == head["sha256"]
    return unit if whole else None
