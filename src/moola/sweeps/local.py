"""The launcher `local`: a warm process for each point, as many at once as cores or GPUs take."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from moola.config import reject
from moola.errors import MoolaError
from moola.pipelines.events import now
from moola.pipelines.parallel import available_cores
from moola.pipelines.sweep_record import Point, PointState, log_path, read_state, write_state
from moola.sweeps.launching import failed
from moola.sweeps.task import PointTask
from moola.sweeps.workers import GRACE_S, Ended, WarmServer, Worker, WorkerSetup

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


@dataclass(frozen=True)
class LocalSettings:
    """Keys of ``hydra.launcher``.

    Attributes:
        n_jobs: points at once; None: as many as the GPUs take, or where there is none, the cores.
        threads: that each computes with; None: what OMP_NUM_THREADS says, else the cores, shared out.
        jobs_per_gpu: points at once on each GPU.
        retries: how often a point is begun again whose process died.
    """

    n_jobs: int | None = None
    threads: int | None = None
    jobs_per_gpu: int = 1
    retries: int = 1

    def __post_init__(self) -> None:
        reject(
            (self.n_jobs is not None and self.n_jobs < 1, f"hydra.launcher.n_jobs: {self.n_jobs} must be at least 1"),
            (
                self.threads is not None and self.threads < 1,
                f"hydra.launcher.threads: {self.threads} must be at least 1",
            ),
            (self.jobs_per_gpu < 1, f"hydra.launcher.jobs_per_gpu: {self.jobs_per_gpu} must be at least 1"),
            (self.retries < 0, f"hydra.launcher.retries: {self.retries} must be at least 0"),
        )


@dataclass(frozen=True)
class Places:
    """Where points may run at once.

    Attributes:
        gpus: for each place the GPU that it sees; None: all that the command sees.
        threads: of each place.
    """

    gpus: tuple[str | None, ...]
    threads: int

    @classmethod
    def of(cls, settings: LocalSettings, n_points: int, cores: int, gpus: Sequence[str]) -> Places:
        """As many as there is room for, and not more than there are points."""
        room = len(gpus) * settings.jobs_per_gpu if gpus else max(cores // (settings.threads or 1), 1)
        n = min(settings.n_jobs or room, n_points)
        told = os.environ.get("OMP_NUM_THREADS", "")
        threads = settings.threads or (int(told) if told.isdecimal() and int(told) else max(cores // n, 1))
        return cls(tuple(gpus[place % len(gpus)] if gpus else None for place in range(n)), threads)

    def __len__(self) -> int:
        return len(self.gpus)


def launch_locally(
    task: PointTask,
    hydra_context: Any,
    config: Any,
    first: int,
    job_overrides: Sequence[Sequence[str]],
    settings: LocalSettings,
) -> list[JobReturn]:
    """Run points in warm processes; what became of each, in order.

    Args:
        task: of the sweep.
        hydra_context, config: of Hydra.
        first: place of the first of these points in `task.pending`.
        job_overrides: words of each point.
        settings: of the launcher.

    Raises:
        KeyboardInterrupt: the command was told to end; points at work have kept what they had.
    """
    with WarmServer() as server:
        gpus = () if config.get("device") == "cpu" else server.call(visible_gpus, setup=WorkerSetup(task.directory))
        places = Places.of(settings, len(job_overrides), available_cores(), gpus)
        jobs = [_alone(words) if len(places) > 1 else list(words) for words in job_overrides]
        queue = _Queue(server, task, hydra_context, config, first, jobs, places)
        try:
            return queue.run(settings.retries)
        except KeyboardInterrupt:
            queue.interrupt()
            raise


def visible_gpus() -> tuple[str, ...]:
    """GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(named[:count] if named else map(str, range(count)))


def _alone(words: Sequence[str]) -> list[str]:
    """The words of a point that shares its machine: it starts no processes of its own unless it was told to."""
    given = any(word.lstrip("+").startswith("processes=") for word in words)
    return [*words] if given else [*words, "processes=1"]


