"""What a run on the pod is doing: the events it writes, and whether its GPUs work.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from moola.pods.guards import IdleClock, bad_loss

GPU_LOOK_S = 30.0
"""Between two looks at the GPUs: a look costs some milliseconds of a processor."""
_SMI_S = 20.0
"""After which nvidia-smi is killed."""
_LEAVING_S = 1.0
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
    """Asks nvidia-smi now and then, and never waits for it: with a driver that hangs, not even SIGKILL ends it.

    Attributes:
        idle_s: seconds in which no GPU worked; None where nobody can tell.
    """

    def __init__(self) -> None:
        self.idle_s: float | None = None
        self._clock, self._looked = IdleClock(), float("-inf")
        self._there = shutil.which(_SMI[0]) is not None
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, at: float) -> None:
        """See what nvidia-smi has answered, and ask it again where the last look is long enough ago.

        Args:
            at: seconds of a clock that only goes on.
        """
        if self._process is not None:
            self._attend(self._process, at)
        elif self._there and at - self._looked >= GPU_LOOK_S:
            self._looked = at
            try:
                self._process = subprocess.Popen(_SMI, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            except OSError:
                self.idle_s = self._clock.look(None, at)

    def stop(self) -> None:
        """Ask no more; one that hangs is left behind."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=_LEAVING_S)

    def _attend(self, process: subprocess.Popen[bytes], at: float) -> None:
        """Take the answer; one that is too late counts as none, and no other is asked for while it hangs."""
        code = process.poll()
        if code is not None:
            self._process = None
            self.idle_s = self._clock.look(_utilisation(process) if code == 0 else None, at)
            assert process.stdout is not None
            process.stdout.close()
        elif at - self._looked >= _SMI_S:
            process.kill()
            self.idle_s = self._clock.look(None, at)


def _utilisation(process: subprocess.Popen[bytes]) -> float | None:
    """Of the busiest GPU, in percent; None where the answer makes no sense."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)  # a child of it may hold the pipe open
    try:
        return max(float(line) for line in (process.stdout.read() or b"").split())
    except ValueError:
        return None
