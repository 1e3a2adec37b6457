"""From predictions to figures with intervals, paired comparisons, alarms and the verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from moola.config import reject
from moola.errors import DataError
from moola.evaluation.alarms import AlarmReport, Evidence, all_alarms, sealed_test_perhaps_seen
from moola.evaluation.comparison import compare, estimates, excludes_zero
from moola.evaluation.estimates import Alarm, Estimate
from moola.evaluation.intervals import independent_stretches, moving_block_weights
from moola.evaluation.metrics import METRICS
from moola.evaluation.sentinel_alarms import sealed_test_opened, sentinel_alarms
from moola.evaluation.verdict import Candidate, VerdictInputs, choose_best, verdict
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions

HEADLINE = "balanced_accuracy"
FINETUNED, SCRATCH = "finetuned", "scratch"
SplitName = Literal["oof", "test"]
_NAMES = {
    "finetuned": "Fine-tuned encoder (pretrained)",
    "scratch": "Same encoder from scratch",
    "pretrained_probe": "Frozen pretrained encoder + probe",
    "random_init_probe": "Random-init encoder + probe",
    "logistic_regression": "Logistic regression, simple features",
    "random_forest": "Random forest",
    "xgboost": "XGBoost",
    "minirocket": "MiniRocket",
    "multirocket_hydra": "MultiRocket-Hydra",
    "dtw": "1-NN DTW",
    "simple_lstm": "LSTM",
    "cnn_transformer": "CNN-transformer",
    "stratified": "Stratified random",
    "majority": "Majority class",
    "stack": "Stack",
    "stack_without_kernels": "Stack without kernel models",
}


def display_name(model: str) -> str:
    """How a model of the default comparison is called on a page; other models keep their own name."""
    return _NAMES.get(model, model)


@dataclass(frozen=True)
class EvaluationConfig:
    """How intervals are made.

    Attributes:
        n_resamples: of the bootstrap.
        block_bars: bars a block of the moving-block bootstrap; null: the length of a window.
    """

    n_resamples: int = 1000
    block_bars: int | None = None

    def __post_init__(self) -> None:
        reject(
            (self.n_resamples < 100, f"n_resamples: {self.n_resamples} must be at least 100"),
            (self.block_bars is not None and self.block_bars < 1, f"block_bars: {self.block_bars} must be at least 1"),
        )


@dataclass(frozen=True)
class PairedDifference:
    """``a`` minus ``b`` on the same windows."""

    a: str
    b: str
    split: SplitName
    metric: str
    difference: Estimate

    @property
    def sentence(self) -> str:
        """The difference in words."""
        if not math.isfinite(self.difference.low):
            return "too little data for an interval"
        if not excludes_zero(self.difference):
            return "cannot be told apart"
        better = (self.difference.value > 0) == METRICS[self.metric].higher_is_better
        return f"{display_name(self.a if better else self.b)} is better"


@dataclass(frozen=True)
class Findings:
    """What stages found that has a say in what figures are worth.

    Attributes:
        pretrained: whether an encoder was pretrained on the inputs of held-out folds.
        adopted: what is known of that encoder where it comes from another run (`adopt_encoder.adoption`).
        sentinels: ``sentinels.json``; None where that stage was switched off.
        opened_before: ids of other runs that scored models on the same sealed test; None where nobody knows.
    """

    pretrained: bool = False
    adopted: Mapping[str, Any] | None = None
    sentinels: Mapping[str, Any] | None = None
    opened_before: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Scores:
    """Everything that is known of all models.

    Attributes:
        figures: split -> model -> metric -> estimate.
        differences: paired, in the headline metric.
        alarms: what fired, of how many checks.
        verdict: three sentences.
    """

    figures: Mapping[SplitName, Mapping[str, Mapping[str, Estimate]]]
    differences: tuple[PairedDifference, ...]
    alarms: AlarmReport
    verdict: tuple[str, str, str]

    def to_json(self) -> dict[str, Any]:
        """As plain values, null for an end that is not known; `from_json` gives the same back."""
        return without_nan(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Out of what `to_json` gave."""
        figures = {
            split: {
                model: {name: _estimate(found) for name, found in metrics.items()} for model, metrics in models.items()
            }
            for split, models in told["figures"].items()
        }
        differences = (
            PairedDifference(**{**one, "difference": _estimate(one["difference"])}) for one in told["differences"]
        )
        alarms = AlarmReport(tuple(Alarm(**one) for one in told["alarms"]["alarms"]), told["alarms"]["n_checks"])
        return cls(figures, tuple(differences), alarms, tuple(told["verdict"]))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.json``; ends of intervals that cannot be known are null."""
        return [
            {
                "model": model,
                "split": split,
                "metric": metric,
                "value": found.value,
                "low": found.low if math.isfinite(found.low) else None,
                "high": found.high if math.isfinite(found.high) else None,
                "n": found.n,
                "seeds": found.seeds,
            }
            for split, models in self.figures.items()
            for model, metrics in models.items()
            for metric, found in metrics.items()
        ]


def without_nan(value: Any) -> Any:
    """The same plain value with None for every number that JSON cannot tell."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _estimate(told: Mapping[str, Any]) -> Estimate:
    value, low, high = (math.nan if told[name] is None else told[name] for name in ("value", "low", "high"))
    return Estimate(value, low, high, told["n"], told["seeds"])


