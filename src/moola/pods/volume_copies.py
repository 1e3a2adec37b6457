"""The supervisor's copies of a run's state to a volume: now and then, and once more at the end.

Each is made by a process of its own, which may hang with the volume: it is killed when its time is over, never waited
for, and no second one is started beside one that cannot be killed. Standard library only, Python 3.8 or newer: this
file travels to the pod with the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moola.pods.step_process import now_utc

_KILL_S = 1.0


class VolumeCopies:
    """Copies of one run's state.

    Args:
        wish: ``mount``, ``run`` and ``mounted`` (`moola.pods.volume.Volume`), ``every_s`` and ``limit_s``: between two
            copies and of one, seconds. Empty: nothing is copied.
        project: in which the run works.
        monotonic: seconds that only go on.

    Attributes:
        kept: for the status: ``folder``, and of the last copy that came to its end ``at``, ``billed_s``, ``files`` and
            ``bytes``; ``error`` is why a later one did not. Empty where nothing is copied.
    """

    def __init__(self, wish: Mapping[str, Any], project: Path, monotonic: Callable[[], float]) -> None:
        self._wish, self._project, self._monotonic = wish, project, monotonic
        self.kept: dict[str, Any] = {}
        if wish:
            self.kept = {"folder": f"{wish['mount']}/moola/{wish['run']}", "at": None, "error": ""}
        self._process: subprocess.Popen[bytes] | None = None
        self._hangs = False
        self._began = self._billed_s = float("-inf")

    @property
    def is_busy(self) -> bool:
        """Whether a copy is under way that may yet come to its end."""
        return self._process is not None and not self._hangs

    def look(self, billed_s: float) -> str:
        """Begin a copy where one is due, and see to the one that is under way; what is new, in words.

        Args:
            billed_s: seconds that the run was billed up to now.
        """
        if self._process is None and self._wish and self._monotonic() - self._began >= self._wish["every_s"]:
            return self.begin(billed_s)
        return self.attend()

    def begin(self, billed_s: float) -> str:
        """Begin a copy in place of the one that is under way; what stands in the way, in words."""
        self.stop()
        if not self._wish:
            return ""
        if self._process is not None:
            return self._failed("a copy hangs there and cannot be killed")
        self._began, self._billed_s = self._monotonic(), billed_s
        told = {name: self._wish[name] for name in ("mount", "run", "mounted")}
        told.update(project=str(self._project), billed_s=billed_s)
        argv = [sys.executable, "-m", "moola.pods.volume", "save", json.dumps(told)]
        try:
            self._process = subprocess.Popen(  # in the session of the supervisor: what ends that ends this
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            return self._failed(str(error))
        return ""

    def attend(self) -> str:
        """See to the copy that is under way; what is new, in words."""
        if self._process is None:
            return ""
        code = self._process.poll()
        if code is not None:
            return self._ended(self._process, code)
        if self._hangs or self._monotonic() - self._began < self._wish["limit_s"]:
            return ""
        self.stop()
        return self._failed(f"the copy took longer than {self._wish['limit_s']:g} s")

    def stop(self) -> None:
        """Kill the copy that is under way; what was kept before it stays."""
        if self._process is None:
            return
        self._process.kill()
        self._hangs = True
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the volume for good
            self._process.communicate(timeout=_KILL_S)
            self._process, self._hangs = None, False

    def _ended(self, process: subprocess.Popen[bytes], code: int) -> str:
        said, _ = process.communicate()
        self._process, self._hangs = None, False
        if code:
            return self._failed(said.decode(errors="replace").strip() or f"exit code {code}")
        told = json.loads(said)
        is_first = self.kept["at"] is None
        news = told.pop("copied") or self.kept["error"] or is_first
        self.kept.update(told, at=now_utc(), billed_s=self._billed_s, error="")
        words = f"kept in {self.kept['folder']}: {told['files']} files, {told['bytes'] / 1e6:.1f} MB"
        return words if news else ""

    def _failed(self, why: str) -> str:
        """Remember it; in words where it is news."""
        is_news = self.kept["error"] != why
        self.kept["error"] = why
        return f"not kept in {self.kept['folder']}: {why}" if is_news else ""
