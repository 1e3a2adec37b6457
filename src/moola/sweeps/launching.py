"""What Hydra's launchers give back for each point, and points that a launcher has lost."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from moola.config import override
from moola.errors import ConfigError, MoolaError, did_you_mean
from moola.pipelines.sweep_record import SWEEP_VARIABLE, Point, PointState, read_states, write_state
from moola.sweeps.task import PointTask

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

_UNKNOWN_KEY = re.compile(r"unexpected keyword argument '(\w+)'")
_FINAL = ("finished", "failed")


class LeftPointError(MoolaError):
    """A point that its launcher leaves for now and would not try again: another client has it, or nothing takes it."""


_LAUNCHES = 2
"""How often points are given to a launcher that leaves them without an end: a machine may be lost once."""


def completed(overrides: Sequence[str], run_folder: str) -> JobReturn:
    """Of a point that is finished."""
    from hydra.core.utils import JobReturn, JobStatus

    return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=run_folder)


def failed(overrides: Sequence[str], error: BaseException) -> JobReturn:
    """Of a point that failed; who asks for its value gets the error raised."""
    from hydra.core.utils import JobReturn, JobStatus

    return JobReturn(overrides=list(overrides), status=JobStatus.FAILED, _return_value=error)


def check_launcher(task: PointTask, hydra_context: Any, config: Any, points: Sequence[Point] = ()) -> None:
    """Refuse a launcher whose keys are wrong, that cannot be made, or that could run none of its points.

    Args:
        task: of the sweep.
        hydra_context, config: of Hydra.
        points: those that it is to run; none: its keys alone are looked at.

    Raises:
        MoolaError: says what is wrong with it.
    """
    try:
        launcher = _make_launcher(task, hydra_context, config)
        if (check := getattr(launcher, "check", None)) is not None:
            check(points)
    except Exception as error:  # of somebody else's code
        raise _of_launcher(config, error) from error


def settle_launcher(task: PointTask, hydra_context: Any, config: Any) -> None:
    """Have a launcher end what it may have left on, of a sweep whose points are all finished.

    Raises:
        MoolaError: something could not be ended.
    """
    if (settle := getattr(_make_launcher(task, hydra_context, config), "settle", None)) is not None:
        settle()


def launch_points(task: PointTask, hydra_context: Any, config: Any, points: Sequence[Point]) -> dict[int, PointState]:
    """Have the launcher that the configuration names run points; the state of each, by number.

    Args:
        task: of the sweep, which knows its folder.
        hydra_context, config: of Hydra.
        points: those that are missing.

    Raises:
        MoolaError: the launcher failed before any point began.
        KeyboardInterrupt: the command was told to end.
    """
    folder = task.sweep_folder
    os.environ[SWEEP_VARIABLE] = folder.name
    why = "its launcher left it without a result"
    lost = list(points)
    for _ in range(_LAUNCHES):
        before, left = read_states(folder), set[int]()
        try:
            left = _launch(task.under_way(folder, tuple(lost)), hydra_context, config)
        except Exception as error:  # of somebody else's code, which may have run half of the points
            if read_states(folder) == before:
                raise _of_launcher(config, error) from error
            why = f"its launcher ended: {type(error).__name__}: {error}"
        lost = [point for point in _without_end(folder, lost) if point.number not in left]
        if not lost:
            break
    for point in lost:
        write_state(folder, PointState(point.number, "failed", why=why))
    states = read_states(folder)
    return {point.number: states[point.number] for point in points}


def _launch(task: PointTask, hydra_context: Any, config: Any) -> set[int]:
    """Give the pending points to the launcher; numbers of those that it leaves, whose states say why."""
    from omegaconf import OmegaConf, open_dict

    own = cast("DictConfig", OmegaConf.create(config))
    place = {"dir": str(task.sweep_folder), "subdir": "."}
    with open_dict(own):
        own.hydra.sweep.dir, own.hydra.sweep.subdir = place.values()
        own.hydra.overrides.hydra += [override(f"hydra.sweep.{key}", value) for key, value in place.items()]
    returned = _make_launcher(task, hydra_context, own).launch(
        [list(point.overrides) for point in task.pending], initial_job_idx=0
    )
    ends = {point.number: one._return_value for point, one in zip(task.pending, returned or (), strict=False)}
    return {number for number, value in ends.items() if isinstance(value, LeftPointError)}


def _make_launcher(task: PointTask, hydra_context: Any, config: Any) -> Launcher:
    from hydra.core.plugins import Plugins

    return Plugins.instance().instantiate_launcher(hydra_context=hydra_context, task_function=task, config=config)


def _without_end(folder: Path, points: Sequence[Point]) -> list[Point]:
    states: Mapping[int, PointState] = read_states(folder)
    return [point for point in points if point.number not in states or states[point.number].status not in _FINAL]


def _of_launcher(config: Any, error: Exception) -> MoolaError:
    """What a user is told of a launcher that cannot start."""
    if isinstance(error, MoolaError):
        return error
    if isinstance(error, TypeError) and (found := _UNKNOWN_KEY.search(str(error))) is not None:  # given with a plus
        key, known = found[1], [str(own) for own in config.hydra.launcher if own not in ("_target_", found[1])]
        return ConfigError([f"hydra.launcher.{key}: there is no such key; {did_you_mean(key, known)}"])
    name = str(config.hydra.runtime.choices.get("hydra/launcher", "")).replace("basic", "local")
    return MoolaError(
        f"the launcher '{name}' failed before any point began",
        f"{type(error).__name__}: {error}",
        "mend its keys (hydra.launcher.KEY=VALUE), or choose another: hydra/launcher=local",
    )
