"""One thread a tracker makes the calls of the journal in order; a tracker that fails neither ends nor slows a run."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moola.config import digest_json
from moola.errors import EXIT_ENVIRONMENT, MoolaError, StorageError
from moola.layout import lock_at_once, read_json, write_json
from moola.tracking.journal import JOURNAL, Call, parse_line, read_calls
from moola.tracking.tracker import RefusedError, TrackedRun, Tracker

FOLDER = "tracking"
"""Of the run folder: positions, and what trackers keep there."""
_MOST_AT_ONCE = 1000
_BUNCH_S = 2.0
"""So long calls gather before they are made together: each bunch costs a server one request or a few."""
_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Before each new try of an outage; the last one stays."""

JOURNAL_ONLY = {"MOOLA_TRACKERS": "journal"}
"""Environment of a run whose trackers are told later, from its journal: on a pod, or a node without a network."""
_SECRET = re.compile(r"(?<=://)[^/\s]*@")
"""User and password of an address: clients repeat in their errors what the environment gave them."""
_TRY_AGAIN = "mend that and try again: what it took stays, the rest waits in the run folder"

Tell = Callable[..., None]
"""Takes the name of an event and its fields."""


class TrackerError(MoolaError):
    """A tracker cannot be told now."""

    exit_code = EXIT_ENVIRONMENT


def journal_only() -> bool:
    """Whether this process tells trackers nothing, and keeps what they are to be told (`JOURNAL_ONLY`)."""
    return all(os.environ.get(name) == value for name, value in JOURNAL_ONLY.items())


def position_of(folder: Path, name: str, destination: str | None = None) -> int:
    """Number of the last call of a run that the tracker `name` has for certain; 0: none.

    Args:
        folder: of the run.
        name: of the tracker.
        destination: as of `Tracker.destination`; None: the one that has most.
    """
    known = _positions(folder, name)
    return max(known.values(), default=0) if destination is None else known.get(_digest(destination), 0)


def left_of(folder: Path, name: str, destination: str | None = None) -> int:
    """How many calls of a run's journal the tracker `name` has not been told; arguments as of `position_of`."""
    return sum(1 for _ in read_calls(folder, after=position_of(folder, name, destination)))


class Delivery:
    """Makes the calls of a journal to one tracker, from where an earlier process stopped.

    Args:
        name: of the tracker.
        tracker: to be told.
        folder: of the run; its journal is there.
        tell: called with what a person has to know: ``tracker_failed`` once an outage, ``tracker_back``,
            ``tracker_refused``.
        pauses_s: between tries of an outage.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        folder: Path,
        tell: Tell = lambda event, **fields: None,
        pauses_s: tuple[float, ...] = _PAUSES_S,
    ) -> None:
        self.name, self.tracker, self.folder = name, tracker, folder
        self._destination = tracker.destination  # a key that comes later makes it no other one
        self._tell, self._pauses_s = tell, pauses_s
        self._source = _Source(folder, 0)
        self._run: TrackedRun | None = None
        self._pending: deque[Call] = deque()
        self._at_once = _MOST_AT_ONCE
        self._is_open = False
        self._place = ""
        self._failures = 0
        self._wake = threading.Event()
        self._is_ending = self._is_abandoned = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def no_more(self) -> None:
        """The journal gets no more calls: what is left goes at once."""
        self._is_ending = True
        self._wake.set()

    def wait(self, deadline: float) -> int:
        """Until everything is told, or `deadline` (of `time.monotonic`) is there; how many calls are left."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return self.left

    @property
    def left(self) -> int:
        """How many calls its destination has not been told."""
        return left_of(self.folder, self.name, self._destination)

    def abandon(self) -> None:
        """Wait no longer, whatever the tracker does: the thread ends with the call that it is at."""
        self._is_abandoned = True
        self._wake.set()

    def deliver_rest(self) -> int:
        """Make all calls that are left, here and now; how many there were.

        Raises:
            TrackerError: the tracker fails, or another process is at it. What it took before stays taken.
        """
        told = 0
        try:
            with self._only_one():
                while bunch := self._bunch():
                    told += self._take(bunch)
        except Exception as error:
            known = failure_told(self.name, self.folder, error)
            raise TrackerError(f"{known['what']} of {self.folder.name}", known["why"], _TRY_AGAIN) from error
        return told

    def _work(self) -> None:
        """The thread: never raises, and ends when the journal has ended or nobody waits any more."""
        while not self._is_abandoned:
            try:
                with self._only_one():
                    self._deliver_through_outages()
                return
            except BaseException as error:  # another process is at it, or the disk is full
                self._fail(error)

    def _deliver_through_outages(self) -> None:
        while not self._is_abandoned:
            try:
                self._deliver()
                return
            except BaseException as error:  # whatever a tracker does wrong is its own affair
                self._fail(error)

    def _deliver(self) -> None:
        while not self._is_abandoned:
            is_last = self._is_ending  # asked first: what is journaled before it is asked is delivered
            bunch = self._bunch()
            if bunch:
                self._take(bunch)
            elif is_last:
                return
            if len(bunch) < self._at_once and not self._is_ending:
                self._wake.wait(_BUNCH_S)

    def _bunch(self) -> list[Call]:
        """The next calls to make together. ``start`` begins a bunch, for it forgets what was not flushed."""
        self._pending.extend(self._source.read(_MOST_AT_ONCE - len(self._pending)))
        found: list[Call] = []
        for call in itertools.islice(self._pending, self._at_once):
            if found and call.method == "start":
                break
            found.append(call)
        return found

    def _take(self, bunch: list[Call]) -> int:
        """Make some calls and keep the position behind them; how many."""
        try:
            self._open(bunch[0])
            for call in bunch:
                self._make(call)
            self.tracker.flush()
        except RefusedError as error:
            if len(bunch) > 1:  # one of them: find it
                self._is_open, self._at_once = False, 1
                return 0
            self._is_open = False
            self._refused(bunch[0], str(error))
        for _ in bunch:
            self._pending.popleft()
        self._keep(bunch[-1].number)
        self._at_once = min(self._at_once * 2, _MOST_AT_ONCE)
        if self._failures:
            message = f"the tracker '{self.name}' is told again, after {self._failures} tries that failed"
            self._tell("tracker_back", tracker=self.name, message=message)
            self._failures = 0
        return len(bunch)

    def _open(self, first: Call) -> None:
        """Start the tracker, where the first call is not that itself."""
        if first.method == "start":
            self._run = first.run(self.folder)
        elif not self._is_open and self._run is not None:
            self.tracker.start(self._run)
            self._announce()
        self._is_open = True

    def _make(self, call: Call) -> None:
        if call.method == "start":
            self._run = call.run(self.folder)
        if missing := call.missing(self.folder):
            told = ", ".join(map(str, missing))
            self._refused(call, f"{told} is not there any more")
            return
        call.tell(self.tracker, self.folder)
        if call.method == "start":
            self._announce()

    def _refused(self, call: Call, why: str) -> None:
        self._tell("tracker_refused", tracker=self.name, what=_spoken(call), why=_SECRET.sub("", why))

    def _announce(self) -> None:
        """Say once where the run is."""
        place = self.tracker.place
        if place and place != self._place:
            self._place = place
            self._tell("note", message=f"{self.name}: {place}")

    def _keep(self, number: int) -> None:
        path = self.folder / FOLDER / f"{self.name}.json"
        delivered = {**_positions(self.folder, self.name), _digest(self._destination): number}
        write_json(path, {"delivered": delivered, "journal": _began(self.folder)})

    def _fail(self, error: BaseException) -> None:
        """Say an outage once, and wait before the next try."""
        self._failures += 1
        self._is_open, self._at_once = False, 1
        if self._failures == 1:
            with contextlib.suppress(Exception):  # a full disk must not end the thread
                self._tell("tracker_failed", **failure_told(self.name, self.folder, error))
        until = time.monotonic() + self._pauses_s[min(self._failures, len(self._pauses_s)) - 1]
        while not self._is_abandoned and not self._is_ending and time.monotonic() < until:
            self._wake.wait(min(_BUNCH_S, until - time.monotonic()))
        if self._is_ending and not self._is_abandoned:
            time.sleep(min(self._pauses_s[0], 1.0))  # there is little time: try often

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        """One process at a time tells a tracker of a run, from where the one before it stopped."""
        folder = self.folder / FOLDER
        folder.mkdir(exist_ok=True)
        with (folder / f"{self.name}.lock").open("w") as handle:
            if not lock_at_once(handle):
                raise BlockingIOError(errno.EAGAIN, "another process is telling it of this run", self.name)
            self._source = _Source(self.folder, position_of(self.folder, self.name, self._destination))
            self._run = _run_before(self.folder, self._source.position)
            self._pending.clear()
            try:
                yield
            finally:
                self.tracker.close()