@dataclass
class _Queue:
    """Points that wait, and those at work."""

    server: WarmServer
    task: PointTask
    hydra_context: Any
    config: Any
    first: int
    jobs: Sequence[list[str]]
    places: Places
    at_work: dict[int, tuple[int, Worker]] = field(default_factory=dict)  # place -> job, worker

    def run(self, retries: int) -> list[JobReturn]:
        """Until nothing waits and nothing is at work."""
        waiting = deque((job, retries) for job in range(len(self.jobs)))
        tries: dict[int, int] = {}
        returns: dict[int, JobReturn] = {}
        while waiting or self.at_work:
            for place in (place for place in range(len(self.places)) if place not in self.at_work):
                if waiting:
                    job, tries[job] = waiting[0][0], waiting.popleft()[1]
                    self.at_work[place] = job, self._start(job, place)
            self.server.wait(worker for _, worker in self.at_work.values())
            for place, (job, worker) in list(self.at_work.items()):
                if (ended := worker.ended) is None:
                    continue
                del self.at_work[place]
                again = ended.died is not None and tries[job] > 0
                if again:
                    waiting.append((job, tries[job] - 1))
                returns[job] = self._returned(job, worker, ended, again)
        return [returns[job] for job in range(len(self.jobs))]

    def interrupt(self) -> None:
        """End what is at work, and keep that it was."""
        self.server.end_all(GRACE_S)
        for job, worker in self.at_work.values():
            if (ended := worker.ended) is not None and ended.died is not None:
                self._keep(job, worker, "interrupted", f"interrupted, and {ended.why} after {GRACE_S:g} s")

    def _point(self, job: int) -> Point:
        return self.task.pending[self.first + job]

    def _start(self, job: int, place: int) -> Worker:
        environment = dict(os.environ)
        if (gpu := self.places.gpus[place]) is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        log = log_path(self.task.sweep_folder, self._point(job).number)
        log.parent.mkdir(parents=True, exist_ok=True)
        setup = WorkerSetup(self.task.directory, environment, log, self.places.threads)
        arguments = (self.task, self.hydra_context, self.config, self.first + job, self.jobs[job])
        return self.server.start(_run_job, *arguments, setup=setup)

    def _returned(self, job: int, worker: Worker, ended: Ended, again: bool) -> JobReturn:
        """What Hydra is told of a point; of one that could not keep its state itself, that is done here."""
        if isinstance(ended.value, _Return):
            return ended.value.job_return
        why = ended.why + ("; it is begun once more" if again else "")
        self._keep(job, worker, "interrupted" if again else "failed", why)
        return failed(self.jobs[job], MoolaError(f"the point failed: {why}"))

    def _keep(self, job: int, worker: Worker, status: Any, why: str) -> None:
        """The state of a point whose process could not keep it; its time is that of the process."""
        point, folder = self._point(job), self.task.sweep_folder
        known = read_state(folder, point.number) or PointState(point.number, status)
        seconds = round((self.task.spent_on(point) or 0.0) + time.monotonic() - worker.started, 3)
        log = str(log_path(folder, point.number))
        write_state(folder, replace(known, status=status, log=log, why=why, finished=now(), seconds=seconds))


@dataclass(frozen=True)
class _Return:
    job_return: JobReturn


def _run_job(task: PointTask, hydra_context: Any, config: Any, number: int, words: list[str]) -> _Return:
    """In a worker: compose the configuration of a point and run it, as Hydra's own launchers do."""
    from hydra.core.utils import run_job, setup_globals
    from omegaconf import open_dict

    setup_globals()
    composed = hydra_context.config_loader.load_sweep_config(config, words)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    done = run_job(
        task_function=task,
        config=composed,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=hydra_context,
    )
    return _Return(done)
