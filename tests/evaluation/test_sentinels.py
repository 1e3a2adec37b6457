"""What the sentinels found is said as alarms, and what they did not find is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moola.evaluation.sentinel_alarms import (
    duplicates,
    later_labels_score,
    lookahead,
    no_signal,
    permutation_p,
    sealed_test_opened,
    sentinel_alarms,
    shuffled_labels_score,
)

AT_CHANCE = np.random.default_rng(0).normal(0.5, 0.04, 99).tolist()


def found(score: float, shuffled: list[float] = AT_CHANCE) -> dict[str, Any]:
    return {"score": score, "shuffled": shuffled, "n": 174}


def test_the_score_is_one_of_the_shufflings() -> None:
    assert permutation_p(0.9, [0.5] * 19) == 1 / 20
    assert permutation_p(0.5, [0.5] * 19) == 1


def test_labels_that_no_better_than_shuffled_ones_are_told_are_noted() -> None:
    (note,) = no_signal(found(0.51))
    assert (note.severity, note.split) == ("note", "oof") and "finds no signal" in note.message
    assert no_signal(found(0.75)) == []


def test_shuffled_labels_that_can_be_told_are_a_fault_of_the_evaluation() -> None:
    (alarm,) = shuffled_labels_score(found(0.9, [value + 0.1 for value in AT_CHANCE]), 2)
    assert alarm.severity == "alarm" and "folds know what they hold out" in alarm.message
    assert shuffled_labels_score(found(0.9), 2) == []
    below = [value - 0.1 for value in AT_CHANCE]  # shuffled labels of folds are often told below chance
    assert shuffled_labels_score(found(0.5, below), 2) == []


@pytest.mark.parametrize(("score", "severity"), [(0.85, ["alarm"]), (0.62, ["note"]), (0.52, [])])
def test_labels_of_later_windows_fire_by_how_well_they_are_told(score: float, severity: list[str]) -> None:
    alarms = later_labels_score(found(score), found(0.9), 2)
    assert [alarm.severity for alarm in alarms] == severity


def test_few_shufflings_do_not_silence_an_alarm() -> None:
    (alarm,) = later_labels_score(found(0.9, AT_CHANCE[:19]), found(0.9), 2)
    assert alarm.severity == "alarm" and "p = 0.05" in alarm.message


def test_every_channel_that_looks_ahead_is_named() -> None:
    one = {"channel": "leak", "horizon_bars": 4, "future": 0.99, "past": 0.01}
    alarms = lookahead([one, {**one, "channel": "other"}])
    assert [alarm.message.split()[1] for alarm in alarms] == ["leak", "other"]
    assert {alarm.severity for alarm in alarms} == {"alarm"} and lookahead([]) == []


def test_duplicates_across_the_split_are_named_where_they_lie() -> None:
    sealed, folds = duplicates({"sealed": ["a", "b", "c", "d"], "folds": ["e"]})
    assert (sealed.severity, sealed.split, folds.split) == ("alarm", "test", "oof")
    assert "4 windows of the sealed test" in sealed.message and "a, b, c and others." in sealed.message
    assert duplicates({"sealed": [], "folds": []}) == []


def test_a_sealed_test_that_others_opened_is_noted() -> None:
    (note,) = sealed_test_opened(["first", "second"])
    assert "2 other runs before (first, second)" in note.message and note.split == "test"
    assert sealed_test_opened([]) == []


def test_all_of_them_are_counted() -> None:
    quiet = {
        "labels": found(0.9),
        "later_labels": found(0.5),
        "lookahead": [],
        "duplicates": {"sealed": [], "folds": []},
    }
    assert sentinel_alarms(quiet, 2) == ([], 5)
    assert sentinel_alarms({**quiet, "later_labels": None}, 2) == ([], 4)
    loud = {**quiet, "labels": found(0.4), "duplicates": {"sealed": ["a"], "folds": []}}
    assert [alarm.code for alarm in sentinel_alarms(loud, 2)[0]] == ["no_signal", "duplicates"]
