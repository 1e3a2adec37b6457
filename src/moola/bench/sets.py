"""Which labelled sets a bench runs on, and the overrides that choose each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moola.config import override
from moola.data.sources.ucr import bundled_names
from moola.errors import ConfigError, did_you_mean

ECG200 = "ECG200"
BUNDLED = (
    "ItalyPowerDemand",
    "GunPoint",
    "ArrowHead",
    "BasicMotions",
    "JapaneseVowels",
    "OSULeaf",
    "ACSF1",
    ECG200,
)
"""Sets with published figures beside which ours can stand: all but the last ship inside aeon. Cheapest first."""
_ENDINGS = (".ts", ".tsv", ".ts.gz", ".tsv.gz", ".csv", ".csv.gz")


@dataclass(frozen=True)
class BenchSet:
    """One labelled set.

    Attributes:
        name: as in the archive.
        words: overrides that choose it.
    """

    name: str
    words: tuple[str, ...]


def choose_sets(asked: Sequence[str], folder: Path | None) -> list[BenchSet]:
    """The sets asked for, in order.

    Args:
        asked: names; ``bundled`` stands for `BUNDLED`, ``all`` for every set in the folder.
        folder: with sets of one's own, each as ``NAME_TRAIN`` and ``NAME_TEST`` inside it or inside ``folder/NAME``;
            these come before sets of the same name that aeon ships.

    Raises:
        ConfigError: ``all`` without a folder, a folder without a set; sets that are not known or asked for twice.
    """
    own = _in_folder(folder) if folder else {}
    if folder and not own:
        raise ConfigError(
            [f"data.path: there is no set in {folder}"],
            "put NAME_TRAIN.ts and NAME_TEST.ts into it, or into a folder NAME",
        )
    if "all" in asked and not folder:
        raise ConfigError(
            ["--sets all: means every set in a folder, and none is named"], "name it with data.path=FOLDER"
        )
    named = {"all": tuple(own), "bundled": BUNDLED}
    names = [name for one in asked for name in named.get(one, (one,))]
    twice = sorted({name for name in names if names.count(name) > 1})
    known = {*own, *bundled_names(), ECG200}
    problems = [f"--sets: '{name}' is asked for twice" for name in twice]
    problems += [
        f"--sets: there is no set named '{name}'; {did_you_mean(name, known)}" for name in names if name not in known
    ]
    if problems:
        raise ConfigError(problems, "sets of your own come from a folder: data.path=FOLDER")
    return [own.get(name) or _shipped(name) for name in names]


def _shipped(name: str) -> BenchSet:
    """A set that aeon ships or that is fetched."""
    if name == ECG200:
        return BenchSet(name, ("data=ecg200",))
    # Cases of one length stay as they are; JapaneseVowels is padded in the published figures, too.
    return BenchSet(name, ("data=ucr", override("data.name", name), "data.unequal=pad"))


def _in_folder(folder: Path) -> dict[str, BenchSet]:
    """Name -> set, of all that lie there with both parts."""
    if not folder.is_dir():
        raise ConfigError([f"data.path: {folder} is no folder"], "name one that holds sets")
    found: dict[str, BenchSet] = {}
    for train in sorted([*folder.glob("*_TRAIN.*"), *folder.glob("*/*_TRAIN.*")]):
        name, _, ending = train.name.partition("_TRAIN")
        test = train.with_name(f"{name}_TEST{ending}")
        if ending in _ENDINGS and test.is_file() and name not in found:
            files = (override("data.train", str(train)), override("data.test", str(test)))
            found[name] = BenchSet(name, ("data=series_files", *files, "data.unequal=pad"))
    return found


def unwanted_models(asked: Sequence[str], models: Sequence[str]) -> list[str]:
    """Those of the run's models that were not asked for.

    Raises:
        ConfigError: a model is asked for that the run does not have.
    """
    unknown = [name for name in asked if name not in models]
    if unknown:
        raise ConfigError(f"--models: there is no model '{name}'; {did_you_mean(name, models)}" for name in unknown)
    return [name for name in models if name not in asked]
