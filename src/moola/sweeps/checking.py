"""Every point of a sweep composed and checked before the first one starts, in a warm process."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.errors import ConfigError, MoolaError
from moola.layout import Layout
from moola.pipelines.parallel import available_cores
from moola.sweeps.task import PointTask
from moola.sweeps.workers import WarmServer, Worker, WorkerSetup

_PART = 50
"""Points that a worker names: enough to be worth its start, few enough to keep all cores busy to the end."""


class WrongPointsError(ConfigError):
    """Points of a sweep are wrong; the problems of all of them."""


@dataclass(frozen=True)
class CheckedPoint:
    """What a point is.

    Attributes:
        run_id: of the run.
        name: of its experiment.
        folders: of the run, absolute.
    """

    run_id: str
    name: str
    folders: Layout

    @property
    def run_folder(self) -> Path:
        """Where its results are, or will be."""
        return self.folders.results / self.run_id


@dataclass(frozen=True)
class Refused:
    """What is wrong with a point: an error taken apart, for it goes from one process to another."""

    problems: tuple[str, ...]
    way_out: str
    exit_code: int


def check_points(
    server: WarmServer, task: PointTask, config_loader: Any, config: Any, points: Sequence[Sequence[str]]
) -> list[CheckedPoint]:
    """What every point is, in order.

    Args:
        server: a worker of it composes them.
        task: of the sweep.
        config_loader, config: of Hydra.
        points: words of each.

    Raises:
        WrongPointsError: the problems of all points, each once with the first point that has it.
    """
    setup = WorkerSetup(task.directory)
    found = server.call(_check_here, task, config_loader, config, [list(words) for words in points], setup=setup)
    refused = {place: one for place, one in enumerate(found) if isinstance(one, Refused)}
    if refused:
        raise _all_of(refused, points)
    return found


def name_points(
    server: WarmServer, task: PointTask, config_loader: Any, config: Any, points: Sequence[Sequence[str]]
) -> list[CheckedPoint | None]:
    """What every point is, in order, by as many workers as there are cores; None where something is wrong with it.

    Args:
        server: of the workers.
        task: of the sweep.
        config_loader, config: of Hydra.
        points: words of each.

    Raises:
        MoolaError: a worker was killed.
    """
    setup = WorkerSetup(task.directory)
    parts = [points[place : place + _PART] for place in range(0, len(points), _PART)]
    waiting = iter(range(len(parts)))
    at_work: dict[int, Worker] = {}
    named: dict[int, list[CheckedPoint | Refused]] = {}
    while len(named) < len(parts):
        for part in itertools.islice(waiting, available_cores() - len(at_work)):
            words = [list(point) for point in parts[part]]
            at_work[part] = server.start(_check_here, task, config_loader, config, words, setup=setup)
        server.wait(at_work.values())
        for part in [part for part, worker in at_work.items() if worker.ended is not None]:
            named[part] = at_work.pop(part).result()
    found = itertools.chain.from_iterable(named[part] for part in range(len(parts)))
    return [one if isinstance(one, CheckedPoint) else None for one in found]


def _all_of(refused: dict[int, Refused], points: Sequence[Sequence[str]]) -> WrongPointsError:
    """One error of all points' problems."""
    places: dict[str, list[int]] = {}
    for place, one in refused.items():
        for problem in one.problems:
            places.setdefault(problem, []).append(place)
    told = [problem + _where(found, points) for problem, found in places.items()]
    error = WrongPointsError(told, "; ".join(dict.fromkeys(one.way_out for one in refused.values() if one.way_out)))
    codes = {one.exit_code for one in refused.values()}
    error.exit_code = codes.pop() if len(codes) == 1 else ConfigError.exit_code
    return error


def _where(places: Sequence[int], points: Sequence[Sequence[str]]) -> str:
    """The first of some points and how many they are; nothing where it is all of them."""
    if len(places) == len(points):
        return ""
    others = len(places) - 1
    more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
    return f" (point {' '.join(points[places[0]])}{more})"


def _check_here(
    task: PointTask, config_loader: Any, config: Any, points: Sequence[list[str]]
) -> list[CheckedPoint | Refused]:
    """In a worker."""
    return [_check_one(task, config_loader, config, words) for words in points]


def _check_one(task: PointTask, config_loader: Any, config: Any, words: list[str]) -> CheckedPoint | Refused:
    from moola.composition import is_hydras, spoken

    try:
        return _identity(task, config_loader, config, words)
    except ConfigError as error:
        return Refused(tuple(map(str, error.problems)), error.way_out, error.exit_code)
    except MoolaError as error:
        return Refused((": ".join(part for part in (error.what, error.why) if part),), error.way_out, error.exit_code)
    except Exception as error:
        if not is_hydras(error):
            raise
        return _with_others(spoken(error, words), task, config_loader, config, words)


def _with_others(problem: str, task: PointTask, config_loader: Any, config: Any, words: list[str]) -> Refused:
    """A problem that Hydra found, which stops at the first one, and those of the words that it does not name."""
    left = [word for word in words if not is_named(word, {problem.partition(":")[0]})]
    others = _check_one(task, config_loader, config, left) if len(left) < len(words) else None
    if not isinstance(others, Refused):
        return Refused((problem,), "", ConfigError.exit_code)
    return Refused((problem, *others.problems), others.way_out, ConfigError.exit_code)


def is_named(word: str, named: Collection[str]) -> bool:
    """Whether the key of a word is among those named, or ``KEY=VALUE`` with one of its values is."""
    key, _, values = word.lstrip("+~").partition("=")
    return key in named or any(f"{key}={value}" in named for value in values.split(","))


def _identity(task: PointTask, config_loader: Any, config: Any, words: list[str]) -> CheckedPoint:
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import setup_globals
    from omegaconf import open_dict

    from moola.config import from_omegaconf
    from moola.pipelines.assembly import assemble, run_identity

    setup_globals()
    composed = config_loader.load_sweep_config(config, words)
    HydraConfig.instance().set_config(composed)
    with open_dict(composed):
        del composed["hydra"]
    checked = from_omegaconf(composed, lambda config: assemble(config, task.target))
    run_id = run_identity(checked, assemble(checked, task.target, here=task.here))
    folders = Layout(task.directory / checked.paths.data, task.directory / checked.paths.artifacts)
    return CheckedPoint(run_id, checked.name, folders)
