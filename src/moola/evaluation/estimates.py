"""The records that every table and report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: the point estimate (mean over seeds).
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        n: windows it was computed on.
        seeds: seeds it is the mean of.
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """Two models on the same windows.

    Attributes:
        difference: the first model's figure minus the second's.
        p_value: two-sided, of "there is no difference", not corrected for other comparisons; nan where the interval is
            not known. Below 5 % just when the interval excludes zero.
    """

    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class Alarm:
    """A warning that belongs in the report's first lines.

    Attributes:
        code: stable name, e.g. ``"constant_predictor"``.
        severity: ``"alarm"`` when the figure must not be used as evidence, else ``"note"``.
        model: the model it speaks of, or ``""``.
        message: one sentence with the values that show it.
        split: ``"oof"`` or ``"test"`` where it rests on one of them; what rests on the test must not choose a model.
    """

    code: str
    severity: Literal["alarm", "note"]
    model: str
    message: str
    split: Literal["", "oof", "test"] = ""
