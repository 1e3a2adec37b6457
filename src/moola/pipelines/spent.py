"""What a stage took over all attempts, those that were cut off included."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypedDict

from moola.layout import read_json, write_json
from moola.pipelines.energy import EnergyMeter


class Effort(TypedDict):
    """Wall time in seconds, and watt hours of the GPUs in use; null where nobody measured them."""

    seconds: float
    energy_wh: float | None


class Spent:
    """Counts from when it is made, on top of what attempts before kept in the same file.

    An attempt that was killed counts as far as its last `keep`.

    Args:
        path: where attempts are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: Effort = read_json(path) if path.exists() else {"seconds": 0.0, "energy_wh": None}
        self._clock, self._meter = time.monotonic(), EnergyMeter()

    def total(self) -> Effort:
        """Of all attempts up to now."""
        energy = [one for one in (self._before["energy_wh"], self._meter.watt_hours()) if one is not None]
        seconds = self._before["seconds"] + time.monotonic() - self._clock
        return {"seconds": round(seconds, 3), "energy_wh": sum(energy) if energy else None}

    def keep(self) -> None:
        """Write it down for the next attempt."""
        write_json(self._path, self.total())
