"""The folder of a sweep: which points there are, and what became of each.

``sweep.json`` has the points, ``points/NUMBER.json`` the state of one: any launcher on any machine can write it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moola.config import structure
from moola.errors import ConfigError, DataError, MoolaError, StorageError, did_you_mean
from moola.layout import is_locked, read_json, write_json

SWEEP_VARIABLE = "MOOLA_SWEEP"
"""Environment variable: the id of the sweep or search that a run is a point of, by which trackers group runs."""
LOCK = ".lock"
"""Of whoever is at a sweep, or at a run; that of a sweep holds the number of its process."""
Status = Literal["running", "finished", "failed", "interrupted", "stopped"]
"""``stopped`` is never written: it is what `states_now` makes of ``running`` where no process is left."""


@dataclass(frozen=True)
class Point:
    """One configuration of a sweep.

    Attributes:
        number: from 0, in the order in which Hydra's sweeper names them.
        overrides: its words.
        run_id: of the run that it is.
    """

    number: int
    overrides: tuple[str, ...]
    run_id: str


@dataclass(frozen=True)
class PointState:
    """What is known of a point.

    Attributes:
        number: of the point.
        status: how far it is.
        run_folder: where its results are, or will be.
        log: what it printed.
        where: process, host or pod that has it.
        why: what went wrong, in words.
        started, finished: in UTC, ISO 8601.
        seconds: wall time of all attempts at its run whose end is known; of one that runs, of those before.
        cost_usd: rent; None where nothing was rented.
    """

    number: int
    status: Status
    run_folder: str = ""
    log: str = ""
    where: str = ""
    why: str = ""
    started: str = ""
    finished: str = ""
    seconds: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep as ``sweep.json`` has it.

    Attributes:
        folder: of the sweep; its name is the sweep's id.
        job: ``run`` or the stage that points end with.
        command: the command line.
        started: when it was first begun, in UTC, ISO 8601.
        swept: keys with several values.
        points: in the order of Hydra's sweeper; those that are the same run as another are left out.
    """

    folder: Path
    job: str
    command: str
    started: str
    swept: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def results(self) -> Path:
        """Where run folders of points lie, unless the points themselves choose their folders."""
        return self.folder.parents[1]

    def differing(self, point: Point) -> str:
        """The words of a point that others have otherwise; all of them where nothing differs."""
        own = [word for word in point.overrides if word.partition("=")[0] in self.swept]
        return " ".join(own or point.overrides)

    def write(self) -> None:
        """Keep it."""
        plain = dataclasses.asdict(self)
        del plain["folder"]
        write_json(self.folder / "sweep.json", plain)


def sweeps_folder(results: Path) -> Path:
    """Where sweeps of runs lie."""
    return results / "sweeps"


def log_path(folder: Path, number: int) -> Path:
    """What a point printed."""
    return folder / "logs" / f"{number:05d}.log"


def read_sweep(folder: Path) -> Sweep:
    """The sweep of a folder.

    Raises:
        StorageError: it has no ``sweep.json``, or one that moola did not write.
        ConfigError: a key of it is missing or wrong.
    """
    plain: Any = read_json(folder / "sweep.json")
    if not isinstance(plain, dict):
        raise StorageError(
            f"{folder / 'sweep.json'} holds no object", "", "run the same command again, which writes it"
        )
    return structure(Sweep, {**plain, "folder": folder}, "sweep.json")


def read_sweeps(results: Path) -> tuple[list[Sweep], dict[str, MoolaError]]:
    """All sweeps, the one that was written last behind, and what is wrong with those that cannot be read, by name."""
    sweeps: list[Sweep] = []
    broken: dict[str, MoolaError] = {}
    files = sorted(sweeps_folder(results).glob("*/sweep.json"), key=lambda path: path.stat().st_mtime)
    for folder in (path.parent for path in files):
        try:
            sweeps.append(read_sweep(folder))
        except (StorageError, ConfigError) as error:
            broken[folder.name] = error
    return sweeps, broken


