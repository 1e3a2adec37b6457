"""Ends a pod whose client fell silent before the job was started, for until then no supervisor watches over it.

It is started with the first session, before anything is there, so its text goes along: this file and `pod_end`, which
both need the standard library alone (Python 3.8 or newer).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moola.pods.pod_end import PodEnd

SILENCE_S = 900.0
"""In which nothing that a client sends arrived: a large push goes on, a laptop that was closed does not."""
_LOOK_S = 15.0
_PROGRAM = (
    "import json,sys;"
    '[exec(compile(t,n,"exec"),sys.modules.setdefault(n,type(sys)(n)).__dict__) for n,t in json.loads(sys.argv[1])];'
    'sys.modules["moola.pods.boot_guard"].guard_boot(json.loads(sys.argv[2]))'
)
"""Makes modules of the texts in its first word."""


def boot_guard_argv(python: str, wish: Mapping[str, Any]) -> list[str]:
    """What to run on a pod that has no moola yet.

    Args:
        python: the interpreter there.
        wish: see `guard_boot`.
    """
    here = Path(__file__).parent
    texts = [(f"moola.pods.{name}", (here / f"{name}.py").read_text()) for name in ("pod_end", "boot_guard")]
    return [python, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, json.dumps(texts), json.dumps(dict(wish))]


def guard_boot(
    wish: Mapping[str, Any],
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Stay until the job is started, or end the pod.

    Args:
        wish: ``root`` of the pod, ``run``, ``attempt`` that is to be started, ``silence_s``, and ``end`` as `PodEnd`
            takes it.
        monotonic: for tests.
        sleep: for tests.

    Returns:
        ``started``, ``ended``, or what stood in the way of the end.
    """
    root, seen, since = Path(wish["root"]), None, monotonic()
    while not _is_started(root / "runs" / wish["run"] / "status.json", wish["attempt"]):
        now = _trace(root)
        if now != seen:
            seen, since = now, monotonic()
        if monotonic() - since >= wish["silence_s"]:
            return PodEnd(wish["end"]).insist(lambda because, pause_s: bool(sleep(pause_s) or True)) or "ended"
        sleep(min(_LOOK_S, wish["silence_s"] / 4))
    return "started"


def _is_started(status: Path, attempt: int) -> bool:
    try:
        return json.loads(status.read_text())["attempt"] >= attempt
    except (OSError, ValueError, KeyError, TypeError):
        return False


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
