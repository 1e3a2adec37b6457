"""From predictions to figures with intervals, paired comparisons, alarms and the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moola.evaluation.alarms import AlarmReport, Evidence, all_alarms, constant_predictor, sealed_test_perhaps_seen
from moola.evaluation.comparison import against_chance, corrected, estimates, paired_comparison
from moola.evaluation.estimates import Alarm, Comparison, Estimate
from moola.evaluation.intervals import independent_stretches
from moola.evaluation.metrics import compute_metrics
from moola.evaluation.score_interval import effective_cases
from moola.evaluation.sentinel_alarms import sealed_test_opened, sentinel_alarms
from moola.evaluation.stack_gate import StackGate
from moola.evaluation.verdict import CHANCE, Candidate, VerdictInputs, choose_best, verdict
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import Judged
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import (
    FINETUNED,
    HEADLINE,
    SCRATCH,
    PairedDifference,
    Scores,
    SplitName,
    display_name,
)

GATE_METRIC = "macro_f1"
Figures = Mapping[SplitName, Mapping[str, Mapping[str, Estimate]]]


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


def score(
    data: Dataset,
    predictions: Predictions,
    judged: Mapping[SplitName, Judged],
    n_seeds: int,
    findings: Findings | None = None,
) -> Scores:
    """Score every model out of fold and on the sealed test, against the truth where it is known.

    Args:
        data: windows, labels and folds.
        predictions: of all models, for their roles.
        judged: what they said, from `moola.pipelines.judged.judged_splits`.
        n_seeds: seeds of the run, for the verdict.
        findings: of other stages.
    """
    findings = findings or Findings()
    figures: Figures = {
        split: {model: estimates(p, part.truth, part.weights) for model, p in part.said.items()}
        for split, part in judged.items()
    }
    alarms = _alarms(data, predictions, judged, figures, findings)
    oof = judged["oof"]
    as_given = {m: estimates(p, oof.given, oof.weights, (HEADLINE,))[HEADLINE] for m, p in oof.said.items()}
    inputs = _verdict_inputs(data, predictions, as_given, figures, n_seeds)
    inputs = dataclasses.replace(
        inputs, alarms=alarms.alarms, n_checks=alarms.n_checks, transductive=findings.pretrained
    )
    made: dict[SplitName, dict[tuple[str, str], Comparison]] = {
        split: _compared(predictions, inputs, judged[split]) for split in reversed(list(judged))
    }
    differences = [one for split, compared in made.items() for one in _differences(split, compared)]
    chosen = _chosen(predictions, inputs)
    if "test" in judged:
        inputs = dataclasses.replace(inputs, comparisons=_tested(chosen, judged["test"], made["test"]))
    gates = stack_gates(predictions, judged, figures)
    return Scores(figures, tuple(differences), alarms, verdict(inputs), as_given, chosen, gates)


def _chosen(predictions: Predictions, inputs: VerdictInputs) -> str | None:
    """The model that the verdict calls the best."""
    best = choose_best(inputs)
    return next((model for model in predictions.models if best and display_name(model) == best.name), None)


def _alarms(
    data: Dataset,
    predictions: Predictions,
    judged: Mapping[SplitName, Judged],
    figures: Figures,
    findings: Findings,
) -> AlarmReport:
    """What fired: of other stages' findings first, for they are about everything, then of single models."""
    test = judged.get("test")
    evidence = [
        Evidence(
            display_name(model),
            test.said.get(model) if test else None,
            judged["oof"].said.get(model),
            figures.get("test", {}).get(model, {}),
            figures["oof"].get(model, {}),
            blind=predictions.is_blind(model),
        )
        for model in predictions.models
    ]
    of_models = all_alarms(
        evidence,
        test_truth=test.truth if test else None,
        oof_truth=judged["oof"].given,
        cases=effective_cases(test.weights) if test else None,
        classes=data.classes,
    )
    first: list[Alarm] = []
    n_checks = of_models.n_checks
    if test is None:
        nothing = "No sealed window has a known label: nothing here is scored on data that the models have not seen."
        first.append(Alarm("no_sealed_test", "note", "", nothing))
        n_checks += 1
    elif findings.adopted is not None:
        first += _seen_by(findings.adopted, predictions)
        n_checks += 1
    if findings.sentinels is not None:
        fired, checked = sentinel_alarms(findings.sentinels, len(data.classes))
        first += fired
        n_checks += checked
    if findings.opened_before is not None:
        first += sealed_test_opened(findings.opened_before)
        n_checks += 1
    return AlarmReport((*first, *of_models.alarms), n_checks)


