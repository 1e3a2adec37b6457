"""Watches over a rented pod from the first session on, so that nothing it can end bills with nobody at work on it.

Until the job is started it ends a pod whose client fell silent. From then on it starts a supervisor that was killed
anew, and ends the pod where that is in vain: the kernel may kill a supervisor while no client looks, and one that hangs
on a broken disk heeds no guard. It is started before anything is on the pod, so its text goes along: this file,
`pod_end` and `step_process`, which all need the standard library alone (Python 3.8 or newer).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moola.pods.pod_end import PodEnd
from moola.pods.step_process import start_ticks

SILENCE_S = 900.0
"""In which nothing that a client sends arrived (a large push goes on, a closed laptop does not), later no heartbeat."""
MOST_STARTS = 5
"""Supervisors that are started anew: one that dies each time would go on for ever without a guard."""
_LOOKS = 60
"""In the time of a silence."""
_MODULES = ("pod_end", "step_process", "watchdog")
_PROGRAM = (
    "import json,sys;"
    '[exec(compile(t,n,"exec"),sys.modules.setdefault(n,type(sys)(n)).__dict__) for n,t in json.loads(sys.argv[1])];'
    'sys.modules["moola.pods.watchdog"].watch(json.loads(sys.argv[2]))'
)
"""Makes modules of the texts in its first word."""


def watchdog_argv(python: str, wish: Mapping[str, Any]) -> list[str]:
    """What to run on a pod that has no moola yet.

    Args:
        python: the interpreter there.
        wish: see `watch`.
    """
    here = Path(__file__).parent
    texts = [(f"moola.pods.{name}", (here / f"{name}.py").read_text()) for name in _MODULES]
    return [python, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, json.dumps(texts), json.dumps(dict(wish))]


def watch(
    wish: Mapping[str, Any],
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Stay until the supervisor has done all that it has to, or end the pod.

    Args:
        wish: ``root`` of the pod, ``run``, ``attempt`` that is to be started, ``silence_s``, and ``end`` as `PodEnd`
            takes it.
        monotonic: for tests.
        sleep: for tests.

    Returns:
        ``over``, ``ended``, or what stood in the way of the end.
    """
    root, folder = Path(wish["root"]), Path(wish["root"], "runs", wish["run"])
    seen: Any = None
    look_s = wish["silence_s"] / _LOOKS
    last, silent_s, starts = monotonic(), 0.0, 0
    while True:
        status = _status(folder)
        attempt = status.get("attempt", 0)
        if attempt > wish["attempt"] or (attempt == wish["attempt"] and status.get("phase") == "over"):
            return "over"  # of a later attempt somebody else takes care
        is_started = attempt == wish["attempt"]
        now = _heartbeat(folder) if is_started else _trace(root)
        at = monotonic()
        # a machine that was frozen stood still as a whole: what it missed is no silence of anybody
        silent_s = silent_s + min(at - last, look_s) if now == seen else 0.0
        seen, last = now, at
        if silent_s >= wish["silence_s"]:
            return PodEnd(wish["end"]).insist(lambda because, pause_s: bool(sleep(pause_s) or True)) or "ended"
        if is_started and starts < MOST_STARTS and not is_supervised(status):
            starts += 1
            supervise(folder)
        sleep(look_s)


def _status(folder: Path) -> dict[str, Any]:
    """What the supervisor said last; empty where none was started yet."""
    try:
        status = json.loads((folder / "status.json").read_text())
        return status if isinstance(status["attempt"], int) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _heartbeat(folder: Path) -> int:
    try:
        return os.stat(str(folder / "status.json")).st_mtime_ns
    except OSError:
        return 0


def is_supervised(status: Mapping[str, Any]) -> bool:
    """Whether the supervisor that wrote a status lives."""
    ticks = start_ticks(int(status.get("supervisor_pid") or 0))
    return ticks is not None and str(ticks) == str(status.get("supervisor_ticks"))


def supervise(folder: Path) -> None:
    """Start another supervisor, as the client does; it leaves where one is at the run already."""
    try:
        job = json.loads((folder / "job.json").read_text())
        environment = {**os.environ, "PYTHONPATH": str(folder / "project" / job.get("moola_path", ""))}
        with (folder / "supervisor.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "moola.pods.supervisor", str(folder)],
                cwd=str(folder),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except (OSError, ValueError, AttributeError):
        pass  # the disk is full or gone; silence tells


def _trace(root: Path) -> tuple[int, int, int]:
    """What changes with each byte that arrives: number of files, bytes of all, and the last time one was written."""
    count, size, newest = 0, 0, 0
    for folder, _, names in os.walk(str(root)):
        for name in names:
            try:
                facts = os.lstat(os.path.join(folder, name))
            except OSError:  # it got its final name just now
                continue
            count, size, newest = count + 1, size + facts.st_size, max(newest, facts.st_mtime_ns)
    return count, size, newest
