"""Many runs in one table: a figure each, the best first, and what choosing among them would be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from moola.config import digest_json
from moola.errors import DataError, MoolaError, did_you_mean
from moola.evaluation.comparison import plain
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import METRICS, known_metrics
from moola.pipelines.results import SPLITS, FinishedRun
from moola.pipelines.scores import HEADLINE, SplitName, display_name
from moola.pipelines.sealed_tests import read_openings


class NoFigureError(DataError):
    """No run has the figure that is asked for.

    Args:
        what: the same, in words.
        skipped: of each run, why.
    """

    def __init__(self, what: str, skipped: Sequence[str]) -> None:
        super().__init__(what, "\n".join(f"- {why}" for why in skipped))
        self.skipped = tuple(skipped)


@dataclass(frozen=True)
class RunRow:
    """A run with the figure of one of its models.

    Attributes:
        run: which.
        model: whose figure.
        found: the figure.
        alarms: how many of the whole run fired, notes apart.
    """

    run: FinishedRun
    model: str
    found: Estimate
    alarms: int


@dataclass(frozen=True)
class RunTable:
    """Runs by a figure, the best first.

    Attributes:
        metric, split: of the figures.
        rows: the best first; runs whose figure is not a number come last.
        skipped: runs that have no such figure, and why.
        warnings: what the order must not be taken for.
    """

    metric: str
    split: SplitName
    rows: tuple[RunRow, ...]
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def by_given(self) -> bool:
        """Whether the labels as given judge, not the truth."""
        return _is_by_given(self.metric, self.split)

    def frame(self) -> pl.DataFrame:
        """The same as a table for other programs; ends of intervals that are not known are null."""
        rows = [
            {
                "run_id": row.run.run_id,
                "experiment": row.run.experiment,
                "model": row.model,
                "split": self.split,
                "metric": self.metric,
                "judged_on": "labels as given" if self.by_given else "truth",
                **vars(row.found),
                "alarms": row.alarms,
                "cost_usd": row.run.rented.cost_usd if row.run.rented else None,
                "finished": row.run.manifest["finished"],
                "folder": str(row.run.folder),
            }
            for row in self.rows
        ]
        return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col(pl.Float64).fill_nan(None))

    def text(self) -> str:
        """The same for a terminal."""
        cells: list[tuple[str, ...]] = [
            (row.run.run_id, display_name(row.model), plain(row.found), str(row.found.seeds), str(row.alarms))
            for row in self.rows
        ]
        where = f"{SPLITS[self.split].lower()}{', labels as given' if self.by_given else ''}"
        heads: tuple[str, ...] = ("run", "model", f"{METRICS[self.metric].label}, {where}", "seeds", "alarms")
        if any(row.run.rented for row in self.rows):
            heads += ("rent",)
            rents = (row.run.rented for row in self.rows)
            cells = [(*line, f"${rent.cost_usd:.2f}" if rent else "") for line, rent in zip(cells, rents, strict=True)]
        widths = [max(len(line[column]) for line in (heads, *cells)) for column in range(len(heads))]
        return "\n".join(
            "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
            for line in (heads, *cells)
        )


def tabulate_runs(
    runs: Sequence[FinishedRun], metric: str = HEADLINE, model: str | None = None, split: SplitName | None = None
) -> RunTable:
    """One figure of every run, the best first.

    Out of fold the headline metric is on the labels as given: to choose is not to know the truth. All else is against
    the truth, as in ``metrics.json``.

    Args:
        runs: finished ones.
        metric: key of `moola.evaluation.metrics.METRICS`.
        model: whose figure; None: that of the model which each run would choose out of fold.
        split: None: the sealed test, where some run has one.

    Raises:
        ConfigError: there is no such metric.
        DataError: no run has such a model.
        NoFigureError: no run has such a figure.
    """
    known_metrics((metric,))
    split = split or ("test" if any(row["split"] == "test" for run in runs for row in run.rows) else "oof")
    models = {own for run in runs for part, own, _ in run.figures if part == split}
    if model is not None and model not in models:
        raise DataError(f"no run has a model '{model}' on '{split}'", did_you_mean(model, models))
    rows: list[RunRow] = []
    skipped: list[str] = []
    for run in runs:
        try:
            rows.append(_row(run, model, split, _figures(run, metric, split)))
        except MoolaError as error:
            skipped.append(f"{run.run_id}: {error.what}" + (f" ({error.why})" if error.why else ""))
    if not rows:
        raise NoFigureError(f"no run has {METRICS[metric].label} on '{split}'", skipped)
    sign = -1 if METRICS[metric].higher_is_better else 1
    rows.sort(key=lambda row: (math.isnan(row.found.value), sign * row.found.value, row.run.run_id))
    return RunTable(metric, split, tuple(rows), tuple(skipped), _warnings([row.run for row in rows], split))


def _is_by_given(metric: str, split: SplitName) -> bool:
    return split == "oof" and metric == HEADLINE


def _figures(run: FinishedRun, metric: str, split: SplitName) -> Mapping[str, Estimate]:
    """Model -> figure."""
    if _is_by_given(metric, split):
        return run.as_given
    return {model: found for (part, model, name), found in run.figures.items() if part == split and name == metric}


def _row(run: FinishedRun, model: str | None, split: SplitName, figures: Mapping[str, Estimate]) -> RunRow:
    name = model or run.chosen
    if name is None:
        raise DataError(
            "no model was chosen", f"{_why_none(run)}; --model NAME shows one: {', '.join(sorted(figures))}"
        )
    if name not in figures:
        raise DataError(f"it has no figure of '{name}' on '{split}'", did_you_mean(name, figures))
    return RunRow(run, name, figures[name], sum(alarm["severity"] == "alarm" for alarm in run.alarms))


def _why_none(run: FinishedRun) -> str:
    """What the verdict says of it."""
    told = next((one for one in run.verdict if one.startswith("No best model")), "")
    return told.partition(" because ")[2].rstrip(".") or "none competes out of fold without an alarm"


def _warnings(runs: Sequence[FinishedRun], split: SplitName) -> tuple[str, ...]:
    told: list[str] = []
    tests = {judged_digest(run, split) for run in runs}
    if len(tests) > 1:
        told.append(
            f"these runs were judged on {len(tests)} different sets of windows: figures of different sets cannot be "
            "ranked against each other."
        )
    if split == "test":
        told.append(
            f"{openings(runs)} runs have opened the sealed test. To choose among runs by it is to choose on the test, "
            "and the best of them then flatters: choose with --split oof."
        )
    return tuple(told)


def judged_digest(run: FinishedRun, split: SplitName) -> str:
    """Of the windows that a run was judged on, and their truth."""
    windows = run.judged.filter(pl.col("split") == split).sort("window_id")
    return digest_json([windows["window_id"].to_list(), windows["true_label"].to_list()])


def openings(runs: Sequence[FinishedRun]) -> int:
    """How many runs have looked at the sealed tests of these: they themselves, and others on the lists beside them."""
    own = {run.run_id for run in runs}
    known: set[str] = set()
    for path in {run.folder.parent.parent / "metadata" / "sealed_tests.jsonl" for run in runs}:
        listed = read_openings(path)
        digests = {one.digest for one in listed if one.run_id in own}
        known |= {one.run_id for one in listed if one.digest in digests}
    return len(own | known)
