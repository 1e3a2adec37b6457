"""The verdict's truth table: each figure leads to its words, and what is missing is said to be missing."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest

from moola.evaluation.estimates import Alarm, Comparison, Estimate
from moola.evaluation.verdict import CHANCE, Candidate, VerdictInputs, choose_best, verdict


def figure(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, value - 0.03 if low is None else low, value + 0.03 if high is None else high, 765, 3)


UP, DOWN, NONE = figure(0.1, 0.04, 0.15), figure(-0.1, -0.15, -0.04), figure(0.012, -0.03, 0.051)
UNKNOWN = figure(0.2, math.nan, math.nan)
MODELS = (
    Candidate("tuned", figure(0.82), figure(0.80)),
    Candidate("scratch", figure(0.78), figure(0.85)),
    Candidate("logistic", figure(0.80), figure(0.79), is_control=True),
    Candidate("majority", figure(0.50), figure(0.50), is_control=True),
)


def sure(difference: Estimate) -> Comparison:
    """With the p-value of one whose interval ends where it does."""
    z = 1.96 * difference.value / (difference.high - difference.low) * 2
    return Comparison(difference, math.erfc(abs(z) / math.sqrt(2)))


def compared(pretraining: Estimate, baseline: Estimate, chance: Estimate = UP) -> dict[tuple[str, str], Comparison]:
    return {
        ("tuned", "scratch"): sure(pretraining),
        ("tuned", "logistic"): sure(baseline),
        ("tuned", CHANCE): sure(chance),
    }


FULL = VerdictInputs(
    n_labels=174,
    n_seeds=3,
    n_draws=5,
    models=MODELS,
    comparisons=compared(UP, UP),
    fine_tuned="tuned",
    scratch="scratch",
    n_checks=21,
    n_test=765,
    stretches=14.3,
)


def with_differences(pretraining: Estimate, baseline: Estimate = UP) -> VerdictInputs:
    return replace(FULL, comparisons=compared(pretraining, baseline))


def alarm(code: str, model: str, severity: str = "alarm") -> Alarm:
    return Alarm(code, severity, model, "It fired.")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("difference", "says"),
    [
        (UP, "Pretraining helped (+0.100 [0.040, 0.150], p = 0.001 after correction for 3 tests)"),
        (DOWN, "Pretraining hurt (−0.100 [−0.150, −0.040], p = 0.001 after correction for 3 tests)"),
        (NONE, "Pretraining made no difference that this test can show (+0.012 [−0.030, 0.051], p = 0.561 after"),
        (UNKNOWN, "made no difference that this test can show (+0.200 [no interval: too little data])"),
    ],
)
def test_did_pretraining_help(difference: Estimate, says: str) -> None:
    first = verdict(with_differences(difference))[0]
    assert says in first
    assert "174 labels, 3 seeds and 5 draws of labels" in first


def test_direction_of_the_metric() -> None:
    told = replace(with_differences(DOWN), metric="log loss", higher_is_better=False)
    told = replace(
        told, comparisons={**told.comparisons, ("scratch", CHANCE): sure(DOWN)}
    )  # scratch is lowest out of fold
    first = verdict(told)[0]
    assert first.startswith("Pretraining helped") and "lower is better" in first


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (replace(FULL, n_test=0), "there is no sealed test"),
        (replace(FULL, fine_tuned="", comparisons={}), "there is no fine-tuned model"),
        (replace(FULL, scratch="", comparisons={}), "there is no scratch model"),
        (replace(FULL, comparisons={}), "tuned and scratch were not compared"),
        (replace(FULL, alarms=(alarm("constant_predictor", "scratch"),)), "scratch stands under the alarm"),
        (replace(FULL, alarms=(alarm("lookahead", ""),)), "the whole run stands under the alarm lookahead"),
    ],
)
def test_whether_pretraining_helped_may_be_unknown(inputs: VerdictInputs, says: str) -> None:
    first = verdict(inputs)[0]
    assert first.startswith("Whether pretraining helped cannot be said") and says in first


@pytest.mark.parametrize(
    ("difference", "says"),
    [
        (UP, "and beats the best simple baseline logistic (paired difference +0.100"),
        (DOWN, "but the simple thing wins: it loses to the best simple baseline logistic"),
        (NONE, "cannot be told apart from the best simple baseline logistic"),
    ],
)
def test_the_best_model_against_the_simple_thing(difference: Estimate, says: str) -> None:
    second = verdict(with_differences(UP, difference))[1]
    assert says in second
    assert second.startswith(
        "tuned, chosen among models that are no baseline or control by its out-of-fold balanced accuracy on the given "
        "labels (0.820 [0.790, 0.850]), not on the test"
    )
    assert "not on the test" in second and "0.800 [0.770, 0.830] on the sealed test" in second


def test_a_baseline_above_the_chosen_model_is_told_with_the_rule() -> None:
    assert "chosen among models that are no baseline or control by" in verdict(FULL)[1]
    assert "worse than" not in verdict(FULL)[1]
    above = replace(FULL, models=(*MODELS[:2], replace(MODELS[2], oof=figure(0.9)), MODELS[3]))
    assert "worse than the simple baseline logistic with 0.900 [0.870, 0.930])" in verdict(above)[1]
    assert len(verdict(above)) == 3 and verdict(above)[1].startswith("tuned, chosen")


def test_the_choice_is_made_out_of_fold_and_never_by_the_test() -> None:
    best, control = choose_best(FULL), choose_best(FULL, controls=True)
    assert best is not None and best.name == "tuned"  # scratch is better on the test
    assert control is not None and control.name == "logistic"
    told = replace(FULL, alarms=(alarm("not_better_than_chance", "tuned"),))
    assert choose_best(told) == best
    assert "while under the alarm not_better_than_chance" in verdict(told)[1]
    barred = replace(FULL, alarms=(alarm("constant_predictor", "tuned"),))
    assert getattr(choose_best(barred), "name", "") == "scratch"
    noted = replace(FULL, alarms=(alarm("overconfident", "tuned", "note"),))
    assert choose_best(noted) == best and "while under" not in verdict(noted)[1]
    lower = choose_best(replace(FULL, higher_is_better=False))
    assert lower is not None and lower.name == "scratch"


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (replace(FULL, models=MODELS[2:]), "no model other than controls and baselines was run"),
        (
            replace(FULL, alarms=(alarm("constant_predictor", "tuned"), alarm("constant_predictor", "scratch"))),
            "every model that is not a control stands under an alarm (tuned, scratch)",
        ),
        (
            replace(FULL, models=(Candidate("tuned", None, figure(0.9)),)),
            "no model free of alarms was scored out of fold",
        ),
        (replace(FULL, n_test=0), "was not scored on a sealed test"),
        (
            replace(FULL, alarms=(alarm("lookahead", ""), alarm("duplicates", ""))),
            "No best model can be named, because the whole run stands under the alarms lookahead, duplicates: tuned",
        ),
        (replace(FULL, models=(Candidate("tuned", figure(0.9)),)), "was not scored on a sealed test"),
        (replace(FULL, models=MODELS[:2]), "no simple baseline was scored out of fold"),
        (replace(FULL, comparisons={}), "which was not held against chance"),
        (
            replace(FULL, comparisons={("tuned", CHANCE): sure(UP)}),
            "was not compared with the best simple baseline logistic",
        ),
    ],
)
def test_the_best_model_may_be_unknown(inputs: VerdictInputs, says: str) -> None:
    assert says in verdict(inputs)[1]


def test_how_sure() -> None:
    third = verdict(FULL)[2]
    assert "765 windows but only 14 independent stretches of time" in third
    assert "none of 21 checks fired" in third
    assert "single" not in third and "transductive" not in third
    fired = (
        alarm("constant_predictor", "gru"),
        alarm("constant_predictor", "lstm"),
        alarm("constant_predictor", "gru"),
    )
    fired += (alarm("few_effective_windows", "", "note"),)
    unsure = replace(FULL, alarms=fired, n_draws=1, n_seeds=1, transductive=True, stretches=1.0)
    third = verdict(unsure)[2]
    for part in (
        "only 1 independent stretch of time",
        "alarms or notes fired: constant_predictor (gru, lstm), few_effective_windows",
        "a single draw of labels",
        "a single seed",
        "transductive",
    ):
        assert part in third
    assert "taken as independent cases" in verdict(replace(FULL, stretches=None))[2]
    assert "no check was run" in verdict(replace(FULL, n_checks=0))[2]
    assert "there is no sealed test" in verdict(replace(FULL, n_test=0))[2]


def test_an_empty_run_is_told_as_such() -> None:
    first, second, third = verdict(VerdictInputs(n_labels=0, n_seeds=1, n_draws=1))
    assert "cannot be said" in first and "No best model" in second and "no sealed test" in third


def test_always_exactly_three_sentences() -> None:
    for pretraining, baseline, n_test, stretches, fired in itertools.product(
        (UP, DOWN, NONE, UNKNOWN),
        (UP, DOWN, NONE),
        (0, 765),
        (None, 14.3),
        ((), (alarm("constant_predictor", "tuned"),)),
    ):
        told = replace(with_differences(pretraining, baseline), n_test=n_test, stretches=stretches, alarms=fired)
        sentences = verdict(told)
        assert len(sentences) == 3
        for sentence in sentences:
            assert len(re.findall(r"[.!?](?:\s|$)", sentence)) == 1 and sentence.endswith(".")


def test_pretraining_that_lifts_one_coin_over_another_is_not_said_to_help() -> None:
    alarms = (alarm("not_better_than_chance", "tuned"), alarm("not_better_than_chance", "scratch"))
    first = verdict(replace(with_differences(UP, UP), alarms=alarms))[0]
    assert first.startswith("Whether pretraining helped cannot be said, because neither tuned nor scratch")
    assert verdict(replace(with_differences(UP, UP), alarms=alarms[1:]))[0].startswith("Pretraining helped")


def test_three_tests_that_each_just_pass_alone_name_no_winner_together() -> None:
    just = figure(0.1, 0.004, 0.196)  # p = .041 by itself
    assert sure(just).p_value < 0.05
    first, second, _ = verdict(replace(FULL, comparisons=compared(just, just, just)))
    assert (
        first.startswith("Whether pretraining helped cannot be said") and "not shown to be better than nothing" in first
    )
    assert second.startswith("No winner is named") and "p = 0.124 after" in second
    alone = verdict(replace(FULL, comparisons={("tuned", CHANCE): sure(just)}))
    assert alone[1].startswith("tuned, chosen")


def test_without_a_model_that_is_better_than_nothing_no_difference_counts() -> None:
    first, second, _ = verdict(replace(FULL, comparisons=compared(UP, UP, NONE)))
    assert "helped (" not in first and "tuned, the best model out of fold, is not shown" in first
    assert "beats" not in second
    worse = verdict(replace(FULL, comparisons=compared(UP, UP, DOWN)))
    assert worse[1].startswith("No winner is named")


def test_few_seeds_are_said_to_be_few() -> None:
    assert "2 seeds show little" in verdict(replace(FULL, n_seeds=2))[2]
