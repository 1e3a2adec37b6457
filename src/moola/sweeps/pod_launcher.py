"""Sweeps on pods: what Hydra's launcher `moola_pod` does. Each point is a run as `moola pod run` makes it."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.config import ConfigProblems, reject
from moola.errors import ConfigError, DataError, MoolaError, printable
from moola.layout import Layout
from moola.pipelines.sweep_record import Point, log_path, read_sweep, told_points
from moola.pods.bundle import Bundle
from moola.pods.composed_run import compose, layout_of, words_of
from moola.pods.ending import end_run
from moola.pods.estimating import SET_UP_H, estimate_of
from moola.pods.last_digits import moved_digits
from moola.pods.ledger import Ledger
from moola.pods.lending import keeper_bundle, pod_runs
from moola.pods.packing import PackedSeries, PackLimits, pack
from moola.pods.providers import needed_key, open_ledger, open_provider
from moola.pods.resuming import open_run
from moola.pods.running import PodRun
from moola.pods.settings import PodSettings, load_settings, split_words
from moola.sweeps.launching import LeftPointError, completed, failed
from moola.sweeps.pod_budget import SweepBudget
from moola.sweeps.pod_point import OpenRun, PointEnd
from moola.sweeps.pod_sweep import PodSweep
from moola.sweeps.rented_pods import RentedPods

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from moola.sweeps.task import PointTask

LAUNCHER = "moola_pod"


@dataclass(frozen=True)
class PodOptions:
    """The section ``hydra.launcher`` of `moola_pod`.

    Attributes:
        pods: at once; None: every host that is named, or one rented pod.
        jobs_per_pod: points at a time on a host or a rented pod.
        point_retries: further pods of a point, where one fails it; those of ``pod.retries`` come before.
        yes: rent without asking.
    """

    pods: int | None = None
    jobs_per_pod: int = 1
    point_retries: int = 1
    yes: bool = False

    def __post_init__(self) -> None:
        reject(
            (
                self.pods is not None and self.pods < 1,
                f"hydra.launcher.pods (--pods): {self.pods} must be at least 1",
            ),
            (
                self.jobs_per_pod < 1,
                f"hydra.launcher.jobs_per_pod (--jobs-per-pod): {self.jobs_per_pod} must be at least 1",
            ),
            (
                self.point_retries < 0,
                f"hydra.launcher.point_retries: {self.point_retries} must not be negative",
            ),
        )


@dataclass(frozen=True)
class PodWords:
    """What the command line says of the pods, beside the sweep.

    Attributes:
        words: ``pod=NAME`` and ``pod.KEY=VALUE``.
        flags: as of `moola.pods.settings.load_settings`.
        limits: of what travels.
        problems: of the command line that are known.
        series: what is known of the files that travel.
    """

    words: tuple[str, ...] = ()
    flags: Mapping[str, Any] | None = None
    limits: PackLimits = field(default_factory=PackLimits)
    problems: tuple[str, ...] = ()
    series: PackedSeries = field(default_factory=PackedSeries)


POD_WORDS: ContextVar[PodWords] = ContextVar("POD_WORDS")
"""Of the command under way: Hydra, which makes the launcher, knows no group ``pod``."""


@contextlib.contextmanager
def pods_of(words: Sequence[str], problems: ConfigProblems) -> Iterator[list[str]]:
    """The words of a sweep without those about its pods, which the launcher finds while this is open.

    Args:
        words: of the sweep.
        problems: what makes no sense in those about pods is added to them.
    """
    if f"hydra/launcher={LAUNCHER}" not in words:
        yield list(words)
        return
    of_pod, rest = split_words(words)
    said = POD_WORDS.get(PodWords())
    problems.extend(said.problems)
    problems.attempt(lambda: load_settings(of_pod, said.flags))
    token = POD_WORDS.set(replace(said, words=tuple(of_pod), problems=tuple(problems)))
    try:
        yield rest
    finally:
        POD_WORDS.reset(token)


def pod_settings(options: PodOptions) -> PodSettings:
    """The settings of every pod of the sweep under way.

    Raises:
        ConfigError: all that is wrong with them, and a key that is missing.
    """
    said = POD_WORDS.get(PodWords())
    problems = ConfigProblems()
    settings = problems.attempt(lambda: load_settings(said.words, said.flags))
    if settings is not None and settings.provider == "runpod":
        problems.attempt(needed_key)
        if settings.keep:
            told = "a rented pod of a sweep takes one point after the other, and is ended when none waits for it"
            problems.append(f"pod.keep (--keep): {told}; leave it out")
    if settings is None or problems:
        raise problems.error()
    return settings


def launch(
    task: PointTask, given: Mapping[str, Any], job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> list[JobReturn]:
    """Run points of a sweep on pods.

    Args:
        task: of the sweep.
        given: keys of the launcher, as of `PodOptions`.
        job_overrides: of each point, as Hydra has them.
        initial_job_idx: place of the first among the task's pending points.

    Returns:
        What came of each: its run folder, or why it failed.

    Raises:
        MoolaError: as `check`.
        KeyboardInterrupt: the user wants to leave; what was begun goes on on its pods.
    """
    points = task.pending[initial_job_idx : initial_job_idx + len(job_overrides)]
    options = PodOptions(**given)
    settings, order = pod_settings(options), _packing(task, points)
    runs = [point.run_id for point in read_sweep(task.sweep_folder).points]
    budget = sweep_budget(settings, order.ledger, order.layout, runs, task.sweep_folder.name)
    rented = rented_pods(settings, options, budget, order.layout, task.sweep_folder)
    sweep = PodSweep(
        points,
        task.sweep_folder,
        lambda number: log_path(task.sweep_folder, number),
        settings,
        budget,
        order,
        options.pods,
        options.jobs_per_pod,
        options.point_retries,
        _tell,
        rented,
    )
    _announce(sweep, agreed=options.yes or task.agreed)
    if words := moved_digits(os.environ, settings.env) if settings.provider != "local" else "":
        _tell(words)
    ends = sweep.run()
    return [_returned(words, ends[point.number]) for words, point in zip(job_overrides, points, strict=True)]


def check(task: PointTask, given: Mapping[str, Any], points: Sequence[Point]) -> None:
    """Find what is wrong with a sweep on pods before anything of it is kept.

    Args:
        task: of the sweep.
        given: keys of the launcher, as of `PodOptions`.
        points: to be run; none: what is said of the pods is looked at alone.

    Raises:
        ConfigError: all that makes no sense in what is said of the pods.
        MoolaError: the first point cannot be packed.
    """
    problems = ConfigProblems()
    if task.job != "run":
        way_out = f"`moola run -m ... hydra/launcher={LAUNCHER}`, or another launcher"
        problems.take(ConfigError([f"moola {task.job}: a pod runs all stages"], way_out))
    options = problems.attempt(lambda: PodOptions(**given))
    if not POD_WORDS.get(PodWords()).problems:  # which are told already
        problems.attempt(lambda: pod_settings(options or PodOptions()))
    if problems:
        raise problems.error()
    if points:
        _packing(task, points)


def settle(task: PointTask) -> None:
    """End the pods of a sweep whose points are all finished: a client that was killed may have left some.

    Raises:
        MoolaError: a pod could not be ended.
    """
    points = read_sweep(task.sweep_folder).points
    with _beside_hydra():
        layout = layout_of(compose(words_of(points[0].overrides), task.directory), task.directory)
    ledger = open_ledger(layout)
    for run in pod_runs(task.sweep_folder.name, ledger):
        if ledger.pods(run, open_only=True) or ledger.open_intents(run):
            end_run(open_provider("runpod", ledger, layout), run, ledger, "no point waits for it", tell=_tell)


def _packing(task: PointTask, points: Sequence[Point]) -> Packing:
    """What packs points: it has packed the first, and what is wrong with that is wrong with all."""
    if not all(point.run_id for point in points):
        raise ConfigError(["the grid is too big to be named point by point, and so for pods"], "sweep fewer values")
    with _beside_hydra():
        layout = layout_of(compose(words_of(points[0].overrides), task.directory), task.directory)
    said = POD_WORDS.get(PodWords())
    packing = Packing(task.directory, layout, open_ledger(layout), said.limits, said.series)
    packing.bundle(points[0])
    return packing


@dataclass(frozen=True)
class Packing:
    """Packs points and opens their runs. All of them take the files along that the first was packed with.

    Attributes:
        project: folder whose files travel.
        layout: of the project.
        ledger: shared by all runs.
        limits: of what travels.
        series: what is known of the files.
    """

    project: Path
    layout: Layout
    ledger: Ledger
    limits: PackLimits
    series: PackedSeries = field(default_factory=PackedSeries)

    def bundle(self, point: Point) -> Bundle:
        """Pack a point.

        Raises:
            MoolaError: it cannot be packed, or is another run than when the sweep was checked.
        """
        options = {"limits": self.limits, "series": self.series, "run_id": point.run_id}
        with _beside_hydra():
            bundle = pack(self.project, point.overrides, self.layout, **options).bundle
        named = bundle.facts["run_id"]
        if named != point.run_id:
            why = f"it was {point.run_id} when the sweep was checked, and is {named}"
            raise DataError(f"point {point.number} is another run by now", why, "files changed: the same command again")
        return bundle

    def __call__(self, point: Point, settings: PodSettings) -> OpenRun:
        """Pack a point; what opens its run.

        Raises:
            MoolaError: as `bundle`.
        """
        bundle = self.bundle(point)

        def opened(tell: Callable[[str], None], show: Callable[[Mapping[str, Any]], None]) -> PodRun:
            return open_run(bundle, settings, self.layout, tell=tell, show=show, ledger=self.ledger)

        return opened


def rented_pods(
    settings: PodSettings, options: PodOptions, budget: SweepBudget, layout: Layout, folder: Path
) -> RentedPods | None:
    """The pods that a sweep is to rent; None where its hosts are there already, or folders here.

    Args:
        settings: of every pod.
        options: of the sweep.
        budget: of the sweep.
        layout: of the project.
        folder: of the sweep.
    """
    if settings.provider != "runpod":
        return None
    ledger = budget.ledger

    def rent(run: str, own: PodSettings) -> OpenRun:
        bundle = keeper_bundle(run, layout)
        return lambda tell, show: open_run(bundle, own, layout, tell=tell, show=show, ledger=ledger)

    lender = open_provider(settings.provider, ledger, layout, settings.provider_options)
    most, jobs = options.pods or 1, options.jobs_per_pod
    return RentedPods(folder.name, folder / "logs", lender, ledger, settings, budget, rent, most, jobs, tell=_tell)


def sweep_budget(
    settings: PodSettings, ledger: Ledger, layout: Layout, runs: Sequence[str], sweep: str = ""
) -> SweepBudget:
    """The budget of a sweep, with what a point costs by what is offered now.

    Args:
        settings: of every pod; their budget is that of the whole sweep.
        ledger: of the project.
        layout: of the project.
        runs: of all points.
        sweep: its name.

    Raises:
        ConfigError: deadline or budget are below what one point takes.
        NoCapacityError: nothing is offered.
    """
    estimate = None
    if settings.provider == "runpod":
        provider = open_provider(settings.provider, ledger, layout, settings.provider_options)
        estimate = estimate_of(settings, provider.offers(settings.wish))
    guards = settings.guards
    limit = math.inf if guards.budget is None or estimate is None else guards.budget
    budget = SweepBudget(limit, estimate, runs, ledger, sweep)
    if estimate is not None and guards.max_hours is not None and guards.max_hours < estimate.hours:
        told = f"{guards.max_hours:g} h are below the estimate of one point, {estimate.hours:g} h; raise --max-hours"
        raise ConfigError([f"pod.guards.max_hours: {told}"], "or tell how long a point takes (pod.expected_hours=H)")
    return budget


def _announce(sweep: PodSweep, agreed: bool) -> None:
    """Tell how many pods there will be and what they cost, and have the user agree where somebody is there to ask.

    Raises:
        MoolaError: the user does not.
    """
    n_points, at_once = len(sweep.points), min(sweep.room, len(sweep.points))
    several = "s" if at_once > 1 else ""
    estimate, settings = sweep.budget.estimate, sweep.settings
    if estimate is None:
        where = "host" if settings.provider == "ssh" else "pod"
        sweep.tell(f"{told_points(n_points)}, {at_once} at once on {where}{several} that nobody bills")
        return
    n_pods = math.ceil(at_once / sweep.jobs_per_pod)
    several = "s" if n_pods > 1 else ""
    hours = n_pods * SET_UP_H + math.ceil(n_points / sweep.jobs_per_pod) * settings.expected_hours
    total, spent = hours * estimate.offer.price_per_h, sweep.budget.spent()
    beside = f", {sweep.jobs_per_pod} at a time on each" if sweep.jobs_per_pod > 1 else ""
    limit = "no budget is set" if math.isinf(sweep.budget.limit) else f"the budget is ${sweep.budget.limit:.2f}"
    earlier = f", ${spent:.2f} are spent" if spent else ""
    sweep.tell(
        f"{told_points(n_points)} on {n_pods} rented pod{several} at once{beside}; one takes {estimate.sum} on "
        f"{estimate.offer}: about ${total:.2f} in all; {limit}{earlier}"
    )
    if not agreed and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        print(f"rent {n_pods} pod{several}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            way_out = "--yes (hydra.launcher.yes=true) rents without asking"
            raise MoolaError("nothing was rented", "the answer was not yes", way_out)


def _returned(overrides: Sequence[str], end: PointEnd) -> JobReturn:
    if end.status == "finished":
        return completed(overrides, str(end.folder))
    error = end.error or MoolaError(f"{end.point.run_id} was left", "", "the same command goes on")
    return failed(overrides, LeftPointError(error.what, error.why, error.way_out) if end.status == "left" else error)


def _tell(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _beside_hydra() -> Iterator[None]:
    """Compose while Hydra itself is at work: its one state is put aside, and put back."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton

    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)
