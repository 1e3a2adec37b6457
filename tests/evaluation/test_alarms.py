"""Each alarm fires on what it is for and stays silent on a good model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moola.errors import DataError
from moola.evaluation.alarms import (
    Evidence,
    all_alarms,
    constant_predictor,
    few_effective_windows,
    not_better_than_chance,
    overconfident,
    sealed_test_perhaps_seen,
    worse_out_of_sample,
)
from moola.evaluation.comparison import estimates
from moola.evaluation.estimates import Alarm, Estimate
from moola.evaluation.intervals import moving_block_weights

N = 300
TRUTH = np.random.default_rng(0).integers(0, 2, N)
WEIGHTS = moving_block_weights(np.arange(N), 1, 300, seed=0)


def two_classes(one: np.ndarray) -> np.ndarray:
    return np.stack([1 - one, one], axis=-1)


def good(n_seeds: int = 3) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(n_seeds, N))
    return two_classes(1 / (1 + np.exp(-(1.5 * (2 * TRUTH - 1) + noise))))


def constant(value: float = 0.9, n_seeds: int = 3) -> np.ndarray:
    return two_classes(np.full((n_seeds, N), value))


def figure(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, N, 3)


def codes(alarms: list[Alarm] | tuple[Alarm, ...]) -> list[str]:
    return [alarm.code for alarm in alarms]


def test_a_constant_predictor_fires() -> None:
    (alarm,) = constant_predictor("lstm", constant())
    assert (alarm.code, alarm.severity, alarm.model) == ("constant_predictor", "alarm", "lstm")
    assert "3 of 3 seeds" in alarm.message and "class 1 to 100.0%" in alarm.message


def test_a_nearly_constant_predictor_fires() -> None:
    almost = np.full((1, N), 0.6) + np.linspace(0, 0.2, N)
    almost[0, :3] = 0.1  # 1 % of the windows
    assert constant_predictor("lstm", two_classes(almost))
    # Both classes are predicted, but the probability hardly moves.
    still = 0.5 + 1e-4 * np.random.default_rng(0).normal(size=(1, N))
    assert constant_predictor("lstm", two_classes(still))


def test_one_collapsed_seed_is_enough() -> None:
    mixed = np.concatenate([good(2), constant(0.9, 1)])
    (alarm,) = constant_predictor("lstm", mixed)
    assert "1 of 3 seeds" in alarm.message and "seed 2 gives" in alarm.message


def test_a_good_predictor_is_silent() -> None:
    assert constant_predictor("lstm", good()) == []
    assert constant_predictor("lstm", good(), TRUTH) == []


def test_a_model_that_finds_a_rare_class_is_not_called_constant() -> None:
    truth = np.zeros(1000, dtype=int)
    truth[:6] = 1
    perfect, blind = np.where(truth, 0.9, 0.1)[None], np.linspace(0.1, 0.3, 1000)[None]
    assert constant_predictor("lstm", two_classes(perfect), truth) == []
    assert constant_predictor("lstm", two_classes(blind), truth)


def test_predictions_that_do_not_fit_their_truth_are_refused() -> None:
    with pytest.raises(DataError, match="windows are predicted"):
        constant_predictor("lstm", good(), TRUTH[:-1])


def test_chance() -> None:
    assert not_better_than_chance("lstm", figure(0.6, 0.52, 0.7), 2) == []
    for e in (figure(0.55, 0.48, 0.6), figure(0.4, 0.3, 0.45), figure(0.9, math.nan, math.nan)):
        (alarm,) = not_better_than_chance("lstm", e, 2)
        assert alarm.severity == "alarm" and f"{e.value:.3f}" in alarm.message and "0.500" in alarm.message
    assert not_better_than_chance("lstm", figure(0.4, 0.36, 0.45), 3) == []


def test_worse_out_of_sample() -> None:
    (alarm,) = worse_out_of_sample("lstm", figure(0.9, 0.85, 0.95), figure(0.6, 0.5, 0.7))
    assert alarm.severity == "alarm" and "0.900" in alarm.message and "0.600" in alarm.message
    assert worse_out_of_sample("lstm", figure(0.9, 0.65, 0.95), figure(0.6, 0.5, 0.7)) == []
    assert worse_out_of_sample("lstm", figure(0.6, 0.5, 0.7), figure(0.9, 0.85, 0.95)) == []
    assert worse_out_of_sample("lstm", figure(0.9, math.nan, math.nan), figure(0.6, 0.5, 0.7)) == []


def test_few_effective_windows() -> None:
    assert few_effective_windows(14.3, [440, 325]) == []
    assert few_effective_windows(None, [440, 325]) == []
    (wide,) = few_effective_windows(6.25, [440, 325])
    assert (wide.severity, wide.split) == ("note", "test") and "765 windows amount to 6.2" in wide.message
    (absent,) = few_effective_windows(math.nan, [440, 325])
    assert absent.severity == "alarm" and "too few apart in time for any interval" in absent.message
    (classes,) = few_effective_windows(14.3, [440, 12], min_per_class=20)
    assert "12 of class 1" in classes.message and "20" in classes.message


def test_a_sealed_test_of_one_class_shows_nothing_and_no_model_is_blamed_for_it() -> None:
    right = np.tile([[0.9, 0.1]], (2, len(TRUTH), 1))
    models = [evidence("good", good()), Evidence("right", right, None)]
    report = all_alarms(models, test_truth=np.zeros_like(TRUTH), classes=("calm", "wild"))
    (alarm,) = [one for one in report.alarms if one.severity == "alarm"]
    assert (alarm.code, alarm.model) == ("one_class_only", "") and "only windows of class calm" in alarm.message


def test_classes_are_named_where_their_names_are_known() -> None:
    report = all_alarms([evidence("stuck", constant())], test_truth=TRUTH, min_per_class=1000, classes=("calm", "wild"))
    told = {alarm.code: alarm.message for alarm in report.alarms}
    assert "gives class wild to 100.0%" in told["constant_predictor"]
    assert "of class calm" in told["few_effective_windows"] and "of class wild" in told["few_effective_windows"]


def test_overconfident_says_which_way() -> None:
    assert overconfident("lstm", figure(0.2, 0.14, 0.25), 0.2) == []
    assert codes(overconfident("lstm", figure(0.2, 0.16, 0.25), 0.2)) == ["overconfident"]
    (alarm,) = overconfident("lstm", figure(0.2, 0.16, 0.25), -0.2)
    assert (alarm.code, alarm.severity) == ("underconfident", "note") and "-0.200" in alarm.message


def evidence(model: str, p: np.ndarray, blind: bool = False) -> Evidence:
    figures = estimates(p, TRUTH, WEIGHTS)
    return Evidence(model, p, p, figures, figures, blind)


def test_all_alarms_counts_what_it_ran() -> None:
    models = [evidence("good", good()), evidence("stuck", constant())]
    report = all_alarms(models, test_truth=TRUTH, oof_truth=TRUTH, cases=20.0)
    assert report.n_checks == 2 + 2 * 5
    assert {a.model for a in report.alarms} == {"stuck"}
    assert codes(report.alarms) == [
        "constant_predictor",
        "constant_predictor",
        "not_better_than_chance",
        "overconfident",
    ]
    assert "on the sealed test" in report.alarms[0].message and "out of fold" in report.alarms[1].message


def test_the_majority_control_is_spared_and_what_is_missing_is_not_checked() -> None:
    report = all_alarms([evidence("majority", constant(0.51), blind=True)], test_truth=TRUTH, cases=20.0)
    assert (report.alarms, report.n_checks) == ((), 2)  # how many windows there are, and of how many classes
    assert all_alarms([Evidence("nothing")]) == all_alarms([])
    assert all_alarms([]).n_checks == 0
    out_of_fold = all_alarms([Evidence("lstm", oof_probabilities=constant())], oof_truth=TRUTH)
    assert (codes(out_of_fold.alarms), out_of_fold.n_checks) == (["constant_predictor"], 1)


def test_each_message_is_one_sentence() -> None:
    models = [evidence("stuck", constant())]
    report = all_alarms(models, test_truth=TRUTH, oof_truth=TRUTH, cases=3.0, min_per_class=1000)
    assert len(report.alarms) == 6
    for alarm in report.alarms:
        assert alarm.message.endswith(".") and ". " not in alarm.message


def test_an_encoder_that_reaches_the_time_of_the_test_fires_and_one_without_times_is_noted() -> None:
    (alarm,) = sealed_test_perhaps_seen("tuned", "bilstm_v1", ("2001", "2009"))
    assert (alarm.severity, alarm.model, alarm.split) == ("alarm", "tuned", "test")
    assert "bilstm_v1 learned from bars of 2001 to 2009" in alarm.message
    (note,) = sealed_test_perhaps_seen("tuned", "bilstm_v1", None)
    assert (note.severity, note.model) == ("note", "")
