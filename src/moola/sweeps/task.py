"""What launchers call for each point: a function that can be pickled, and that keeps its own record.

Any launcher of Hydra runs it, in whichever process and on whichever machine that sees the sweep's folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import MoolaError, storage_error
from moola.pipelines.events import now
from moola.pipelines.sweep_record import SWEEP_VARIABLE, Point, PointState, log_path, read_state, write_state
from moola.sweeps.lifeline import Owner, ending_with

if TYPE_CHECKING:
    from moola.config import RunConfig

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class PointTask:
    """The task function of a sweep.

    Attributes:
        job: ``run``, or the stage that a point ends with.
        line: the command line.
        directory: working directory of the command, from which relative paths count.
        only_check: whether points are checked and none is run.
        here: whether points run on this machine; elsewhere there may be a GPU that is not here.
        agreed: whether a grid of any size is wanted.
        folder: of the sweep; None before its points are known.
        pending: points that are to be run; the job number of Hydra is a place in it.
        spent: number of a point -> seconds of its attempts before this command.
        owner: the command that points end with; None: their launcher ends them, or they outlive it, as Slurm jobs do.
    """

    job: str
    line: str
    directory: Path
    only_check: bool = False
    here: bool = True
    agreed: bool = False
    folder: Path | None = None
    pending: tuple[Point, ...] = ()
    spent: Mapping[int, float] = field(default_factory=dict[int, float])
    owner: Owner | None = None

    @property
    def target(self) -> str | None:
        """The stage that a point ends with; None: all stages."""
        return None if self.job == "run" else self.job

    @property
    def sweep_folder(self) -> Path:
        """Of the sweep under way."""
        assert self.folder is not None
        return self.folder

    def under_way(self, folder: Path, pending: tuple[Point, ...]) -> PointTask:
        """The same for points of a sweep."""
        return replace(self, folder=folder, pending=pending)

    def spent_on(self, point: Point) -> float | None:
        """Seconds of all attempts at a point that have ended; None: there was none."""
        state = read_state(self.sweep_folder, point.number)  # of an attempt of this command
        return state.seconds if state is not None else self.spent.get(point.number)

    def __call__(self, composed: Any) -> str:
        """Run the point whose configuration Hydra has composed; its run folder.

        Raises:
            MoolaError: it failed; the state of the point says why.
        """
        from hydra.core.hydra_config import HydraConfig

        point = self.pending[HydraConfig.get().job.num]
        log = log_path(self.sweep_folder, point.number)
        with ending_with(self.owner, self.sweep_folder), _printing_to(log):
            return run_point(self, point, composed)


def point_task(function: Any) -> PointTask:
    """The task function of Hydra, where it is that of a sweep.

    Raises:
        MoolaError: it is another one's.
    """
    if isinstance(function, PointTask):
        return function
    raise MoolaError("this command makes no sweep record", "it is no job", "leave hydra/sweeper and hydra/launcher out")


def sweep_task(function: Any) -> PointTask:
    """The task function of a sweep that is under way.

    Raises:
        MoolaError: it is none, because something else than moola's sweeper lists the points.
    """
    task = point_task(function)
    if task.folder is None:
        raise MoolaError(
            "the launcher runs points of moola's own sweeper",
            "another sweeper asks for a figure of each point, where a run gives a folder",
            "leave hydra/sweeper=NAME out; `moola search` chooses points by their figures",
        )
    return task


def run_point(task: PointTask, point: Point, composed: Any) -> str:
    """Run a point, keep its state, and return its run folder.

    Args:
        task: of the sweep.
        point: which.
        composed: its configuration, without the section ``hydra``.

    Raises:
        MoolaError: it failed.
        KeyboardInterrupt: it was told to end; what is finished is kept.
    """
    os.environ[SWEEP_VARIABLE] = task.sweep_folder.name
    began, before = None, task.spent_on(point)
    state = PointState(
        point.number,
        "running",
        run_folder=str(task.sweep_folder.parents[1] / point.run_id) if point.run_id else "",
        log=str(log_path(task.sweep_folder, point.number)),
        where=f"{socket.gethostname()}:{os.getpid()}",
        started=now(),
        seconds=before,
    )

    def keep(status: Any, **known: str) -> None:
        seconds = before if began is None else round((before or 0.0) + time.monotonic() - began, 3)
        write_state(task.sweep_folder, replace(state, status=status, finished=now(), seconds=seconds, **known))

    print(
        f"{state.started} point {point.number} {state.where}: {' '.join(point.overrides)}", file=sys.stderr, flush=True
    )
    write_state(task.sweep_folder, state)
    try:
        with contextlib.chdir(task.directory):
            config = _checked(task, composed)  # its imports take longer than some runs, where the process is not warm
            began = time.monotonic()
            run_folder = str(_run(task, point, config, composed))
    except BaseException as error:
        told = _told(error)
        print(told.spoken(), file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):  # a full disk must not hide the error that it caused
            keep("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", why=str(told))
        if isinstance(error, KeyboardInterrupt):
            raise
        raise told from error
    keep("finished", run_folder=run_folder)
    return run_folder


def _told(error: BaseException) -> MoolaError:
    """An error as one that can be pickled, for launchers send it; of defects the log keeps the traceback."""
    if isinstance(error, MoolaError):
        return error.plain()
    if isinstance(error, KeyboardInterrupt):
        return MoolaError("interrupted", "", "the same command goes on from what is finished")
    if isinstance(error, OSError) and (told := storage_error(error, takes_keys=True)) is not None:
        return told.plain()
    traceback.print_exception(error)
    return MoolaError(f"{type(error).__name__}: {error}")


def _checked(task: PointTask, composed: Any) -> RunConfig:
    from moola.config import from_omegaconf
    from moola.pipelines.assembly import assemble

    return from_omegaconf(composed, lambda config: assemble(config, task.target))


def _run(task: PointTask, point: Point, config: RunConfig, composed: Any) -> Path:
    """As `moola JOB` does; a run that is under way elsewhere is waited for, and is then found finished."""
    from omegaconf import OmegaConf

    from moola.pipelines.console_run import run_once
    from moola.pipelines.run import UnderWayError

    config_yaml = OmegaConf.to_yaml(OmegaConf.merge(composed, {"force": []}), resolve=True)  # to repeat is not to force
    waited = False
    while True:
        try:
            return run_once(config, config_yaml, task.target, task.line, point.overrides)
        except UnderWayError:
            if not waited:
                print("waiting: another process is at the same run", file=sys.stderr, flush=True)
            waited = True
            time.sleep(_LOOK_EVERY_S)


@contextlib.contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """What this process prints, and what it starts, goes to the end of a file, until the work is done."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    with log.open("a", buffering=1) as handle:
        for number, _ in kept:
            os.dup2(handle.fileno(), number)
        try:
            with contextlib.redirect_stdout(handle), contextlib.redirect_stderr(handle):
                yield
        finally:
            for number, before in kept:
                os.dup2(before, number)
                os.close(before)
