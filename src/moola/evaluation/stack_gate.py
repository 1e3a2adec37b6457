"""Whether a stack is worth more than the best of its bases alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from moola.evaluation.comparison import plain, signed
from moola.evaluation.estimates import Estimate

MIN_F1_GAIN = 0.02
"""Points of macro F1 that a stack has to give over its best base."""
MAX_ECE = 0.03
"""Calibration error up to which a stack is accepted for its probabilities, where it costs no F1."""


@dataclass(frozen=True)
class StackGate:
    """A stack against its best base on the sealed test.

    Attributes:
        stack, single: names; the base with the best macro F1 out of fold, on the labels as given.
        f1: macro F1 of the stack minus that of the base.
        ece: expected calibration error of the stack.
    """

    stack: str
    single: str
    f1: Estimate
    ece: Estimate

    @property
    def gains(self) -> bool:
        """A gain of F1 is shown (its interval lies above zero), and as measured it is two points or more."""
        return self.f1.value >= MIN_F1_GAIN and self.f1.low > 0

    @property
    def calibrated(self) -> bool:
        """The calibration error is small up to its upper end, and F1 is not shown to be worse."""
        worse = not math.isfinite(self.f1.high) or self.f1.high < 0
        return self.ece.value <= MAX_ECE and self.ece.high <= MAX_ECE and not worse

    @property
    def accepted(self) -> bool:
        """Whether the stack is worth its cost."""
        return self.gains or self.calibrated

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        f1 = f"macro F1 on the sealed test {signed(self.f1)} against {self.single}, the best single model out of fold"
        figures = f"{f1}; calibration error {plain(self.ece)}"
        if self.gains:
            return (
                f"{self.stack} is accepted: a gain is shown, and as measured it is {MIN_F1_GAIN:g} or more ({figures})."
            )
        if self.calibrated:
            return f"{self.stack} is accepted for its probabilities: their calibration error is small ({figures})."
        return (
            f"{self.stack} does not beat the best single model: neither a gain of {MIN_F1_GAIN:g} nor a calibration "
            f"error of {MAX_ECE:g} at most is shown ({figures})."
        )
