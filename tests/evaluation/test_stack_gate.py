"""A stack is accepted for two points of F1 or for its probabilities, and only where an interval shows it."""

from __future__ import annotations

import math

import pytest

from moola.evaluation.estimates import Estimate
from moola.evaluation.stack_gate import StackGate


def figure(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 300, 3)


GAIN, SURE_BUT_SMALL, UNSURE = figure(0.03, 0.01, 0.05), figure(0.015, 0.01, 0.02), figure(0.03, -0.01, 0.07)
LOSS, UNKNOWN = figure(-0.05, -0.08, -0.02), figure(0.3, math.nan, math.nan)
SHARP, WIDE, LARGE = figure(0.02, 0.01, 0.03), figure(0.02, 0.01, 0.06), figure(0.1, 0.05, 0.2)


@pytest.mark.parametrize(
    ("f1", "ece", "says"),
    [
        (
            GAIN,
            LARGE,
            "Stack is accepted: a gain is shown, and as measured it is 0.02 or more (macro F1 on the sealed",
        ),
        (UNSURE, LARGE, "Stack does not beat the best single model"),
        (SURE_BUT_SMALL, LARGE, "Stack does not beat the best single model"),
        (UNKNOWN, LARGE, "Stack does not beat the best single model"),
        (UNSURE, SHARP, "Stack is accepted for its probabilities"),
        (LOSS, SHARP, "Stack does not beat the best single model"),
        (UNKNOWN, SHARP, "Stack does not beat the best single model"),
        (UNSURE, WIDE, "Stack does not beat the best single model"),
        (UNSURE, UNKNOWN, "Stack does not beat the best single model"),
    ],
)
def test_what_is_accepted(f1: Estimate, ece: Estimate, says: str) -> None:
    gate = StackGate("Stack", "Forest", f1, ece)
    assert gate.sentence.startswith(says) and "Forest, the best single model out of fold" in gate.sentence
    assert gate.accepted == ("accepted" in gate.sentence)
