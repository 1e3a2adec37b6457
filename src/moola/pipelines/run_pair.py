"""Two runs side by side: what differs in how they were made, and in what came out on the same windows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl

from moola.errors import DataError
from moola.evaluation.comparison import corrected, paired_comparison
from moola.evaluation.estimates import Comparison, Estimate
from moola.evaluation.intervals import moving_block_weights
from moola.evaluation.metrics import METRICS, known_metrics
from moola.evaluation.significance import LEVEL
from moola.pipelines.predictions import Predictions
from moola.pipelines.results import FinishedRun
from moola.pipelines.run_table import openings
from moola.pipelines.scores import HEADLINE, SplitName, display_name

NOTHING = "–"
_NO_MATTER = ("force", "paths", "processes")
"""Keys that change no figure."""


@dataclass(frozen=True)
class KeyDifference:
    """A key, and what it is in either run, in words."""

    key: str
    a: str
    b: str


@dataclass(frozen=True)
class ModelPair:
    """One model in both runs, or the chosen model of each.

    Attributes:
        a, b: names of the models; "" where a run has none of that name.
        split: where.
        figure_a, figure_b: of each run by itself; None where it has none.
        compared: a minus b on the same windows; None where one is missing, or where there is nothing to test.
        adjusted: p-value after correction for all pairs of the split; nan where it is not known.
        is_same: both said the same of every window.
    """

    a: str
    b: str
    split: SplitName
    figure_a: Estimate | None
    figure_b: Estimate | None
    compared: Comparison | None = None
    adjusted: float = math.nan
    is_same: bool = False

    @property
    def name(self) -> str:
        """For people."""
        if self.a == self.b or not self.b:
            return display_name(self.a)
        return f"{display_name(self.a)} against {display_name(self.b)}" if self.a else display_name(self.b)

    @property
    def is_sure(self) -> bool:
        """Whether the difference stands among so many."""
        return self.adjusted < LEVEL

    def outcome(self, metric: str) -> str:
        """The difference in words."""
        if self.is_same:
            return "the same predictions"
        if self.compared is None:
            return "in one run only"
        if math.isnan(self.adjusted):
            return "too little data for an interval"
        if not self.is_sure:
            return "cannot be told apart"
        return f"{'A' if (self.compared.difference.value > 0) == METRICS[metric].higher_is_better else 'B'} is better"


@dataclass(frozen=True)
class RunPair:
    """What two runs have in common and what they have not.

    Attributes:
        a, b: the runs.
        metric: of figures and differences.
        configuration: keys that differ.
        origin: versions and commits that differ.
        pairs: models of both runs, on every split that can be compared.
        refused: split -> why models cannot be compared there.
        openings: runs that have looked at the sealed test.
    """

    a: FinishedRun
    b: FinishedRun
    metric: str
    configuration: tuple[KeyDifference, ...]
    origin: tuple[KeyDifference, ...]
    pairs: tuple[ModelPair, ...]
    refused: Mapping[SplitName, str]
    openings: int

    def pairs_of(self, split: SplitName) -> list[ModelPair]:
        """Those of one split."""
        return [pair for pair in self.pairs if pair.split == split]


def compare_runs(
    a: FinishedRun,
    b: FinishedRun,
    metric: str = HEADLINE,
    n_resamples: int = 1000,
    common: Collection[SplitName] = (),
) -> RunPair:
    """Compare every model of two runs on the windows that both were judged on.

    Args:
        a, b: the runs.
        metric: of figures and differences.
        n_resamples: of the bootstrap.
        common: splits of which either run may have windows that the other lacks, or know another truth of some:
            differences are on the common ones and by the truth that `a` knows, while each run's figures stay its own.

    Raises:
        ConfigError: there is no such metric.
        DataError: neither the sealed test nor the out-of-fold windows are the same in both.
        StorageError: files of one of them are not what its run left.
    """
    known_metrics((metric,))
    said = _in_one_order(a.predictions(), b.predictions())
    refused: dict[SplitName, str] = {}
    pairs: list[ModelPair] = []
    for split in reversed(get_args(SplitName)):
        try:
            windows = shared_windows(a, b, split, partly=split in common)
        except DataError as error:
            refused[split] = error.why
            continue
        truth = np.array([said[0].classes.index(name) for name in windows["true_label"]], dtype=np.int64)
        judged = _Judged(windows["window_id"], truth, _weights(a, b, windows, n_resamples))
        found = [_compared(names, (a, b), said, judged, metric, split) for names in _paired_names(a, b, split)]
        pairs += _corrected(found)
    if not pairs:
        why = "\n".join(f"- {split}: {told}" for split, told in refused.items())
        raise DataError(
            f"{a.run_id} and {b.run_id} cannot be compared",
            why,
            "compare runs of the same data, windows and split; three runs or more are listed side by side",
        )
    configuration = tuple(_differences(_configuration(a), _configuration(b)))
    origin = tuple(_differences(_origin(a.manifest), _origin(b.manifest)))
    return RunPair(a, b, metric, configuration, origin, tuple(pairs), refused, openings([a, b]))


def shared_windows(a: FinishedRun, b: FinishedRun, split: SplitName, *, partly: bool = False) -> pl.DataFrame:
    """The windows that both runs were judged on, with their truth and step, by id.

    Raises:
        DataError: they were judged on other windows or another truth (with `partly`: share none); `why` says how many
            are shared.
    """
    parts = [run.judged.filter(pl.col("split") == split).sort("window_id") for run in (a, b)]
    both = parts[0].join(parts[1], on="window_id", suffix="_b", maintain_order="left")
    other_truth = (pl.col("true_label") != pl.col("true_label_b")) & (not partly)
    changed = both.filter(other_truth | (pl.col("step") != pl.col("step_b")))
    what = "the runs were judged on other windows"
    if not len(parts[0]) or not len(parts[1]):
        raise DataError(what, f"{sum(len(part) == 0 for part in parts)} of them has no such windows")
    if not len(both) or (len(both) < max(map(len, parts)) and not partly):
        raise DataError(
            what, f"{len(parts[0]):,} windows in A and {len(parts[1]):,} in B, {len(both):,} of them shared"
        )
    if len(changed):
        raise DataError(what, f"all {len(both):,} windows are shared, and {len(changed):,} have another truth or time")
    return both


def _in_one_order(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Both with the classes in the order of the first; probabilities stand under their names."""
    if set(a.classes) != set(b.classes):
        raise DataError(
            "the runs have other classes",
            f"{', '.join(a.classes)} in A, {', '.join(b.classes)} in B",
            "compare runs of the same task",
        )
    return a, dataclasses.replace(b, classes=a.classes)