def find_sweep(word: str | None, results: Path) -> Path:
    """The folder of a sweep that is named by id, by the first letters of one, or by folder; if not, the last one begun.

    Raises:
        StorageError, ConfigError: none is named, and none can be read.
        DataError: there is none, or several begin so; near names are given.
    """
    known = {path.parent.name: path.parent for path in sweeps_folder(results).glob("*/sweep.json")}
    if not known and (word is None or not (Path(word) / "sweep.json").exists()):
        raise DataError(f"there is no sweep in {sweeps_folder(results)}", "", "make one: moola run -m KEY=A,B")
    if word is None:
        sweeps, broken = read_sweeps(results)
        if not sweeps:
            raise next(iter(broken.values()))
        return sweeps[-1].folder
    begins = [name for name in known if name.startswith(word)]
    if word in known or len(begins) == 1:
        return known[word] if word in known else known[begins[0]]
    if (Path(word) / "sweep.json").exists():
        return Path(word).absolute()
    if begins:
        raise DataError(f"'{word}' begins the names of {len(begins)} sweeps", ", ".join(sorted(begins)), "add letters")
    raise DataError(f"there is no sweep '{word}'", did_you_mean(word, known), "see them all: moola sweep ls")


def told_points(n: int) -> str:
    """So many points, in words."""
    return f"{n:,} point{'' if n == 1 else 's'}"


def write_state(sweep_folder: Path, state: PointState) -> None:
    """Keep the state of a point, in place of the one before: ``points/<number>.json`` of the sweep's folder."""
    write_json(_state_path(sweep_folder, state.number), dataclasses.asdict(state))


def read_states(sweep_folder: Path) -> dict[int, PointState]:
    """States by number; points that were never begun have none, nor have those whose file cannot be understood."""
    states: dict[int, PointState] = {}
    for path in sorted((sweep_folder / "points").glob("[0-9]*.json")):
        if (state := _read_state(path)) is not None:
            states[state.number] = state
    return states


def read_state(sweep_folder: Path, number: int) -> PointState | None:
    """The state of one point, as `read_states` has it."""
    return _read_state(_state_path(sweep_folder, number))


def _read_state(path: Path) -> PointState | None:
    with contextlib.suppress(StorageError, ConfigError):  # no end is known: the point is begun anew
        return structure(PointState, read_json(path), path.name)
    return None


def _state_path(sweep_folder: Path, number: int) -> Path:
    return sweep_folder / "points" / f"{number:05d}.json"


def states_now(sweep_folder: Path) -> dict[int, PointState]:
    """As `read_states`, to be shown: points that say ``running`` have stopped where their process is gone."""
    states = read_states(sweep_folder)
    if is_under_way(sweep_folder):
        return states
    why = "its process has ended without a word: it was killed, or its machine"
    return {
        number: dataclasses.replace(state, status="stopped", why=why) if _is_gone(state) else state
        for number, state in states.items()
    }


def is_under_way(sweep_folder: Path) -> bool:
    """Whether a command is at the sweep of a folder now."""
    return is_locked(sweep_folder / LOCK)


def is_at_work(where: str) -> bool:
    """Whether ``HOST:PID`` is a process of this machine."""
    host, _, pid = where.rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_gone(state: PointState) -> bool:
    """Whether a point says ``running``, and nobody is at its run; on other machines the lock alone tells."""
    if state.status != "running":
        return False
    is_here = state.where.rpartition(":")[0] == socket.gethostname()
    if is_here and not is_at_work(state.where):
        return True
    return bool(state.run_folder) and not is_locked(Path(state.run_folder) / LOCK)


def run_of(point: Point, state: PointState | None) -> str:
    """Name of the run folder of a point; empty where nobody knows it yet."""
    return Path(state.run_folder).name if state is not None and state.run_folder else point.run_id