class _Source:
    """Whole lines of a journal that grows, from a position on."""

    def __init__(self, folder: Path, position: int) -> None:
        self._path, self.position, self._offset = folder / JOURNAL, position, 0

    def read(self, most: int) -> list[Call]:
        """The next calls, at most so many; none: nothing new yet."""
        found: list[Call] = []
        if not self._path.exists():
            return found
        with self._path.open("rb") as handle:
            handle.seek(self._offset)
            while len(found) < most and (line := handle.readline()).endswith(b"\n"):
                self._offset += len(line)
                call = parse_line(line)
                if call is not None and call.number > self.position:
                    found.append(call)
        return found


def failure_told(name: str, folder: Path, error: BaseException) -> dict[str, Any]:
    """What, why and the way out of an outage, for an event."""
    told = _SECRET.sub("", str(error)).strip().splitlines()
    return {
        "tracker": name,
        "what": f"the tracker '{name}' cannot be told",
        "why": f"{type(error).__name__}: {told[0] if told else ''}".rstrip(": "),
        "way_out": f"the run goes on and keeps what it has to tell, tries again, or later: {sync_line(folder, name)}",
    }


def sync_line(folder: Path, name: str) -> str:
    """The command that sends the rest."""
    return f"moola track sync {folder} --tracker {name}"


def _positions(folder: Path, name: str) -> dict[str, int]:
    """Digest of a destination -> number of the last call that it has.

    A file that is damaged says nothing: to tell a call twice does no harm, and not to tell it would.
    """
    try:
        known = read_json(folder / FOLDER / f"{name}.json")
        found = {str(place): int(number) for place, number in known["delivered"].items()}
        return found if known["journal"] == _began(folder) else {}
    except (StorageError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _digest(destination: str) -> str:
    """A destination may hold a password, which no file keeps."""
    return digest_json(destination)[:12]


def _began(folder: Path) -> float | None:
    """Tells one journal from another that came into its place: when its first call was made."""
    return next((call.time_s for call in read_calls(folder)), None)


def _run_before(folder: Path, position: int) -> TrackedRun | None:
    """The run as the last call of ``start`` up to `position` has it."""
    found: Call | None = None
    for call in read_calls(folder) if position else ():
        if call.number > position:
            break
        found = call if call.method == "start" else found
    return found.run(folder) if found is not None else None


def _spoken(call: Call) -> str:
    subject = call.arguments.get("name") or call.arguments.get("series") or ""
    return f"{call.method} {subject}".rstrip()
