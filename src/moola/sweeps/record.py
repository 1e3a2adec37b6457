"""The folder of a sweep: which points there are, what became of each, and what each printed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.config import digest_json, structure
from moola.errors import ConfigError, DataError, MoolaError, StorageError, did_you_mean
from moola.layout import changed_files, is_locked, lock_at_once, read_json, write_json
from moola.sweeps.point import Point

LOCK = ".lock"
"""Of whoever is at a sweep; it holds the number of that process."""
_DIGITS = 12


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


def sweep_id(name: str, job: str, words: Sequence[str]) -> str:
    """Name of a sweep: the same job with the same words is the same sweep, whatever launches it."""
    return f"{name}-{digest_json([job, list(words)])[:_DIGITS]}"


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


def is_whole(run_folder: Path) -> bool:
    """Whether a run is finished, and every file is what its manifest says."""
    try:
        manifest: Mapping[str, Any] = read_json(run_folder / "manifest.json")
        return manifest["status"] == "finished" and not changed_files(run_folder, manifest["files"])
    except (StorageError, KeyError, AttributeError, TypeError):
        return False


def is_under_way(folder: Path) -> bool:
    """Whether a command is at the sweep of a folder now."""
    return is_locked(folder / LOCK)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One process at a time at a sweep.

    Raises:
        StorageError: another process is at it; it is named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as handle:
        if not lock_at_once(handle):
            handle.seek(0)
            raise StorageError(
                f"the sweep {folder.name} is under way in another process",
                f"process {handle.read().strip() or 'unknown'} holds {folder}",
                f"wait for it, or look at it: moola sweep show {folder.name}",
            )
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield
