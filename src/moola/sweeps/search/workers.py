"""Trials in this process, or in several that try at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.sweeps.search.owner import Owner
from moola.sweeps.search.settings import SearchSettings
from moola.sweeps.search.storage import StudyStorage
from moola.sweeps.search.study import Objective, Params, SearchStudy, TrialRecord, work
from moola.sweeps.workers import WarmServer, WorkerSetup, send

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

    @contextlib.contextmanager
    def opened(self) -> Iterator[SearchStudy]:
        """The study as a worker sees it that is gone when the block ends, with its connections."""
        with contextlib.closing(Owner(self.locks)) as owner:
            study = self.open(owner)
            with contextlib.closing(study.storage):
                yield study

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
    with plan.opened() as study:
        study.begin()
        if plan.settings.workers == 1:
            work(study, _on_one_thread(plan.objective), on_trial, plan.deadline())
    if plan.settings.workers > 1:
        _try_in_processes(plan, on_trial, on_note)


def _on_one_thread(objective: Objective) -> Objective:
    """The fits are small, and figures must not depend on how many processes there are."""
    from moola.pipelines.parallel import one_thread

    def tried(params: Params, report: Any) -> float:
        with one_thread():
            return objective(params, report)

    return tried


def _try_in_processes(plan: StudyPlan, on_trial: Told, on_note: Callable[[str], None]) -> None:
    """Have processes try until nothing is left; another takes the place of one that dies.

    Raises:
        MoolaError: what one of them raised, or they die again and again.
    """
    setup, deaths = WorkerSetup(Path.cwd()), 0
    with WarmServer() as server:
        try:
            working = [server.start(_serve, plan, setup=setup) for _ in range(plan.settings.workers)]
            while working:
                for worker in server.wait(working):
                    ended = worker.ended
                    for record in worker.messages():
                        on_trial(record)
                    if ended is None:
                        continue
                    working.remove(worker)
                    if ended.died is not None or ended.interrupted:
                        deaths += 1
                        _refuse_more(deaths, ended.why)
                        on_note(f"a worker died ({ended.why}): its trial is tried again, by another one")
                        working.append(server.start(_serve, plan, setup=setup))
                    elif ended.error is not None:
                        raise ended.error
        finally:
            server.end_all(_PATIENCE_S)


def _refuse_more(deaths: int, why: str) -> None:
    if deaths > _MOST_DEATHS:
        raise MoolaError(
            f"{deaths} workers of the search died",
            f"the last one: {why}; the system ends processes when memory runs out",
            "give it fewer (search.workers=1); finished trials are kept",
        )


def _serve(plan: StudyPlan) -> None:
    """What a worker does; each trial that ends is sent."""
    with plan.opened() as study:
        work(study, _on_one_thread(plan.objective), send, plan.deadline())
