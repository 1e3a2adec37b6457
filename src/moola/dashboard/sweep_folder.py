"""What sweeps say of their points, read without an error: they may be half-written, or made by a newer moola."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from moola.errors import StorageError

SWEEPS = "sweeps"
"""The folder of sweeps among those of runs."""


@dataclass(frozen=True)
class SweepPoint:
    """A configuration of a sweep and what became of it.

    Attributes:
        number: of the point.
        words: what it overrides; where the sweep says which keys it varies, those alone.
        folder: name of its run folder; "" where it is not known.
        status: ``waiting``, ``running``, ``finished``, ``failed`` or ``interrupted``.
        why: what went wrong.
        where: process, host or pod.
        seconds: wall time.
        cost_usd: rent.
        log: file that holds what it printed.
    """

    number: int
    words: tuple[str, ...] = ()
    folder: str = ""
    status: str = "waiting"
    why: str = ""
    where: str = ""
    seconds: float | None = None
    cost_usd: float | None = None
    log: str = ""


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        name: its id, which is the name of its folder.
        folder: where it is kept.
        command: that made it, in words.
        started: in UTC, ISO 8601; "" where it is not known.
        points: in order.
        why: what is wrong with its files; "" for nothing.
    """

    name: str
    folder: Path
    command: str
    started: str
    points: tuple[SweepPoint, ...]
    why: str = ""

    @property
    def counts(self) -> Mapping[str, int]:
        """Status -> number of points."""
        return Counter(point.status for point in self.points)


def read_sweeps(results: Path) -> list[Sweep]:
    """All sweeps, the latest first."""
    folders = [path.parent for path in (results / SWEEPS).glob("*/sweep.json")]
    return sorted(map(read_sweep, folders), key=lambda sweep: (sweep.started, sweep.name), reverse=True)


def read_sweep(folder: Path) -> Sweep:
    """One sweep: ``sweep.json`` and ``points/*.json``."""
    head, why = _object(folder / "sweep.json")
    points = {point.number: point for point in _planned(head)}
    for path in sorted((folder / "points").glob("[0-9]*.json")):
        state, problem = _object(path)
        why = why or problem
        number = state.get("number")
        if isinstance(number, int):
            points[number] = _with_state(points.get(number, SweepPoint(number)), state)
    command, started = (str(head.get(name) or "") for name in ("command", "started"))
    return Sweep(folder.name, folder, command, started, tuple(points[number] for number in sorted(points)), why)


def runs_of_sweep(folder: Path) -> set[str]:
    """Folder names of the runs of a sweep.

    Raises:
        StorageError: its ``sweep.json`` cannot be read, so that some of them would be missing.
    """
    _, why = _object(folder / "sweep.json")
    if why:
        raise StorageError(f"it is not known which runs the sweep {folder.name} has", why, f"put it back in {folder}")
    return {point.folder for point in read_sweep(folder).points if point.folder}


def _object(path: Path) -> tuple[dict[str, Any], str]:
    """The object of a JSON file, or an empty one and what is wrong."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{path.name} cannot be read ({type(error).__name__}: {error})"
    return (told, "") if isinstance(told, dict) else ({}, f"{path.name} holds no object")


def _planned(head: Mapping[str, Any]) -> Iterator[SweepPoint]:
    told, swept = head.get("points"), head.get("swept")
    varied = swept if isinstance(swept, list) else []
    for place, one in enumerate(told if isinstance(told, list) else []):
        if isinstance(one, dict):
            words = one.get("overrides")
            number = one.get("number", place)
            known = tuple(map(str, words)) if isinstance(words, list) else ()
            own = tuple(word for word in known if word.partition("=")[0] in varied) or known
            yield SweepPoint(number if isinstance(number, int) else place, own, str(one.get("run_id") or ""))


def _with_state(point: SweepPoint, state: Mapping[str, Any]) -> SweepPoint:
    def number(name: str) -> float | None:
        value = state.get(name)
        return float(value) if isinstance(value, (int, float)) else None

    words = {name: str(state.get(name) or "") for name in ("run_folder", "status", "why", "where", "log")}
    folder = PurePath(words["run_folder"]).name or point.folder
    return SweepPoint(
        point.number,
        point.words,
        folder,
        words["status"],
        words["why"],
        words["where"],
        number("seconds"),
        number("cost_usd"),
        words["log"],
    )
