"""Finished runs as their folders tell them: wherever they lie, whoever made them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from moola.errors import DataError, MoolaError, StorageError, did_you_mean
from moola.evaluation.estimates import Estimate
from moola.layout import changed_files, read_json
from moola.pipelines.predictions import STACKED, Predictions
from moola.pipelines.rented import Rented, read_rented
from moola.pipelines.scores import SplitName, read_estimate

SPLITS: Mapping[SplitName, str] = MappingProxyType({"test": "Sealed test", "oof": "Out of fold"})
"""What splits are called on pages, the one that readers ask for first."""
PAGES = ("compare.html", "review-report.html")
"""Pages of `moola compare` and `moola labels report`, whose folders lie beside those of runs."""
_COLUMNS = {
    "run_id": pl.String,
    "experiment": pl.String,
    "model": pl.String,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "seeds": pl.Int64,
}


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end, and what its folder holds.

    Attributes:
        folder: the run folder.
        manifest: ``manifest.json``.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.manifest["run_id"]

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return self.manifest["name"]

    def has(self, name: str) -> bool:
        """Whether the run left such a file, e.g. ``"stack.parquet"``."""
        return name in self.manifest["files"]

    def file(self, name: str) -> Path:
        """A file of the run folder that still is what the run left there.

        Raises:
            StorageError: it is missing, was edited or cannot be read, or the run left none.
        """
        if not self.has(name):
            if self._is_all():
                why, way_out = "by its configuration the run makes none", "name a run that evaluates its models"
            else:
                why = f"the run made none on its way to '{self.manifest['target']}'"
                way_out = f"go on: moola run --config-path {self.folder}"
            raise StorageError(f"{self.folder} has no {name}", why, way_out)
        changed = changed_files(self.folder, {name: self.manifest["files"][name]})
        if changed:
            raise StorageError(
                f"{self.folder / name} {changed[name]}",
                "figures of a folder that was changed since are no figures of that run",
                "put the file back: copy the run folder again, or repeat the command of the run",
            )
        return self.folder / name

    def _is_all(self) -> bool:
        """Whether the run makes no more, however far it goes: its configuration leaves the evaluation out."""
        if self.manifest["target"] == "run":
            return True
        import yaml

        try:
            stages = yaml.safe_load((self.folder / "config.yaml").read_text())["stage"]
            return "evaluate" not in stages["order"] or "evaluate" in stages["skip"]
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return False

    @cached_property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """``metrics.json``."""
        return read_json(self.file("metrics.json"))

    @cached_property
    def figures(self) -> Mapping[tuple[str, str, str], Estimate]:
        """(split, model, metric) -> figure."""
        return {(row["split"], row["model"], row["metric"]): read_estimate(row) for row in self.rows}

    @cached_property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """Model -> what it is; stacks, which are made of the others, among them where they were scored."""
        kinds = dict(self._head["models"])
        return {**kinds, **{model: STACKED for _, model, _ in self.figures if model not in kinds}}

    @property
    def block_steps(self) -> int:
        """Steps of time over which windows depend on each other; 1 for cases that do not."""
        return self._head["block_steps"]

    @cached_property
    def _head(self) -> Mapping[str, Any]:
        return read_json(self.file("models.json"))

    @cached_property
    def as_given(self) -> Mapping[str, Estimate]:
        """Model -> headline figure out of fold on the labels as given, by which the verdict chose."""
        return {model: read_estimate(found) for model, found in self._summary["as_given"].items()}

    @property
    def alarms(self) -> Sequence[Mapping[str, Any]]:
        """What fired."""
        return self._summary["alarms"]

    @property
    def verdict(self) -> Sequence[str]:
        """Three sentences."""
        return self._summary["verdict"]

    @cached_property
    def _summary(self) -> Mapping[str, Any]:
        return read_json(self.file("summary.json"))

    @cached_property
    def judged(self) -> pl.DataFrame:
        """The windows that models were judged on: ``window_id``, ``split``, ``true_label``, ``step``."""
        return pl.read_parquet(self.file("judged.parquet"))

    def predictions(self) -> Predictions:
        """What all models said of them."""
        names = [name for name in ("oof.parquet", "stack.parquet") if self.has(name)]
        table = pl.concat([pl.read_parquet(self.file(name)) for name in names])
        return Predictions(table, self.models, tuple(self._head["classes"]), pl.DataFrame())

    @cached_property
    def rented(self) -> Rented | None:
        """What its machines cost; None where nobody rented one."""
        return read_rented(self.folder)

    @property
    def chosen(self) -> str | None:
        """The model that the verdict chose; None where there was none to choose."""
        return self._summary["chosen"]


def open_run(folder: Path) -> FinishedRun:
    """The run of a folder; predictions are looked at when they are asked for.

    Raises:
        StorageError: it has not come to its end, or its files are not what its run left.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        status = manifest["status"]
        if status != "finished":
            raise StorageError(f"{folder} is {status}", "only a finished run has figures", "let it finish first")
        if not isinstance(manifest["files"], dict):
            raise StorageError(
                f"{folder} does not say what its files were",
                "an older moola made the run",
                f"make it again: moola run --config-path {folder}",
            )
        run = FinishedRun(folder, manifest)
        for part in (
            "run_id",
            "experiment",
            "figures",
            "as_given",
            "alarms",
            "chosen",
            "judged",
        ):  # whatever is broken shows now
            getattr(run, part)
    except (KeyError, TypeError, AttributeError, OSError, pl.exceptions.PolarsError) as error:
        why = f"its files are not what a run leaves ({type(error).__name__}: {error})"
        raise StorageError(
            f"{folder} cannot be read", why, "copy the run folder again, or make the run again"
        ) from error
    return run


