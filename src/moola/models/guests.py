"""Calling aeon without what it leaves behind.

It seeds the global generators of numpy and torch, and the threads that numba starts for it become those of torch: in
the same process a recurrent encoder then trains 20 times slower than on one thread, where cores are shared.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def aeon_as_guest() -> Iterator[None]:
    """Global generators and torch's number of threads are afterwards what they were; numba compiles in silence."""
    import torch

    threads, of_torch, of_numpy = torch.get_num_threads(), torch.get_rng_state(), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "unsafe cast")  # numba, of counting variables
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)
