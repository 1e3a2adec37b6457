"""A point of a sweep, and what became of it: one small file each, so that any launcher on any machine can write it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moola.config import structure
from moola.layout import read_json, write_json

Status = Literal["running", "finished", "failed", "interrupted"]


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
        seconds: wall time.
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


def told_points(n: int) -> str:
    """So many points, in words."""
    return f"{n:,} point{'' if n == 1 else 's'}"


def write_state(sweep_folder: Path, state: PointState) -> None:
    """Keep the state of a point, in place of the one before: ``points/<number>.json`` of the sweep's folder."""
    write_json(sweep_folder / "points" / f"{state.number:05d}.json", dataclasses.asdict(state))


def read_states(sweep_folder: Path) -> dict[int, PointState]:
    """States by number; points that were never begun have none."""
    files = sorted((sweep_folder / "points").glob("[0-9]*.json"))
    states = (structure(PointState, read_json(path), path.name) for path in files)
    return {state.number: state for state in states}
