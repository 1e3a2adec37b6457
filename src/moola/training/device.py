"""Where to train."""

from __future__ import annotations

from typing import Literal

import torch

from moola.errors import MissingPackageError


def choose_device(device: Literal["auto", "cpu", "cuda"]) -> str:
    """``cuda`` where there is one and it is wanted, else ``cpu``.

    Raises:
        MissingPackageError: a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingPackageError(
            "device=cuda, but torch sees no GPU", f"torch {torch.__version__}", "use device=auto or device=cpu"
        )
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
