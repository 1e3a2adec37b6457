"""Sweeps as pages show them: one whose files are not what moola writes is shown with what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moola.errors import MoolaError
from moola.pipelines.sweep_record import PointState, read_states, read_sweep, run_of, states_now, sweeps_folder


@dataclass(frozen=True)
class ShownPoint:
    """A point and what became of it.

    Attributes:
        number: of the point.
        words: what tells it from the others.
        run: name of its run folder.
        state: None: it was never begun.
    """

    number: int
    words: str
    run: str
    state: PointState | None

    @property
    def status(self) -> str:
        """Of its state, or ``waiting``."""
        return self.state.status if self.state is not None else "waiting"


@dataclass(frozen=True)
class ShownSweep:
    """A sweep.

    Attributes:
        name: its id, which is the name of its folder.
        command: that made it, in words.
        started: in UTC, ISO 8601.
        points: in order.
        why: what is wrong with its files; "" for nothing.
    """

    name: str
    command: str = ""
    started: str = ""
    points: tuple[ShownPoint, ...] = ()
    why: str = ""

    @property
    def counts(self) -> Mapping[str, int]:
        """Status -> number of points."""
        return Counter(point.status for point in self.points)


def show_sweep(folder: Path) -> ShownSweep:
    """The sweep of a folder."""
    try:
        sweep, states = read_sweep(folder), states_now(folder)
    except MoolaError as error:
        return ShownSweep(folder.name, why=f"{error.what}: {error.why}")
    points = [
        ShownPoint(point.number, sweep.differing(point), run_of(point, state), state)
        for point in sweep.points
        for state in [states.get(point.number)]
    ]
    return ShownSweep(folder.name, sweep.command, sweep.started, tuple(points))


def show_sweeps(results: Path) -> list[ShownSweep]:
    """All sweeps, the latest first."""
    folders = [path.parent for path in sweeps_folder(results).glob("*/sweep.json")]
    return sorted(map(show_sweep, folders), key=lambda sweep: (sweep.started, sweep.name), reverse=True)


def runs_of_sweep(folder: Path) -> set[str]:
    """Folder names of the runs of a sweep.

    Raises:
        MoolaError: its files are not what moola writes.
    """
    states = read_states(folder)
    return {run_of(point, states.get(point.number)) for point in read_sweep(folder).points}
