"""One point of a sweep on its way: a run as `moola pod run` makes it, and on another pod where one fails it."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from moola.errors import EXIT_POD, MoolaError
from moola.pipelines.sweep_record import Point, PointState, write_state
from moola.pods.attaching import PodLostError
from moola.pods.attending import Ended
from moola.pods.clock import Clock
from moola.pods.keeper import ENDS
from moola.pods.keeping import alone_at
from moola.pods.lending import rent_of
from moola.pods.log_records import log_line
from moola.pods.provider import (
    STAYING,
    BadDrawError,
    NoCapacityError,
    PodError,
    PodRecord,
    PodTakenError,
    SilentPodError,
)
from moola.pods.running import PodRun
from moola.pods.ssh import AccessError, HostKeyError
from moola.sweeps.interruption import Interruption

OpenRun = Callable[[Callable[[str], None], Callable[[Mapping[str, Any]], None]], PodRun]
"""Makes the run of a point; it is given `tell` and `show` of `moola.pods.running.PodRun`."""
_OF_THE_POD = (PodLostError, SilentPodError, BadDrawError, AccessError, HostKeyError)
"""What another pod may do better."""
Lend = Callable[[PodRun, Callable[[], None]], contextlib.AbstractContextManager[None]]
"""Gives the run of a point its pod for the length of a block; see `PodPoint`."""


class NoPlaceError(PodError):
    """The pod that a point was lent was ended, or given to others, before the point began there."""


@dataclass(frozen=True)
class PointEnd:
    """What became of a point.

    Attributes:
        point: it.
        status: ``finished``; ``failed``: it is not tried again; ``waiting``: no pod was free; ``again``: its pod had to
            end, or failed it (`error`), and another is to be found; ``left``: another client has it, or the user wanted
            to leave.
        folder: its run folder, where it finished.
        error: why it did not.
        bad_places: machines on which nothing came of it (`moola.pods.acquiring.Place`).
    """

    point: Point
    status: Literal["finished", "failed", "waiting", "again", "left"]
    folder: Path | None = None
    error: MoolaError | None = None
    bad_places: frozenset[tuple[str, str, str]] = frozenset()


@dataclass
class PodPoint:
    """A point, for a thread of its own.

    Attributes:
        point: it.
        sweep: folder of the sweep.
        log: file that takes what the run says and what happens to it.
        open_run: makes its run, anew for each attempt.
        retries: further pods, where one fails it and the run's own ``pod.retries`` are used up.
        asked: set when everybody is to leave.
        sharing: points that compute on its machine at once, it among them.
        lend: entered with its run and what interrupts it before anything of it is done, and left when it is over: gives
            it a pod of the sweep; None: it finds its own.
    """

    point: Point
    sweep: Path
    log: Path
    open_run: OpenRun
    retries: int
    asked: threading.Event
    sharing: int = 1
    lend: Lend | None = None
    _bad: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    _where: str = ""
    _cost: float | None = None

    def go(self) -> PointEnd:
        """Bring it to its end; its state is written, whatever that is.

        Nothing is raised: whoever waits for the end of a thread that says nothing waits for ever.
        """
        began, started = time.monotonic(), _now()
        end: PointEnd | None = None
        try:
            end = self._logged(started)
            self._keep(end, started, time.monotonic() - began)
        except Exception as error:  # of a disk that is full, say
            return end or self._end("failed", self._defect(error))
        return end

    def _logged(self, started: str) -> PointEnd:
        """Its end, with the log open."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        is_torn = self.log.is_file() and not self.log.read_bytes().endswith(b"\n")
        with self.log.open("a", encoding="utf-8") as log:
            log.write("\n" if is_torn else "")
            end = self._ended(log, started)
            if end.error is not None:
                _write(log, end.error.spoken())
        return end

    def _keep(self, end: PointEnd, started: str, seconds: float) -> None:
        """Write its last state; one that waits for a pod has none."""
        if end.status == "finished":
            self._state("finished", started, seconds, run_folder=str(end.folder))
        elif end.status == "failed":
            assert end.error is not None
            self._state("failed", started, seconds, why=f"{end.error.what}: {end.error.why}")
        elif end.status == "left":
            why = f"{end.error.what}: {end.error.why}" if end.error else "left; it goes on where it has a pod"
            self._state("interrupted", started, seconds, why=why)

    def _ended(self, log: TextIO, started: str) -> PointEnd:
        attempt, interruption = 0, Interruption(self.asked)
        while True:
            try:
                return self._judged(self._attempt(log, started, interruption))
            except _OF_THE_POD as error:
                if attempt >= self.retries or (isinstance(error, PodLostError) and error.may_be_its_guard):
                    return self._end("failed", error)
                attempt += 1
                _write(log, f"{error.spoken()}\nit is tried on another pod ({attempt} of {self.retries})")
                if self.lend is not None:
                    return self._end("again", error)
            except NoPlaceError as error:
                _write(log, error.spoken())
                return self._end("again" if self.retries > 0 else "failed", error)
            except NoCapacityError as error:
                return self._end("waiting", error)
            except (PodTakenError, KeyboardInterrupt) as error:
                return self._end("left", error if isinstance(error, MoolaError) else None)
            except MoolaError as error:
                return self._end("failed", error)
            except Exception as error:  # a defect in one point must not end those beside it
                traceback.print_exc(file=log)
                return self._end("failed", self._defect(error))

    def _attempt(self, log: TextIO, started: str, interruption: Interruption) -> Ended:
        """One run, alone; what its pods cost is known when it ends, however it does."""
        interruption.look()
        run = self.open_run(lambda line: _write(log, line), lambda record: _write(log, log_line(record)))
        run.sharing, clock = self.sharing, run.clock
        run.look, run.clock = interruption.look, Clock(clock.now, interruption.waking(clock.sleep), clock.monotonic)

        def taken(record: PodRecord) -> None:
            self._where = record.data_center if record.provider in STAYING else record.pod_id
            self._state("running", started)

        run.taken = taken
        try:
            with contextlib.nullcontext() if self.lend is None else self.lend(run, interruption.look):
                return alone_at(run, lambda: self._gone(run))
        finally:
            self._bad.update(run.bad_places)
            with contextlib.suppress(MoolaError):
                if run.provider.can_end_itself:  # it bills
                    self._cost = sum(pod.cost for pod in run.ledger.pods(run.run))
                elif self.lend is not None:
                    self._cost = rent_of(run.run, run.ledger)

    def _gone(self, run: PodRun) -> Ended:
        try:
            return run.go(again=run.is_forced)
        except (SilentPodError, HostKeyError) as error:
            for pod in run.ledger.pods(run.run)[-1:]:
                self._bad.add((pod.gpu, pod.data_center, pod.cloud))
            for pod in run.ledger.pods(run.run, open_only=True):
                if pod.provider == "ssh":
                    run.tell(f"{pod.data_center} is left: what runs there may go on, and nothing of it comes here")
                run.lose(pod.record(run.ledger.owner), f"{error.what}: {error.why}")
            raise

    def _judged(self, ended: Ended) -> PointEnd:
        if ended.outcome == "finished" and ended.published is not None:
            return PointEnd(self.point, "finished", ended.published.folder, bad_places=frozenset(self._bad))
        error = MoolaError(f"{self.point.run_id} {ended.outcome}", ended.why, f"what it said: {self.log}")
        if ended.outcome == "stopped" and ended.why.startswith(ENDS):
            return self._end("again", None)
        if ended.outcome == "stopped":  # by another command, whose user wants no more of it
            return self._end("left", error)
        error.exit_code = ended.exit_code if 0 < ended.exit_code < EXIT_POD else error.exit_code
        return self._end("failed", error)

    def _defect(self, error: Exception) -> MoolaError:
        return MoolaError(f"{self.point.run_id}: {type(error).__name__}", str(error))

    def _end(self, status: Literal["failed", "waiting", "again", "left"], error: MoolaError | None) -> PointEnd:
        return PointEnd(self.point, status, error=error, bad_places=frozenset(self._bad))

    def _state(
        self,
        status: Literal["running", "finished", "failed", "interrupted"],
        started: str,
        seconds: float | None = None,
        *,
        run_folder: str = "",
        why: str = "",
    ) -> None:
        state = PointState(
            number=self.point.number,
            status=status,
            run_folder=run_folder,
            log=str(self.log),
            where=self._where,
            why=why,
            started=started,
            finished="" if seconds is None else _now(),
            seconds=seconds,
            cost_usd=self._cost,
        )
        write_state(self.sweep, state)


def _write(log: TextIO, text: str) -> None:
    log.write(text.rstrip("\n") + "\n")
    log.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
