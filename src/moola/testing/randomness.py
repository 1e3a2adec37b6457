"""The global generators of torch and numpy, which a check must leave as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """The global generators begin at `seed` inside, and are afterwards where they were."""
    import numpy as np
    import torch

    before, of_numpy = torch.get_rng_state(), np.random.get_state()
    torch.manual_seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
        np.random.set_state(of_numpy)
