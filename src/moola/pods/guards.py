"""When a run on a pod has to end: the decisions alone, without clock, file or process.

The client and the supervisor on the pod take the same ones, so that either side suffices. This file travels to the pod
with the supervisor: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_GRACE_SHARE = 0.1
"""Of a deadline or a budget that is kept free for the pull at the end: a short run is not eaten up by its grace."""
BUSY_PERCENT = 5.0
"""Utilisation from which on a GPU is at work, as nvidia-smi tells it."""


@dataclass(frozen=True)
class GuardLimits:
    """What a run may take; None switches a guard off.

    Attributes:
        max_hours: from the pod's first billed second to its end.
        budget: of the run, US dollars; what earlier pods of the run cost is in it.
        idle_gpu_min: minutes in which no GPU works, though the job runs.
        stalled_min: minutes without an event or a line of output of the job.
        grace_min: minutes that the client has for a last pull before the pod is ended, fewer where deadline or budget
            leave fewer.
        checkpoint_s: seconds that the job has to end by itself after SIGTERM.
    """

    max_hours: float | None = None
    budget: float | None = None
    idle_gpu_min: float | None = None
    stalled_min: float | None = None
    grace_min: float = 10.0
    checkpoint_s: float = 60.0

    def problems(self) -> list[str]:
        """What makes no sense in them, one sentence each."""
        given = {
            name: getattr(self, name)
            for name in ("max_hours", "budget", "idle_gpu_min", "stalled_min")
            if getattr(self, name) is not None
        }
        found = [f"{name}: {value:g} must be above 0" for name, value in given.items() if not value > 0]
        kept = {"grace_min": self.grace_min, "checkpoint_s": self.checkpoint_s}
        return found + [f"{name}: {value:g} must not be negative" for name, value in kept.items() if not value >= 0]


@dataclass(frozen=True)
class PricedLimits(GuardLimits):
    """The same on a pod.

    Attributes:
        price_per_h: of the pod, US dollars.
    """

    price_per_h: float = 0.0


@dataclass(frozen=True)
class Observed:
    """What is known of a run at one moment.

    Attributes:
        billed_s: seconds since the first pod of the run began to bill.
        spent: what the run has cost.
        gpu_idle_s: for how long no GPU has worked; None where no job runs or nobody can tell.
        silent_s: since the last event or line of the job; None where no job runs.
        bad_loss: the loss that is no number, in words; empty where there is none.
    """

    billed_s: float
    spent: float = 0.0
    gpu_idle_s: float | None = None
    silent_s: float | None = None
    bad_loss: str = ""


@dataclass(frozen=True)
class Verdict:
    """A guard that says that a run has to end.

    Attributes:
        guard: ``deadline``, ``budget``, ``nan_loss``, ``stalled`` or ``idle_gpu``.
        why: the figures.
    """

    guard: str
    why: str


def judge(limits: PricedLimits, observed: Observed) -> Verdict | None:
    """The first guard that has something against a run going on, the costliest first; None where none has."""
    for verdict in (_deadline(limits, observed), _budget(limits, observed)):
        if verdict:
            return verdict
    if observed.bad_loss:
        return Verdict("nan_loss", observed.bad_loss)
    for guard, limit_min, since_s, words in (
        ("stalled", limits.stalled_min, observed.silent_s, "no event and no line of output"),
        ("idle_gpu", limits.idle_gpu_min, observed.gpu_idle_s, "no GPU at work"),
    ):
        if limit_min is not None and since_s is not None and since_s >= limit_min * 60:
            return Verdict(guard, f"{words} for {since_s / 60:.1f} minutes; {limit_min:g} are allowed")
    return None


def left_s(limits: PricedLimits, observed: Observed) -> float:
    """Seconds until deadline or budget, whichever comes first: negative behind it, infinite where there is neither."""
    found = [math.inf]
    if limits.max_hours is not None:
        found.append(limits.max_hours * 3600 - observed.billed_s)
    if limits.budget is not None and limits.price_per_h:
        found.append((limits.budget - observed.spent) / limits.price_per_h * 3600)
    return min(found)


def _deadline(limits: PricedLimits, observed: Observed) -> Verdict | None:
    if limits.max_hours is None or observed.billed_s < _last_call_s(limits, limits.max_hours):
        return None
    hours = observed.billed_s / 3600
    return Verdict("deadline", f"{hours:.2f} of {limits.max_hours:g} hours are over; the rest is for the last pull")


def _budget(limits: PricedLimits, observed: Observed) -> Verdict | None:
    if limits.budget is None or not limits.price_per_h:
        return None
    hours = limits.budget / limits.price_per_h
    kept = limits.budget - limits.price_per_h * _last_call_s(limits, hours) / 3600
    if observed.spent < limits.budget - kept:
        return None
    return Verdict("budget", f"{observed.spent:.2f} of {limits.budget:.2f} are spent; the rest is for the last pull")


def _last_call_s(limits: PricedLimits, hours: float) -> float:
    """Seconds after which the end has to begin, so that it is over after `hours`."""
    end_s = limits.grace_min * 60 + limits.checkpoint_s
    return hours * 3600 - min(end_s, MAX_GRACE_SHARE * hours * 3600)


class IdleClock:
    """For how long no GPU has worked, from looks at it now and then; a gap between two looks does not count as idle."""

    def __init__(self, max_gap_s: float = 180.0) -> None:
        self._max_gap_s = max_gap_s
        self._last: float | None = None
        self._idle: float | None = None

    def look(self, utilisation: float | None, at: float) -> float | None:
        """Tell what was seen at the second `at` (a percentage; None: nobody could tell).

        Returns:
            Seconds of idleness, or None where nobody can tell.
        """
        gap = self._last is not None and at - self._last > self._max_gap_s
        self._last = at
        if utilisation is None:
            self._idle = None
            return None
        if utilisation >= BUSY_PERCENT or self._idle is None or gap:
            self._idle = at
        return at - self._idle


def bad_loss(event: Mapping[str, Any]) -> str:
    """In words, the first figure of a loss in an event of the run that is no finite number; empty where all are."""
    parts = event.get("parts")
    figures = {**(parts if isinstance(parts, dict) else {}), **{k: event.get(k) for k in ("val_loss", "loss")}}
    for name, value in figures.items():
        if isinstance(value, float) and not math.isfinite(value):
            where = [str(event[key]) for key in ("stage", "what") if event.get(key)]
            return f"{', '.join(where) or 'training'}: {name} is {value}"
    return ""