def _seen_by(adopted: Mapping[str, Any], predictions: Predictions) -> list[Alarm]:
    """What is to be said of an encoder from another run that may have seen the sealed test."""
    if not adopted["may_have_seen_test"]:
        return []
    learned = tuple(adopted["learned"]) if adopted["times_known"] else None
    model = display_name(FINETUNED) if FINETUNED in predictions.models else ""
    return sealed_test_perhaps_seen(model, adopted["name"], learned)


def _verdict_inputs(
    data: Dataset, predictions: Predictions, as_given: Mapping[str, Estimate], figures: Figures, n_seeds: int
) -> VerdictInputs:
    """All but the alarms and the comparisons on the sealed test.

    Choices are made on the labels as given: a user with wrong labels has no truth to choose by.
    """
    test = figures.get("test", {})
    candidates = [
        Candidate(
            display_name(model),
            as_given.get(model),
            test[model][HEADLINE] if model in test else None,
            is_control=predictions.role(model) in ("baseline", "control"),
        )
        for model in predictions.models
    ]
    stretches = None
    if len(data.test) and not data.store.independent:
        stretches = independent_stretches(data.test["step"].to_numpy(), data.span)
    return VerdictInputs(
        n_labels=len(data.labels),
        n_seeds=n_seeds,
        n_draws=0 if data.every_label_given and not data.labels["planted"].any() else 1,
        models=candidates,
        fine_tuned=display_name(FINETUNED) if FINETUNED in predictions.models else "",
        scratch=display_name(SCRATCH) if SCRATCH in predictions.models else "",
        n_test=len(data.test),
        stretches=stretches,
    )


def _compared(predictions: Predictions, inputs: VerdictInputs, part: Judged) -> dict[tuple[str, str], Comparison]:
    """Comparisons worth making: what pretraining gave, and every model against the best simple thing."""
    simple, chosen = choose_best(inputs, controls=True), _chosen(predictions, inputs)
    pairs = [(FINETUNED, SCRATCH), ("pretrained_probe", "random_init_probe")]
    if simple is not None:
        called = {display_name(model): model for model in predictions.models}
        own = [model for model in predictions.models if predictions.role(model) in ("model", "stack")]
        first = [chosen] if chosen else []
        pairs += [(model, called[simple.name]) for model in dict.fromkeys([*first, *own])]
    said = part.said
    return {
        (a, b): paired_comparison(said[a], said[b], part.truth, part.weights, HEADLINE)
        for a, b in dict.fromkeys(pairs)
        if a in said and b in said
    }


def _differences(split: SplitName, compared: Mapping[tuple[str, str], Comparison]) -> list[PairedDifference]:
    """The same for the table, each with its p-value after correction for all of them."""
    adjusted = corrected([one.p_value for one in compared.values()])
    return [
        PairedDifference(a, b, split, HEADLINE, one.difference, p)
        for ((a, b), one), p in zip(compared.items(), adjusted, strict=True)
    ]


def _tested(
    chosen: str | None, test: Judged, compared: Mapping[tuple[str, str], Comparison]
) -> dict[tuple[str, str], Comparison]:
    """Comparisons on the sealed test as the verdict names them, with that of the chosen model and chance."""
    found = {(display_name(a), display_name(b)): one for (a, b), one in compared.items()}
    if chosen is not None and chosen in test.said:
        found[display_name(chosen), CHANCE] = against_chance(test.said[chosen], test.truth, test.weights, HEADLINE)
    return found


def stack_gates(
    predictions: Predictions, judged: Mapping[SplitName, Judged], figures: Figures
) -> tuple[StackGate, ...]:
    """Every stack against the single model with the best macro F1 out of fold; none without a sealed test."""
    oof, test = judged["oof"], judged.get("test")
    if test is None:
        return ()
    stacks = [model for model in test.said if predictions.role(model) == "stack"]
    bases = [
        model
        for model, said in oof.said.items()
        if predictions.role(model) in ("model", "baseline")
        and model in test.said
        and not constant_predictor(model, said, oof.given, "oof")
    ]
    single = _best_of(bases, oof)
    if single is None:
        return ()
    gained = {
        stack: paired_comparison(test.said[stack], test.said[single], test.truth, test.weights, GATE_METRIC).difference
        for stack in stacks
    }
    return tuple(
        StackGate(display_name(stack), display_name(single), f1, figures["test"][stack]["ece"])
        for stack, f1 in gained.items()
    )


def _best_of(models: Sequence[str], oof: Judged) -> str | None:
    """The model with the best macro F1 out of fold, on the labels as given."""

    def f1(model: str) -> float:
        return float(np.mean(compute_metrics(oof.said[model], oof.given, names=(GATE_METRIC,))[GATE_METRIC]))

    return max(models, key=f1, default=None)