def _weights(a: FinishedRun, b: FinishedRun, windows: pl.DataFrame, n_resamples: int) -> np.ndarray:
    """Resamples of the shared windows; the longer of both dependences, as each run has it or was told it."""
    told = (_configuration(run).get("evaluation.block_bars", NOTHING) for run in (a, b))
    asked = [int(value) for value in told if value.isdigit()]
    block_steps = max(a.block_steps, b.block_steps)
    if block_steps == 1:
        return moving_block_weights(np.arange(len(windows)), 1, n_resamples)
    return moving_block_weights(windows["step"].to_numpy(), max(block_steps, *asked, 1), n_resamples)


@dataclass(frozen=True)
class _Judged:
    """Shared windows: ids [n], truth int64 [n] and resamples [n_resamples, n]."""

    ids: pl.Series
    truth: np.ndarray
    weights: np.ndarray


def _compared(
    names: tuple[str, str],
    runs: tuple[FinishedRun, FinishedRun],
    said: tuple[Predictions, Predictions],
    judged: _Judged,
    metric: str,
    split: SplitName,
) -> ModelPair:
    a, b = (run.figures.get((split, name, metric)) for run, name in zip(runs, names, strict=True))
    compared, is_same = None, False
    if a is not None and b is not None:
        one, other = (part.of_model(name, split, judged.ids) for part, name in zip(said, names, strict=True))
        is_same = np.array_equal(one, other)
        compared = None if is_same else paired_comparison(one, other, judged.truth, judged.weights, metric)
    return ModelPair(*names, split, a, b, compared, is_same=is_same)


def _corrected(pairs: Sequence[ModelPair]) -> list[ModelPair]:
    """Holm's correction for all comparisons of one split."""
    p_values = corrected([pair.compared.p_value if pair.compared else math.nan for pair in pairs])
    return [dataclasses.replace(pair, adjusted=p) for pair, p in zip(pairs, p_values, strict=True)]


def _paired_names(a: FinishedRun, b: FinishedRun, split: SplitName) -> Iterator[tuple[str, str]]:
    """What the verdicts chose, each from its own run, then every other model of either run."""
    own = [{model for part, model, _ in run.figures if part == split} for run in (a, b)]
    first = [(a.chosen, b.chosen)] if a.chosen in own[0] and b.chosen in own[1] else []
    models = [model for model in dict.fromkeys([*a.models, *b.models]) if model in own[0] | own[1]]
    same = [(model if model in own[0] else "", model if model in own[1] else "") for model in models]
    yield from dict.fromkeys([*first, *same])


def _configuration(run: FinishedRun) -> dict[str, str]:
    """Keys of ``config.yaml`` that can change a figure, each with its path, in words."""
    import yaml

    told = yaml.safe_load(run.file("config.yaml").read_text())
    return {key: value for key, value in _flat(told, "") if key.partition(".")[0] not in _NO_MATTER}


def _origin(manifest: Mapping[str, Any]) -> dict[str, str]:
    known = {name: manifest.get(name) for name in ("moola", "git_commit", "git_dirty", "versions")}
    return dict(_flat(known, ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{place}")
    else:
        yield path, str(value)


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[KeyDifference]:
    for key in sorted({*a, *b}):
        if a.get(key) != b.get(key):
            yield KeyDifference(key, a.get(key, NOTHING), b.get(key, NOTHING))
