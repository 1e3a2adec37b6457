"""How long the loop waits for its batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from moola.data.device_batches import Batch, DeviceBatches


class TimedBatches:
    """The batches of a fit, as Lightning takes them, with a clock.

    Attributes:
        batches: what is given.
        waited_s: seconds in which the loop had asked for a batch and had none. A GPU still gathers a batch when this
            clock has stopped; it then does so in the order of its other work, which nobody waits for.
    """

    def __init__(self, batches: DeviceBatches) -> None:
        self.batches = batches
        self.waited_s = 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        given = iter(self.batches)
        while True:
            asked_at = time.perf_counter()
            batch = next(given, None)
            self.waited_s += time.perf_counter() - asked_at
            if batch is None:
                return
            yield batch

    @property
    def sampler(self) -> DeviceBatches:
        """Where Lightning looks for `set_epoch`."""
        return self.batches

    def state_dict(self) -> dict[str, int]:
        """Where the epoch stands."""
        return self.batches.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go there."""
        self.batches.load_state_dict(state_dict)
