"""What a person sees while a sweep goes on, read from its folder: whoever runs the points, and wherever."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TextIO

from moola.config import structure
from moola.errors import ConfigError, StorageError, printable
from moola.layout import read_json
from moola.pipelines.sweep_record import PointState, Status, Sweep, log_path

_LOOK_EVERY_S = 0.2
_LAST_LINES = 8
_LAST_BYTES = 32768
_OF_ERROR = 4
"""Lines that are shown of an error which other lines follow."""
_OF_STEP = re.compile(r" *\S+ \| moola: ")
"""How an error of a step begins in a log of a pod (`moola.pods.log_records.log_line`)."""
_COUNTED: tuple[Status, ...] = ("running", "failed")


class SweepConsole(Protocol):
    """Shows points as they end."""

    def line(self, words: str) -> None:
        """Print a line."""
        ...

    def count(self, done: int, words: str) -> None:
        """Say how far the sweep is."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class PlainSweepConsole:
    """Lines alone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def line(self, words: str) -> None:
        """Print a line."""
        print(words, file=self._stream, flush=True)

    def count(self, done: int, words: str) -> None:
        """Lines say it themselves."""

    def close(self) -> None:
        """Nothing to leave."""


class RichSweepConsole:
    """Lines above a bar."""

    def __init__(self, stream: TextIO, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(file=stream, highlight=False), transient=True)
        self._bar = self._progress.add_task("", total=total)
        self._progress.start()

    def line(self, words: str) -> None:
        """Print a line above the bar."""
        from rich.markup import escape

        self._progress.console.print(escape(words), soft_wrap=True)

    def count(self, done: int, words: str) -> None:
        """Move the bar."""
        self._progress.update(self._bar, completed=done, description=words)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def open_sweep_console(total: int, stream: TextIO) -> SweepConsole:
    """A bar on a terminal when rich is installed, else plain lines."""
    if stream.isatty():
        try:
            return RichSweepConsole(stream, total)
        except ImportError:
            pass
    return PlainSweepConsole(stream)


class SweepWatch:
    """Tells of points as their states appear: ``with SweepWatch(sweep, done): ...``.

    Args:
        sweep: under way.
        finished: how many points were finished before.
        stream: where to.
    """

    def __init__(self, sweep: Sweep, finished: int, stream: TextIO) -> None:
        self._sweep, self._finished = sweep, finished
        self._console = open_sweep_console(len(sweep.points), stream)
        self._words = {point.number: sweep.differing(point) for point in sweep.points}
        self._seen: dict[str, tuple[int, int]] = {}
        self._status: dict[int, Status] = {}
        self._counts = Counter[Status]()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> SweepWatch:
        self._look(tell=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._look()
        self._console.close()

    def _watch(self) -> None:
        while not self._end.wait(_LOOK_EVERY_S):
            self._look()

    def _look(self, tell: bool = True) -> None:
        """Read the states that were written since the last look."""
        try:
            entries = sorted(os.scandir(self._sweep.folder / "points"), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.name.endswith(".json"):
                with contextlib.suppress(
                    OSError, StorageError, ConfigError
                ):  # a disk that does not answer is asked again
                    self._look_at(entry, tell)

    def _look_at(self, entry: os.DirEntry[str], tell: bool) -> None:
        facts = entry.stat()
        stamp = (facts.st_mtime_ns, facts.st_ino)
        if self._seen.get(entry.name) == stamp:
            return
        state = structure(PointState, read_json(Path(entry.path)), entry.name)
        self._seen[entry.name] = stamp
        if tell:
            self._tell(state)

    def _tell(self, state: PointState) -> None:
        if (before := self._status.get(state.number)) is not None:
            self._counts[before] -= 1
        self._status[state.number] = state.status
        self._counts[state.status] += 1
        counts = self._counts
        done = self._finished + counts["finished"] + counts["failed"]
        words = ", ".join(f"{counts[status]} {status}" for status in _COUNTED if counts[status])
        self._console.count(done, words)
        if state.status == "running":
            return
        seconds = f" in {state.seconds:.1f} s" if state.seconds is not None else ""
        point = printable(self._words.get(state.number) or f"point {state.number}")
        told = first_line(state.why) if state.status == "interrupted" else ""
        why = f" ({told})" if told not in ("", state.status) else ""
        self._console.line(f"[{done}/{len(self._words)}] {state.status}{seconds}: {point}{why}")
        if state.status == "failed":
            for line in failure_lines(self._sweep.folder, state):
                self._console.line(f"    {line}")


def first_line(text: str) -> str:
    """Of what somebody else may have written."""
    return next(iter(printable(text).splitlines()), "")


def failure_lines(folder: Path, state: PointState) -> list[str]:
    """Why a point failed, the last lines that it printed, and where the others are."""
    log = Path(state.log) if state.log else log_path(folder, state.number)
    why = printable(state.why).splitlines()
    said = [line for line in excerpt(log) if line.strip()]
    told = any(why[0] in line for line in said) if why else True  # the log has it among what led to it
    return [*([] if told else why), *(f"| {line}" for line in said), f"log: {log}"]


def excerpt(log: Path, n: int = _LAST_LINES) -> list[str]:
    """The end of a log, and above it what moola said is wrong, where that is further up; nothing without a log."""
    lines = _tail(log)
    last = max(len(lines) - n, 0)
    said = _place_of_error(lines)
    if said is None or said >= last:
        return lines[last:]
    above = lines[said : min(said + _OF_ERROR, last)]
    return [*above, *(["..."] if said + len(above) < last else []), *lines[last:]]


def _place_of_error(lines: Sequence[str]) -> int | None:
    """Where moola last said what is wrong. Of a run on a pod that is what its step said, not what became of the pod."""
    own = [place for place, line in enumerate(lines) if line.startswith("moola: ")]
    since = own[-2] if len(own) > 1 else 0  # before that another attempt had ended
    of_steps = [place for place, line in enumerate(lines) if place >= since and _OF_STEP.match(line)]
    return next(reversed(of_steps or own), None)


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as handle:
            handle.seek(max(handle.seek(0, os.SEEK_END) - _LAST_BYTES, 0))
            return printable(handle.read().decode(errors="replace")).splitlines()
    except OSError:
        return []
