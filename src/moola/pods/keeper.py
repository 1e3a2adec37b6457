"""Keeps a rented pod of a sweep for its points, and lets go of it when nobody needs it.

``python3 -m moola.pods.keeper RUN_FOLDER`` is the one step of the run that rented the pod; the supervisor of that run
guards deadline and budget, and ends the pod, as it does for any run. Points are run folders beside, each with its own
supervisor. What is left to do here: SIGTERM is passed on to them, so that they write their checkpoints; one whose
supervisor was killed gets another; and where no point is at work, nothing waits for its pull, and no client is heard
of, for `grace_min`, the pod is asked to end.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moola.pods.run_files import read_object, write_object
from moola.pods.watchdog import MOST_STARTS, SILENCE_S, is_supervised, supervise

CLIENT = "client.json"
"""In the run's folder; a client that is there writes it again and again."""
CLIENT_EVERY_S = 30.0
LEAST_IDLE_S = 180.0
"""However short the grace is: a client needs a while between two points."""
ENDS = "its pod has to end"
"""Begins the reason that points are given."""
_LOOK_S, _HURRY_S = 1.0, 0.1
"""Between two looks; once the pod has to end."""
_REVIVE_S = 60.0
"""Without a supervisor, before another is started: a client that ends a point kills that first."""


class Keeper:
    """Looks after the points of one pod.

    Args:
        folder: of the run that rented it; points are beside it.
        wait: sleeps for so many seconds, or until `signal` comes.
        monotonic: for tests.
        revive: starts a supervisor in a point's folder; for tests.
    """

    def __init__(
        self,
        folder: Path,
        wait: Callable[[float], object] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        revive: Callable[[Path], None] = supervise,
    ) -> None:
        self.folder, self._wait, self._monotonic, self._revive = folder, wait, monotonic, revive
        job = read_object(folder / "job.json")
        self.attempt = job.get("attempt", 1)
        grace_s = float(job.get("guards", {}).get("grace_min", 10.0)) * 60
        self.idle_limit_s = max(grace_s, float(job.get("least_idle_s", LEAST_IDLE_S)))
        self.is_asked = False
        self._alone: dict[str, float] = {}
        self._heard: dict[str, tuple[int, float]] = {}
        self._starts: dict[str, int] = {}

    def run(self) -> int:
        """Stay until the pod has to end; 0."""
        idle_s, seen, last = 0.0, self._client(), self._monotonic()
        has_asked = False
        while True:
            at_work, at, client = self.at_work(), self._monotonic(), self._client()
            # a machine that was frozen stood still as a whole: what it missed is nobody's silence
            step_s, last = min(at - last, 2 * _LOOK_S), at
            self._heard = {name: (beat, silent_s + step_s) for name, (beat, silent_s) in self._heard.items()}
            if self.is_asked:
                for folder, status in at_work:
                    self._stop(folder, status)
                if not at_work:
                    print("no point is at work any more", flush=True)
                    return 0
            idle_s = 0.0 if at_work or client != seen or self._waits_for_pull() else idle_s + step_s
            seen = client
            if idle_s >= self.idle_limit_s and not has_asked:
                has_asked = True
                self._let_go()
            self._wait(_LOOK_S)

    def at_work(self) -> list[tuple[Path, dict[str, Any]]]:
        """Folders of points whose work is not over, with what their supervisors said last."""
        known = [(folder, read_object(folder / "status.json")) for folder in self._points()]
        return [
            (folder, status)
            for folder, status in known
            if status.get("phase", "over") != "over" and self._lives(folder, status)
        ]

    def _points(self) -> list[Path]:
        beside = sorted(self.folder.parent.iterdir())
        return [folder for folder in beside if folder != self.folder and not folder.name.startswith(".")]

    def _waits_for_pull(self) -> bool:
        """Whether a point ended by itself and nobody has brought what it left: that waits as on a pod of its own."""
        for folder in self._points():
            status = read_object(folder / "status.json")
            has_results = status.get("phase") == "over" and status.get("outcome") in ("finished", "failed")
            if has_results and read_object(folder / "pulled.json").get("attempt") != status.get("attempt"):
                return True
        return False

    def _lives(self, folder: Path, status: dict[str, Any]) -> bool:
        """Whether a supervisor is at a point, or another one is to be."""
        name = folder.name
        if is_supervised(status):
            self._alone.pop(name, None)
            return self._is_heard(folder)
        if self.is_asked or status.get("outcome") or self._starts.get(name, 0) >= MOST_STARTS:
            return False
        since = self._alone.setdefault(name, self._monotonic())
        if self._monotonic() - since >= _REVIVE_S:
            del self._alone[name]
            self._starts[name] = self._starts.get(name, 0) + 1
            print(f"the supervisor of {name} is gone; starting another", flush=True)
            self._revive(folder)
        return True

    def _is_heard(self, folder: Path) -> bool:
        """Whether a supervisor writes its status: one that hangs on a broken disk lives for ever, and so bills."""
        beat, before = _written(folder / "status.json"), self._heard.get(folder.name)
        if before is None or before[0] != beat:
            before = self._heard[folder.name] = (beat, 0.0)
        return before[1] < SILENCE_S

    def _stop(self, folder: Path, status: dict[str, Any]) -> None:
        """Ask a point to end with its checkpoint; its own supervisor gives it no more time than it may have."""
        wish = {"attempt": status.get("attempt"), "why": ENDS}
        if read_object(folder / "stop.json").get("attempt") != wish["attempt"]:
            print(f"asking {folder.name} to end", flush=True)
            with contextlib.suppress(OSError):  # a full disk: it is killed with the pod
                write_object(folder / "stop.json", wish)

    def _let_go(self) -> None:
        """Have this run's own supervisor end the pod, which waits for no pull: points have brought what they had."""
        why = f"no point was at work and no client was heard of for {self.idle_limit_s / 60:g} minutes"
        print(why, flush=True)
        for name in ("pulled", "stop"):
            with contextlib.suppress(OSError):  # deadline and budget are left
                write_object(self.folder / f"{name}.json", {"attempt": self.attempt, "why": why})

    def _client(self) -> int:
        return _written(self.folder / CLIENT)


def _written(path: Path) -> int:
    """When a file was written last; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def main(words: list[str]) -> int:
    """Keep the pod of one run's folder."""
    woken = threading.Event()

    def wait(seconds: float) -> None:
        if not woken.wait(seconds):
            return
        time.sleep(_HURRY_S)

    keeper, supervisor = Keeper(Path(words[0]), wait), os.getppid()

    def ask(number: int, frame: object) -> None:
        if os.getppid() != supervisor:
            raise SystemExit(0)  # that was killed, and the next one starts a keeper of its own: points go on
        keeper.is_asked = True
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return keeper.run()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
