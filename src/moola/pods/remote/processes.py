"""Processes on a pod: they outlive the connection, and a number alone does not name one."""

from __future__ import annotations

import contextlib
import os
import signal as signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def spawn(
    argv: list[str], cwd: str, environment: dict[str, str] | None = None, output: str | None = None
) -> dict[str, Any]:
    """Start a process that outlives the connection: a session of its own, nothing on stdin, output into a file."""
    import subprocess

    with open(os.path.expanduser(output or os.devnull), "ab") as sink:
        process = subprocess.Popen(
            argv,
            cwd=os.path.expanduser(cwd),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    return {"pid": process.pid, "started": _started(process.pid)}


def execute(argv: list[str], cwd: str, environment: dict[str, str] | None = None) -> None:
    """Become another program, whose output and exit code are then those of the request; nothing is on its stdin."""
    os.chdir(os.path.expanduser(cwd))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execvpe(argv[0], argv, {**os.environ, **(environment or {})})  # noqa: S606 - that is the point


def stat_pid(pid: int, started: str | None = None) -> dict[str, Any]:
    """Whether a process lives; `started`, as `spawn` gave it, tells it from a later one with the same number."""
    now = _started(pid)
    return {"alive": now is not None and started in (None, now), "started": now}


def signal(pid: int, name: str, started: str | None = None, group: bool = True) -> dict[str, Any]:
    """Send a signal, e.g. "SIGTERM", to a process, or to its whole group; ``{"sent": False}`` where it is gone."""
    if not stat_pid(pid, started)["alive"]:
        return {"sent": False}
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, signals.Signals[name])
        return {"sent": True}
    return {"sent": False}


def _started(pid: int) -> str | None:
    """When a process began, in words that differ for every process of that number; None where none is alive."""
    if os.path.isdir("/proc/self"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat", "rb") as handle:
            words = handle.read().rpartition(b")")[2].split()  # the name before it may hold anything
            return None if words[0] in (b"Z", b"X") else words[19].decode()
        return None
    import subprocess

    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], stdout=subprocess.PIPE, check=False).stdout
    return told.decode().strip() or None