def find_runs(words: Iterable[str], results: Path) -> list[Path]:
    """Run folders that are named: by run id, by folder, or as a folder of run folders.

    Args:
        words: as typed.
        results: where run ids are looked up.

    Raises:
        DataError: some name no run; near names are suggested, all in one go.
    """
    found: list[Path] = []
    unknown: list[str] = []
    known = sorted(path.parent.name for path in results.glob("*/manifest.json"))
    for word in words:
        places = [place for place in (results / word, Path(word)) if place.exists()]
        found += [run for place in places for run in _runs_at(place)]
        if not places:
            unknown.append(f"- '{word}': {_near(word, known)}")
    if unknown:
        raise DataError("there are no such runs", "\n".join(unknown), f"run ids are looked up in {results}")
    if not found:
        raise DataError("no run is named", "pages of comparisons are no runs", f"run ids are looked up in {results}")
    return list(dict.fromkeys(path.resolve() for path in found))


def _near(word: str, known: Sequence[str]) -> str:
    """As `did_you_mean`, but without a list of hundreds where nothing is near."""
    told = did_you_mean(word, known)
    return told if len(known) < 20 or told.startswith("did") else f"none of {len(known)} runs has a name like it"


def _runs_at(place: Path) -> list[Path]:
    """A run folder, those in a folder of runs, or a place that is none and will be told so."""
    if (place / "manifest.json").exists():
        return [place]
    if any((place / page).exists() for page in PAGES):  # made beside the runs
        return []
    return sorted(path.parent for path in place.glob("*/manifest.json")) or [place]


def open_runs(folders: Iterable[Path]) -> tuple[list[FinishedRun], list[MoolaError]]:
    """The finished ones of some runs, and what is wrong with each of the others."""
    runs: list[FinishedRun] = []
    broken: list[MoolaError] = []
    for folder in folders:
        try:
            runs.append(open_run(folder))
        except MoolaError as error:
            broken.append(error)
    return runs, broken


def aggregate_results(results: Path) -> tuple[pl.DataFrame, list[MoolaError]]:
    """Every figure of every finished run below `results`, with its interval and its run id.

    Runs that failed, are under way or cannot be read have no say; what is wrong with each is told.

    Raises:
        DataError: there is no finished run.
    """
    runs, broken = open_runs(sorted(path.parent for path in results.rglob("manifest.json")))
    if not runs:
        raise DataError(f"there is no finished run below {results}", "", "make one with `moola run`")
    rows = [{"run_id": run.run_id, "experiment": run.experiment, **row} for run in runs for row in run.rows]
    return pl.DataFrame(rows, schema=_COLUMNS, infer_schema_length=None), broken
