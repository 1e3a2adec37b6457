"""The record of what all models are worth, as ``scores.json`` holds it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from moola.evaluation.alarms import AlarmReport
from moola.evaluation.comparison import excludes_zero
from moola.evaluation.estimates import Alarm, Estimate
from moola.evaluation.metrics import METRICS
from moola.evaluation.significance import LEVEL
from moola.evaluation.stack_gate import StackGate

HEADLINE = "balanced_accuracy"
CHOICE = "the best out of fold that is no baseline or control"
"""By which rule a run chooses its model, in words."""
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
class PairedDifference:
    """``a`` minus ``b`` on the same windows.

    Attributes:
        a, b: names of the models.
        split: where.
        metric: in which.
        difference: with its interval, by itself.
        adjusted: p-value after Holm's correction for all comparisons of that split; nan where it is not known.
    """

    a: str
    b: str
    split: SplitName
    metric: str
    difference: Estimate
    adjusted: float = math.nan

    @property
    def sentence(self) -> str:
        """The difference in words."""
        if not math.isfinite(self.difference.low):
            return "too little data for an interval"
        if not excludes_zero(self.difference):
            return "cannot be told apart"
        better = (self.difference.value > 0) == METRICS[self.metric].higher_is_better
        name = display_name(self.a if better else self.b)
        return f"{name} is better" if self.adjusted < LEVEL else f"{name} may be better: not sure among so many"


@dataclass(frozen=True)
class Scores:
    """Everything that is known of all models.

    Attributes:
        figures: split -> model -> metric -> estimate.
        differences: paired, in the headline metric.
        alarms: what fired, of how many checks.
        verdict: three sentences.
        as_given: model -> the headline metric out of fold on the labels as given, by which models are chosen: a user
            with wrong labels has no others. `figures` are against the truth where it is known.
        chosen: the model that is best in `as_given`, and under no alarm but such of the sealed test; controls and
            baselines do not compete. None where there is none.
        stacks: each stack against the best single model; none without a sealed test.
    """

    figures: Mapping[SplitName, Mapping[str, Mapping[str, Estimate]]]
    differences: tuple[PairedDifference, ...]
    alarms: AlarmReport
    verdict: tuple[str, str, str]
    as_given: Mapping[str, Estimate]
    chosen: str | None
    stacks: tuple[StackGate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values, null for an end that is not known; `from_json` gives the same back."""
        return without_nan(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Out of what `to_json` gave."""
        figures = {
            split: {
                model: {name: read_estimate(found) for name, found in metrics.items()}
                for model, metrics in models.items()
            }
            for split, models in told["figures"].items()
        }
        differences = (
            PairedDifference(
                **{**one, "difference": read_estimate(one["difference"]), "adjusted": _number(one["adjusted"])}
            )
            for one in told["differences"]
        )
        alarms = AlarmReport(tuple(Alarm(**one) for one in told["alarms"]["alarms"]), told["alarms"]["n_checks"])
        as_given = {model: read_estimate(found) for model, found in told["as_given"].items()}
        gates = (
            StackGate(**{**one, "f1": read_estimate(one["f1"]), "ece": read_estimate(one["ece"])})
            for one in told["stacks"]
        )
        return cls(figures, tuple(differences), alarms, tuple(told["verdict"]), as_given, told["chosen"], tuple(gates))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.json``; ends of intervals that cannot be known are null."""
        return [
            {"model": model, "split": split, "metric": metric, **written_estimate(found)}
            for split, models in self.figures.items()
            for model, metrics in models.items()
            for metric, found in metrics.items()
        ]


def written_estimate(found: Estimate) -> dict[str, Any]:
    """As plain values, null for what is not known."""
    return without_nan(dataclasses.asdict(found))


def read_estimate(told: Mapping[str, Any]) -> Estimate:
    """Out of what `written_estimate` gave."""
    value, low, high = (_number(told[name]) for name in ("value", "low", "high"))
    return Estimate(value, low, high, told["n"], told["seeds"])


def without_nan(value: Any) -> Any:
    """The same plain value with None for every number that JSON cannot tell."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value
