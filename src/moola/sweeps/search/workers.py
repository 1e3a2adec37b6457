"""Several processes that try at once, forked from one that has imported everything and computed nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.sweeps.search.owner import Owner
from moola.sweeps.search.settings import SearchSettings
from moola.sweeps.search.storage import StudyStorage
from moola.sweeps.search.study import Objective, Params, SearchStudy, TrialRecord, work

_MOST_DEATHS = 20
"""Workers of one search that die before it is given up."""
_PATIENCE_S = 10.0
"""For workers that are to end."""


@dataclass(frozen=True)
class StudyPlan:
    """What a worker needs to take part; travels to processes.

    Attributes:
        place: of the storage.
        name: of the study.
        settings: of the search.
        default: parameters of the configuration as it is; None where they lie outside the space.
        higher_is_better: direction of the metric.
        objective: what is tried; importable from any process.
        locks: folder of the workers' locks.
        seconds: after which no trial is begun; None: never.
    """

    place: str
    name: str
    settings: SearchSettings
    default: Params | None
    higher_is_better: bool
    objective: Objective
    locks: Path
    seconds: float | None = None

    def open(self, owner: Owner) -> SearchStudy:
        """The study as a worker sees it."""
        storage = StudyStorage(self.place)
        return SearchStudy(storage, self.name, self.settings, owner, self.default, self.higher_is_better)

    def deadline(self) -> float:
        """Of `time.monotonic`."""
        return float("inf") if self.seconds is None else time.monotonic() + self.seconds


Told = Callable[[TrialRecord], None]


def try_all(plan: StudyPlan, on_trial: Told, on_note: Callable[[str], None]) -> None:
    """Bring a study to its number of trials, in this process or in several.

    Args:
        plan: of the study.
        on_trial: called with each trial that ends here.
        on_note: called with what a person should know.

    Raises:
        MoolaError: the default failed, or workers die again and again.
    """
    owner = Owner(plan.locks)
    try:
        study = plan.open(owner)
        study.begin()
        if plan.settings.workers == 1:
            work(study, _on_one_thread(plan.objective), on_trial, plan.deadline())
    finally:
        owner.close()
    if plan.settings.workers > 1:
        _Workers(plan, on_trial, on_note).run()


def _on_one_thread(objective: Objective) -> Objective:
    """The fits are small, and figures must not depend on how many processes there are."""
    from moola.pipelines.parallel import one_thread

    def tried(params: Params, report: Any) -> float:
        with one_thread():
            return objective(params, report)

    return tried


class _Workers:
    """Processes, a pipe each: a lock that they shared would be held for ever by one that is killed."""

    def __init__(self, plan: StudyPlan, on_trial: Told, on_note: Callable[[str], None]) -> None:
        self._plan, self._on_trial, self._on_note = plan, on_trial, on_note
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["moola.sweeps.search.warm"])
        self._running: dict[Connection, Any] = {}
        self._deaths = 0

    def run(self) -> None:
        try:
            for _ in range(self._plan.settings.workers):
                self._start()
            while self._running:
                for pipe in wait(list(self._running)):
                    assert isinstance(pipe, Connection)
                    self._hear(pipe)
        finally:
            self._end()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_serve, args=(self._plan, theirs), daemon=True)
        process.start()
        theirs.close()
        self._running[ours] = process

    def _hear(self, pipe: Connection) -> None:
        try:
            kind, content = pipe.recv()
        except EOFError:
            self._bury(pipe)
            return
        if kind == "trial":
            self._on_trial(content)
        elif kind == "done":
            self._running.pop(pipe).join()
        elif kind == "error":
            what, why, way_out, exit_code = content
            error = MoolaError(what, why, way_out)
            error.exit_code = exit_code
            raise error
        else:
            raise RuntimeError(f"a worker of the search broke:\n{content}")

    def _bury(self, pipe: Connection) -> None:
        """Put another in the place of a worker that was killed; its trial is tried again."""
        process = self._running.pop(pipe)
        process.join()
        self._deaths += 1
        how = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"
        if self._deaths > _MOST_DEATHS:
            raise MoolaError(
                f"{self._deaths} workers of the search died",
                f"the last one by {how}; the system ends processes when memory runs out",
                "give it fewer (search.workers=1); finished trials are kept",
            )
        self._on_note(f"a worker died ({how}): its trial is tried again, by another one")
        self._start()

    def _end(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.join(_PATIENCE_S)
            process.kill()
            process.join()
        self._running.clear()


def _serve(plan: StudyPlan, pipe: Connection) -> None:
    """What a worker does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one ends the others
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    owner = Owner(plan.locks)
    try:
        study = plan.open(owner)
        work(study, _on_one_thread(plan.objective), lambda one: pipe.send(("trial", one)), plan.deadline())
        pipe.send(("done", None))
    except KeyboardInterrupt:
        pass
    except MoolaError as error:
        pipe.send(("error", (error.what, error.why, error.way_out, error.exit_code)))
    except Exception:
        pipe.send(("broken", traceback.format_exc()))
    finally:
        owner.close()


def _end_with_parent() -> None:
    """A search that is killed tells its workers nothing."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # its trial is taken back by whoever goes on
