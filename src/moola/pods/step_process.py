"""One step of a job on the pod: its process, and every line it says, numbered and on disk.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST_LINE = 10_000
"""Characters of a line of the log; a longer one is cut into several."""
_TAIL_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_NO_SPACE = b"No space left on device"


def now_utc() -> str:
    """The time, ISO 8601, to the millisecond."""
    moment = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017 (Python 3.8)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class LineLog:
    """A JSONL file whose lines are numbered from 1 and go on where an earlier process stopped.

    A line that a crash tore is cut off, so that whoever reads by line number never meets half of one.

    Attributes:
        n: number of the last line.
        lost: lines that a full disk refused.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.n, self.lost = path, 0, 0
        if path.exists():
            self._find_end()

    def _find_end(self) -> None:
        with self._path.open("r+b") as handle:
            start = max(0, handle.seek(0, os.SEEK_END) - _TAIL_BYTES)
            handle.seek(start)
            tail = handle.read()
            whole = tail.rfind(b"\n") + 1
            handle.truncate(start + whole)
        lines = tail[:whole].splitlines()
        self.n = json.loads(lines[-1])["n"] if lines else 0

    def write(self, step: str, text: str) -> None:
        """Append the lines of a text; those that a full disk refuses are counted."""
        pieces = [
            line[start : start + LONGEST_LINE].rstrip("\r")
            for line in text.split("\n")
            for start in range(0, max(len(line), 1), LONGEST_LINE)
        ]
        at = now_utc()
        records = [{"n": self.n + i, "at": at, "step": step, "text": piece} for i, piece in enumerate(pieces, start=1)]
        try:
            with self._path.open("ab") as handle:
                handle.write("".join(json.dumps(record) + "\n" for record in records).encode())
            self.n += len(pieces)
        except OSError:
            self.lost += len(pieces)
            with contextlib.suppress(OSError):
                self._find_end()  # some of it may be there


class StepProcess:
    """A running step in a session of its own, so that all its processes end with it.

    Args:
        step: ``name``, ``argv``, and what the environment has on top of the supervisor's own (``env``).
        folder: its working directory.
        log: takes what it says.

    Attributes:
        no_space: whether it said that a disk is full, which the log on that disk may not hold.
    """

    def __init__(self, step: Mapping[str, Any], folder: Path, log: LineLog) -> None:
        self.name, self._log, self._rest = step["name"], log, b""
        self.no_space = False
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **step.get("env", {})}
        self._process = subprocess.Popen(
            step["argv"],
            cwd=str(folder),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # where memory runs out, the job is to go and not who watches over it
            Path("/proc/%d/oom_score_adj" % self._process.pid).write_text("500")  # noqa: UP031 (Python 3.8)
        self.pid, self._pipe = self._process.pid, self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)

    def pump(self, wait_s: float) -> tuple[bool, int | None]:
        """Write down what was said, waiting for it at most so long.

        Returns:
            Whether anything was said, and the exit code once the process has ended and its last word is written.
        """
        if self._pipe.closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        else:
            self._selector.select(wait_s)
        ended = self._process.poll() is not None  # looked at before the pipe is emptied: nothing is said after it
        said = self._drain()
        if not ended:
            return said, None
        if self._rest:
            self._log.write(self.name, self._rest.decode(errors="replace"))
        self.kill(signal.SIGKILL)  # what it may have left behind
        self._close()
        return said, self._process.returncode

    def _drain(self) -> bool:
        """Take everything that is in the pipe now; whether there was anything."""
        said = False
        with contextlib.suppress(BlockingIOError):
            while not self._pipe.closed:
                content = os.read(self._pipe.fileno(), _READ_BYTES)
                if not content:
                    self._close()
                    break
                said = True
                self._take(content)
        return said

    def _close(self) -> None:
        if not self._pipe.closed:
            self._selector.close()
            self._pipe.close()

    def _take(self, content: bytes) -> None:
        self.no_space = self.no_space or _NO_SPACE in self._rest + content
        lines, newline, rest = (self._rest + content).rpartition(b"\n")
        self._rest = rest
        if newline:
            self._log.write(self.name, lines.decode(errors="replace"))
        if len(self._rest) > LONGEST_LINE:
            self._log.write(self.name, self._rest.decode(errors="replace"))
            self._rest = b""

    def abandon(self) -> None:
        """Listen to it no longer: a process that waits for a broken disk or driver outlives SIGKILL."""
        self._close()

    def kill(self, number: int) -> None:
        """Send a signal to every process of the step."""
        kill_session(self.pid, number)


def kill_session(pid: int, number: int) -> None:
    """Send a signal to the process group that a process leads; nothing happens where it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def start_ticks(pid: int) -> int | None:
    """When a process was started, in clock ticks since the boot: tells it from a later one with the same number.

    None where it has ended, also where its exit code waits for somebody to ask for it.
    """
    try:
        words = Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()  # noqa: UP031 (Python 3.8)
        return None if words[0] in ("Z", "X") else int(words[19])
    except (OSError, ValueError, IndexError):
        return None