def score(
    data: Dataset,
    predictions: Predictions,
    config: EvaluationConfig,
    n_seeds: int,
    findings: Findings | None = None,
) -> Scores:
    """Score every model out of fold and on the sealed test, against the truth where it is known.

    Args:
        data: windows, labels and folds.
        predictions: of all models.
        config: intervals.
        n_seeds: seeds of the run, for the verdict.
        findings: of other stages.
    """
    findings = findings or Findings()
    judged: dict[SplitName, pl.DataFrame] = {"oof": predictions.judged(data.labels)}
    if len(data.test):
        judged["test"] = data.test
    weights: dict[SplitName, np.ndarray] = {split: resamples(data, frame, config) for split, frame in judged.items()}
    truth: dict[SplitName, np.ndarray] = {
        split: data.class_numbers(frame["true_label"]) for split, frame in judged.items()
    }
    given = data.class_numbers(judged["oof"]["label"])
    found: dict[SplitName, dict[str, np.ndarray]] = {}
    figures: dict[SplitName, dict[str, dict[str, Estimate]]] = {}
    for split, frame in judged.items():
        models = [model for model in predictions.models if predictions.has(model, split)]
        found[split] = {model: predictions.of_model(model, split, frame["window_id"]) for model in models}
        figures[split] = {model: estimates(p, truth[split], weights[split]) for model, p in found[split].items()}
    # Choices are made on the labels as given: a user with wrong labels has no truth to choose by.
    as_given = {m: estimates(p, given, weights["oof"], names=(HEADLINE,))[HEADLINE] for m, p in found["oof"].items()}
    stretches = None
    if len(data.test) and not data.store.independent:
        stretches = independent_stretches(data.test["step"].to_numpy(), data.span)
    evidence = [
        Evidence(
            display_name(model),
            found.get("test", {}).get(model),
            found["oof"].get(model),
            figures.get("test", {}).get(model, {}),
            figures["oof"].get(model, {}),
            constant_by_design=model == "majority" and predictions.role(model) == "control",
        )
        for model in predictions.models
    ]
    alarms = all_alarms(
        evidence, test_truth=truth.get("test"), oof_truth=given, stretches=stretches, classes=data.classes
    )
    if "test" not in truth:
        nothing = "No sealed window has a known label: nothing here is scored on data that the models have not seen."
        alarms = AlarmReport((Alarm("no_sealed_test", "note", "", nothing), *alarms.alarms), alarms.n_checks + 1)
    alarms = _with_findings(alarms, findings, predictions, data, sealed="test" in truth)
    inputs = _verdict_inputs(
        data, predictions, as_given, figures.get("test", {}), alarms, n_seeds, stretches, findings.pretrained
    )
    pairs = _pairs(predictions, inputs)
    differences = tuple(
        PairedDifference(
            a, b, split, HEADLINE, compare(found[split][a], found[split][b], truth[split], weights[split], HEADLINE)
        )
        for split in reversed(judged)
        for a, b in pairs
        if a in found[split] and b in found[split]
    )
    on_test = {(display_name(d.a), display_name(d.b)): d.difference for d in differences if d.split == "test"}
    told = verdict(dataclasses.replace(inputs, differences=on_test))
    return Scores(figures, differences, alarms, told)


