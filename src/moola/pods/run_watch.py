"""What a run on the pod is doing: the events it writes, and whether its GPUs work.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

from moola.pods.guards import IdleClock, bad_loss

GPU_LOOK_S = 30.0
"""Between two looks at the GPUs: a look costs some milliseconds of a processor."""
_SMI = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
_PORTION = 1 << 20


class EventWatch:
    """Reads what is new in the logs of events below a folder of results.

    Attributes:
        bad_loss: in words, the first loss that was no number; empty where there was none.
    """

    def __init__(self, results: Path) -> None:
        self._results, self.bad_loss = results, ""
        self._read: dict[Path, int] = {path: path.stat().st_size for path in results.glob("*/events.jsonl")}

    def look(self) -> bool:
        """Whether there are events since the last look."""
        found = False
        for path in self._results.glob("*/events.jsonl"):
            with contextlib.suppress(OSError):
                found = self._look_at(path) or found
        return found

    def _look_at(self, path: Path) -> bool:
        with path.open("rb") as handle:
            handle.seek(self._read.get(path, 0))
            content = handle.read(_PORTION)
        whole = content[: content.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    self.bad_loss = self.bad_loss or bad_loss(event)
        return bool(whole)


class GpuWatch:
    """Asks nvidia-smi now and then.

    Attributes:
        idle_s: seconds in which no GPU worked; None where nobody can tell.
    """

    def __init__(self) -> None:
        self.idle_s: float | None = None
        self._clock, self._looked = IdleClock(), float("-inf")
        self._there = shutil.which(_SMI[0]) is not None

    def look(self, at: float) -> None:
        """Look again where the last look is long enough ago.

        Args:
            at: seconds of a clock that only goes on.
        """
        if self._there and at - self._looked >= GPU_LOOK_S:
            self._looked = at
            self.idle_s = self._clock.look(utilisation(), at)


def utilisation() -> float | None:
    """Of the busiest GPU, in percent; None where none can be asked."""
    try:
        done = subprocess.run(_SMI, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=True)
        return max(float(line) for line in done.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
