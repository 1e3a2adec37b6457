"""Random numbers for the windows of a batch, the same for a window however many ranks share the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mix_seeds(*parts: int) -> int:
    """One seed from several whole numbers from 0 to 2^64 - 1; near parts give unrelated seeds (NumPy's SeedSequence).

    SeedSequence takes words of 32 bits and reads missing ones as 0: so each part is two words, after their count.

    Raises:
        ValueError: a part is out of range.
    """
    if not all(0 <= part < 1 << 64 for part in parts):
        raise ValueError(f"parts of a seed must lie in 0 to 2^64 - 1: {parts}")
    words = [len(parts), *(word for part in parts for word in divmod(int(part), 1 << 32))]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


class Draws:
    """Numbers drawn for a whole batch, of which one rank gets the rows of its own windows.

    One seed gives the same numbers in every run on one kind of device; a CPU and a GPU draw different ones.

    Args:
        seed: of the sequence; see `mix_seeds`.
        total: windows of the batch over all ranks.
        rows: which of them are here.
        device: where the numbers are made.
    """

    def __init__(self, seed: int, total: int, rows: slice, device: torch.device) -> None:
        self.total, self.rows, self.device = total, rows, device
        self._generator = torch.Generator(device).manual_seed(seed)

    def __len__(self) -> int:
        return len(range(self.total)[self.rows])

    def uniform(self, *shape: int) -> Tensor:
        """float32 [B, *shape] in [0, 1)."""
        return torch.rand(self.total, *shape, generator=self._generator, device=self.device)[self.rows]

    def normal(self, *shape: int) -> Tensor:
        """float32 [B, *shape], standard normal."""
        return torch.randn(self.total, *shape, generator=self._generator, device=self.device)[self.rows]

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64 [B, *shape] in [low, high)."""
        size = (self.total, *shape)
        return torch.randint(low, high, size, generator=self._generator, device=self.device)[self.rows]

    def shared(self, low: int, high: int) -> int:
        """One whole number in [low, high) for all windows of the batch; waits for the device, so use few."""
        return int(torch.randint(low, high, (1,), generator=self._generator, device=self.device))
