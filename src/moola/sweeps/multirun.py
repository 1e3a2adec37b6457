"""``moola JOB -m``: a grid of runs, checked before it starts; repeated, it runs only what is missing."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moola.config import ConfigProblems
from moola.errors import EXIT_FAILED, ConfigError, MoolaError, StorageError
from moola.pipelines.events import now
from moola.pipelines.sweep_record import (
    Point,
    PointState,
    Sweep,
    log_path,
    read_states,
    read_sweep,
    run_of,
    sweeps_folder,
    told_points,
    write_state,
)
from moola.sweeps.checking import CheckedPoint, WrongPointsError, check_points, is_named, name_points
from moola.sweeps.grid import Grid, identifying, read_grid
from moola.sweeps.launching import check_launcher, launch_points, settle_launcher
from moola.sweeps.lifeline import Owner, let_go
from moola.sweeps.record import is_whole, only_one, sweep_id
from moola.sweeps.task import PointTask
from moola.sweeps.watching import SweepWatch
from moola.sweeps.workers import WarmServer

MANY = 10_000
"""Points, beyond which it is asked whether so many are meant."""
_EACH = 200
"""Points up to which each is checked before the first one starts; it takes a tenth of a second a point."""
_OURS = {"sweeper": "moola", "launcher": "local"}
"""What Hydra's defaults, both called ``basic``, stand for here."""


class FailedPointsError(MoolaError):
    """Points of a sweep failed; the others are finished."""

    exit_code = EXIT_FAILED


def is_multirun(words: Sequence[str]) -> bool:
    """Whether words of a job ask for several runs."""
    return bool({"-m", "--multirun"} & set(words))


def multirun(job: str, words: Sequence[str], line: str = "") -> None:
    """Run a job for every point of a grid.

    Args:
        job: ``run`` or the stage that points end with.
        words: overrides and flags, ``-m`` among them; ``--yes`` agrees to more than `MANY` points.
        line: the command as it was given, for the record; empty: it was ``moola JOB WORDS``.

    Raises:
        ConfigError: the grid is empty or too large, or points of it are wrong: all problems, before anything starts.
        StorageError: another process is at the same sweep.
        FailedPointsError: some points failed.
        KeyboardInterrupt: the command was told to end.
    """
    own = [word for word in words if word != "--yes"]
    task = PointTask(job, line or shlex.join(["moola", job, *own]), Path.cwd(), agreed="--yes" in words)
    problems = ConfigProblems()
    with _basic_is_ours(), _pods_of(own, problems) as own:
        if problems:
            problems.attempt(lambda: _check_only(task, own))
            raise problems.error()
        try:
            _compose(task, own)
        except WrongPointsError:
            raise  # has all problems
        except ConfigError as error:
            raise _with_others(error, task, own) from error


@contextlib.contextmanager
def _pods_of(words: Sequence[str], problems: ConfigProblems) -> Iterator[list[str]]:
    """The words without those about pods, which the launcher `moola_pod` alone understands."""
    if not any(word.endswith("launcher=moola_pod") for word in words):
        yield list(words)
        return
    from moola.sweeps.pod_launcher import pods_of

    with pods_of(words, problems) as rest:
        yield rest


def _compose(task: PointTask, words: Sequence[str]) -> None:
    from moola.composition import compose_and_call

    empty = [word for word in words if word.endswith("=") and not word.startswith("-")]
    if empty:
        raise ConfigError(
            [f"{word}: names no value, so there is no point; text without a letter is {word}''" for word in empty],
            "give each key at least one value: KEY=A,B",
        )
    compose_and_call(task.job, list(words), task)