def _with_findings(
    alarms: AlarmReport, findings: Findings, predictions: Predictions, data: Dataset, *, sealed: bool
) -> AlarmReport:
    """The alarms of other stages' findings before those of single models: they are about everything."""
    first: list[Alarm] = []
    n_checks = alarms.n_checks
    if findings.adopted is not None and sealed:
        first += _seen_by(findings.adopted, predictions)
        n_checks += 1
    if findings.sentinels is not None:
        fired, checked = sentinel_alarms(findings.sentinels, len(data.classes))
        first += fired
        n_checks += checked
    if findings.opened_before is not None:
        first += sealed_test_opened(findings.opened_before)
        n_checks += 1
    return AlarmReport((*first, *alarms.alarms), n_checks)


def _seen_by(adopted: Mapping[str, Any], predictions: Predictions) -> list[Alarm]:
    """What is to be said of an encoder from another run that may have seen the sealed test."""
    if not adopted["may_have_seen_test"]:
        return []
    learned = tuple(adopted["learned"]) if adopted["times_known"] else None
    model = display_name(FINETUNED) if FINETUNED in predictions.models else ""
    return sealed_test_perhaps_seen(model, adopted["name"], learned)


def _verdict_inputs(
    data: Dataset,
    predictions: Predictions,
    oof: Mapping[str, Estimate],
    test: Mapping[str, Mapping[str, Estimate]],
    alarms: AlarmReport,
    n_seeds: int,
    stretches: float | None,
    pretrained: bool,
) -> VerdictInputs:
    candidates = [
        Candidate(
            display_name(model),
            oof.get(model),
            test[model][HEADLINE] if model in test else None,
            is_control=predictions.role(model) in ("baseline", "control"),
        )
        for model in predictions.models
    ]
    return VerdictInputs(
        n_labels=len(data.labels),
        n_seeds=n_seeds,
        n_draws=0 if data.every_label_given and not data.labels["planted"].any() else 1,
        models=candidates,
        fine_tuned=display_name(FINETUNED) if FINETUNED in predictions.models else "",
        scratch=display_name(SCRATCH) if SCRATCH in predictions.models else "",
        alarms=alarms.alarms,
        n_checks=alarms.n_checks,
        n_test=len(data.test),
        stretches=stretches,
        transductive=pretrained,
    )


def _pairs(predictions: Predictions, inputs: VerdictInputs) -> list[tuple[str, str]]:
    """Comparisons worth making: what pretraining gave, and every model against the best simple thing."""
    simple, best = choose_best(inputs, controls=True), choose_best(inputs)
    pairs = [(FINETUNED, SCRATCH), ("pretrained_probe", "random_init_probe")]
    pairs = [pair for pair in pairs if set(pair) <= set(predictions.models)]
    if simple is not None:
        called = {display_name(model): model for model in predictions.models}
        own = [model for model in predictions.models if predictions.role(model) in ("model", "stack")]
        first = [called[best.name]] if best else []
        pairs += [(model, called[simple.name]) for model in dict.fromkeys([*first, *own])]
    return list(dict.fromkeys(pairs))


def resamples(data: Dataset, frame: pl.DataFrame, config: EvaluationConfig) -> np.ndarray:
    """Resamples [n_resamples, n_windows]: blocks of time, or single cases where these are independent."""
    if data.store.independent:
        return moving_block_weights(np.arange(len(frame)), 1, config.n_resamples)
    block_bars = config.block_bars or data.span
    if block_bars < data.span:
        raise DataError(
            f"evaluation.block_bars={block_bars} is shorter than the {data.span} bars that a window spans",
            "blocks that part overlapping windows give intervals that are far too short",
            f"choose evaluation.block_bars={data.span} or more, or null",
        )
    return moving_block_weights(frame["step"].to_numpy(), block_bars, config.n_resamples)
