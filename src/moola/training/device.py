"""Where to train."""

from __future__ import annotations

from typing import Literal

import torch

from moola.errors import MissingPackageError
from moola.training.ranks import current


def choose_device(device: Literal["auto", "cpu", "cuda"]) -> str:
    """``cuda`` where there is one and it is wanted, else ``cpu``; with several processes, the GPU of this one.

    Raises:
        MissingPackageError: a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingPackageError(
            "device=cuda, but torch sees no GPU", f"torch {torch.__version__}", "use device=auto or device=cpu"
        )
    if device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    ranks = current()
    return "cuda" if ranks.world_size == 1 else f"cuda:{ranks.local_rank}"