@contextlib.contextmanager
def _basic_is_ours() -> Iterator[None]:
    """Hydra's defaults stand for ours, so that a configuration or a word that names others is followed."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # finds ours
    store = ConfigStore.instance()
    before = {kind: store.load(f"hydra/{kind}/basic.yaml") for kind in _OURS}
    for kind, name in _OURS.items():
        ours = store.load(f"hydra/{kind}/{name}.yaml")
        store.store(group=f"hydra/{kind}", name="basic", node=ours.node, provider="moola")
    try:
        yield
    finally:
        for kind, known in before.items():
            store.store(group=f"hydra/{kind}", name="basic", node=known.node, provider="hydra")


def _with_others(error: ConfigError, task: PointTask, words: Sequence[str]) -> ConfigError:
    """The same error with the problems that Hydra, which stops at the first one, has not come to."""
    problems = ConfigProblems()
    problems.take(error)
    named = {str(problem).partition(":")[0] for problem in error.problems}
    left = [word for word in words if not is_named(word, named)]
    if len(left) < len(words):
        problems.attempt(lambda: _check_only(task, left))
    if any(name.startswith("hydra/launcher=") for name in named):
        way_out = "launchers of other packages: pip install 'moola[slurm]', 'moola[ray]' or hydra-joblib-launcher"
        return ConfigError(problems, way_out)
    found = problems.error()
    found.exit_code = error.exit_code
    return found


def _check_only(task: PointTask, words: Sequence[str]) -> None:
    try:
        _compose(replace(task, only_check=True), words)
    except WrongPointsError:
        raise
    except ConfigError as error:
        raise _with_others(error, task, words) from error


def run_grid(task: PointTask, hydra_context: Any, config: Any, words: Sequence[str]) -> dict[int, PointState]:
    """What the sweeper does: check the points, keep a record, launch what is missing, show the table.

    Args:
        task: of the sweep, whose points are not known yet.
        hydra_context, config: of Hydra.
        words: overrides, several values among them.

    Raises:
        MoolaError: see `multirun`.
    """
    grid = read_grid(words, hydra_context.config_loader)
    _refuse_many(grid, task)
    target = str(config.hydra.launcher.get("_target_", ""))
    here = target.endswith(".LocalLauncher")  # submitit's has this name, too
    owner = (
        None if target.startswith("hydra_plugins.moola_") or target.endswith(".SlurmLauncher") else Owner.this_process()
    )
    problems = ConfigProblems()
    problems.attempt(lambda: check_launcher(task, hydra_context, config))
    with WarmServer() as server:
        named = replace(task, here=here)
        points, known = _checked(server, named, hydra_context, config, grid, problems)
        if task.only_check:
            return {}
        for folders in dict.fromkeys(one.folders for one in known.values()):
            folders.check_writable()
        first = known[0]
        name = sweep_id(first.name, task.job, identifying([word for words in grid.choices.values() for word in words]))
        folder = sweeps_folder(first.folders.results) / name
        if len(known) < len(points) and not _is_forced(words):
            points, known = _named(server, named, hydra_context, config, points, read_states(folder))
    sweep = Sweep(folder, task.job, task.line, _began(folder), tuple(grid.swept), points)
    finished = {} if _is_forced(words) else _finished(sweep, known)
    missing = [point for point in points if point.number not in finished]
    if missing:
        check_launcher(task, hydra_context, config, missing)
    with only_one(folder):
        sweep.write()
        states = _run_missing(sweep, replace(task, folder=folder, owner=owner), hydra_context, config, finished)
    is_read = _show(sweep)
    ends = [(point, states.get(point.number) or _unread(point)) for point in points]
    bad = [(point, state) for point, state in ends if state.status != "finished"]
    if bad:
        raise FailedPointsError(
            f"{len(bad)} of {told_points(len(points))} failed",
            "\n".join(f"- {point.number} ({sweep.differing(point)}): {_why(state)}" for point, state in bad),
            f"the same command runs only these again; moola sweep logs {name} NUMBER shows what one printed",
        )
    if not is_read:
        raise BrokenPipeError
    return states


def _refuse_many(grid: Grid, task: PointTask) -> None:
    """Ask about a grid that nobody may have meant."""
    if len(grid) <= MANY or task.agreed:
        return
    told = f"the grid has {len(grid):,} points: " + " x ".join(f"{len(w):,} {key}" for key, w in grid.swept.items())
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"moola: {told}. Run them all? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise ConfigError([told], "give fewer values, or agree with --yes")


def _checked(
    server: WarmServer, task: PointTask, hydra_context: Any, config: Any, grid: Grid, problems: ConfigProblems
) -> tuple[tuple[Point, ...], dict[int, CheckedPoint]]:
    """The points of a grid, each run once, and what they are, by number; of a big grid the first one alone.

    Raises:
        WrongPointsError: what is wrong with them, beside the problems that are known.
    """
    overrides = list(grid)
    if is_big := len(grid) > _EACH:
        _say(f"{told_points(len(grid))}: every value is checked now, points themselves as they come")
    try:
        found = check_points(server, task, hydra_context.config_loader, config, grid.samples if is_big else overrides)
    except WrongPointsError as error:
        if not problems:
            raise
        problems.take(error)
        found = []
    if problems:
        told = problems.error()
        raise WrongPointsError(told.problems, told.way_out)
    if is_big:
        return tuple(Point(number, words, "") for number, words in enumerate(overrides)), {0: found[0]}
    numbers: dict[Path, int] = {}
    points: list[Point] = []
    for number, (words, one) in enumerate(zip(overrides, found, strict=True)):
        same = numbers.setdefault(one.run_folder, number)
        if same == number:
            points.append(Point(number, words, one.run_id))
        elif not task.only_check:
            _say(f"point {number} is the same run as point {same}, and runs once: {' '.join(words)}")
    return tuple(points), {point.number: found[point.number] for point in points}


def _named(
    server: WarmServer,
    task: PointTask,
    hydra_context: Any,
    config: Any,
    points: tuple[Point, ...],
    states: Mapping[int, PointState],
) -> tuple[tuple[Point, ...], dict[int, CheckedPoint]]:
    """Points of a big grid, where those that finished before are named anew: data or code may have changed since."""
    before = [point for point in points if point.number in states and states[point.number].status == "finished"]
    if before:
        _say(f"{told_points(len(before))} finished before: each is looked at, whether it still is the same run")
    words = [point.overrides for point in before]
    found = name_points(server, task, hydra_context.config_loader, config, words)
    known = {point.number: one for point, one in zip(before, found, strict=True) if one is not None}
    named = (replace(point, run_id=known[point.number].run_id) if point.number in known else point for point in points)
    return tuple(named), known


def _began(folder: Path) -> str:
    try:
        return read_sweep(folder).started
    except (StorageError, ConfigError):  # there is none yet, or none that says it
        return now()


def _is_forced(words: Sequence[str]) -> bool:
    return any(re.match(r"\+*force=\[.", word) for word in words)


def _run_missing(
    sweep: Sweep, task: PointTask, hydra_context: Any, config: Any, finished: Mapping[int, PointState]
) -> dict[int, PointState]:
    """Launch the points that are not finished; the state of every point."""
    for state in finished.values():
        write_state(sweep.folder, state)
    missing = [point for point in sweep.points if point.number not in finished]
    task = replace(task, spent=_spent(sweep))
    for point in missing:  # what an earlier attempt left is no state of this one
        (sweep.folder / "points" / f"{point.number:05d}.json").unlink(missing_ok=True)
    log_path(sweep.folder, 0).parent.mkdir(exist_ok=True)
    known = f", {len(finished)} of them finished before" if finished else ""
    _say(f"sweep {sweep.folder.name}: {told_points(len(sweep.points))}{known}")
    if missing:
        with SweepWatch(sweep, len(finished), sys.stderr):
            try:
                launch_points(task, hydra_context, config, missing)
            except KeyboardInterrupt:
                _end_states(sweep, task, config)
                raise
    else:
        settle_launcher(replace(task, folder=sweep.folder), hydra_context, config)
    return read_states(sweep.folder)


def _spent(sweep: Sweep) -> dict[int, float]:
    """Seconds of earlier attempts at the runs that points are still, by number; a finished one is no attempt."""
    states = read_states(sweep.folder)
    return {
        point.number: state.seconds
        for point in sweep.points
        if (state := states.get(point.number)) is not None
        and state.seconds is not None
        and state.status != "finished"
        and (not point.run_id or run_of(point, state) == point.run_id)
    }


def _finished(sweep: Sweep, known: Mapping[int, CheckedPoint]) -> dict[int, PointState]:
    """States of points whose run is finished, its files whole, whoever ran it; by number.

    Which run a point is, its configuration, code and data say today: an earlier attempt may have been another run.
    """
    states = read_states(sweep.folder)
    found: dict[int, PointState] = {}
    for number, one in known.items():
        if not is_whole(one.run_folder):
            continue
        state = states.get(number)
        if state is None or state.status != "finished" or Path(state.run_folder).name != one.run_id:
            state = PointState(number, "finished", str(one.run_folder), why="was there before the sweep")
        found[number] = state
    return found


def _end_states(sweep: Sweep, task: PointTask, config: Any) -> None:
    """Points that a launcher did not end itself are interrupted, too; jobs of Slurm go on."""
    if str(config.hydra.launcher.get("_target_", "")).endswith(".SlurmLauncher"):
        _say("jobs that Slurm has go on without this command: end them with scancel")
        return
    if task.owner is not None:
        let_go(sweep.folder)
    for state in read_states(sweep.folder).values():
        if state.status == "running":
            write_state(sweep.folder, replace(state, status="interrupted", why="interrupted", finished=now()))


def _unread(point: Point) -> PointState:
    """A point whose state somebody tore: nobody knows that it finished."""
    return PointState(point.number, "failed", why="its state cannot be read")


def _why(state: PointState) -> str:
    why = state.why.splitlines() or [state.status]
    return why[0] if len(why) == 1 else f"{why[0]} -> {why[-1]}"  # the log has what is between


def _show(sweep: Sweep) -> bool:
    """Print the table; whether somebody reads it. Failed points are told to a reader that has gone, too."""
    from moola.sweeps.table import tabulate_sweep

    told = f"\n{tabulate_sweep(sweep).text()}\n{sweep.folder}"
    try:
        print(told, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
        return False
    return True


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
