"""Torch's global generator, which a check must leave as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Torch's global generator begins at `seed` inside, and is afterwards where it was."""
    import torch

    before = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
