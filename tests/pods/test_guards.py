"""When a run has to end, whoever asks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.pods.guards import IdleClock, Observed, PricedLimits, bad_loss, judge


def test_nothing_ends_a_run_without_limits() -> None:
    assert judge(PricedLimits(), Observed(1e9, 1e9, 1e9, 1e9)) is None


@pytest.mark.parametrize(
    ("limits", "observed", "guard"),
    [
        (PricedLimits(max_hours=6), Observed(6 * 3600), "deadline"),
        (PricedLimits(budget=5, price_per_h=0.5), Observed(0, spent=5.0), "budget"),
        (PricedLimits(stalled_min=30), Observed(0, silent_s=1800), "stalled"),
        (PricedLimits(idle_gpu_min=30), Observed(0, gpu_idle_s=1800), "idle_gpu"),
        (PricedLimits(), Observed(0, bad_loss="pretrain: loss is nan"), "nan_loss"),
    ],
)
def test_each_guard_speaks_at_its_limit_and_not_before(limits: PricedLimits, observed: Observed, guard: str) -> None:
    verdict = judge(limits, observed)
    assert verdict is not None and verdict.guard == guard
    before = Observed(
        observed.billed_s * 0.5,
        observed.spent * 0.5,
        None if observed.gpu_idle_s is None else observed.gpu_idle_s - 1,
        None if observed.silent_s is None else observed.silent_s - 1,
    )
    assert judge(limits, before) is None


@given(st.floats(0.01, 1000), st.floats(0, 120), st.floats(0, 600))
def test_what_is_kept_for_the_end_fits_before_the_deadline(hours: float, grace_min: float, checkpoint_s: float) -> None:
    limits = PricedLimits(max_hours=hours, grace_min=grace_min, checkpoint_s=checkpoint_s)
    assert judge(limits, Observed(hours * 3600)) is not None
    assert judge(limits, Observed(hours * 3600 * 0.899)) is None
    end_s = grace_min * 60 + checkpoint_s
    if end_s < 0.1 * hours * 3600 * 0.999:
        assert judge(limits, Observed(hours * 3600 - end_s * 1.01 - 1)) is None
        assert judge(limits, Observed(hours * 3600 - end_s * 0.99)) is not None


@given(st.floats(0.1, 100), st.floats(0.05, 10), st.floats(0, 60))
def test_a_budget_is_a_deadline_in_money(budget: float, price: float, grace_min: float) -> None:
    hours = budget / price
    by_money = PricedLimits(budget=budget, price_per_h=price, grace_min=grace_min)
    by_time = PricedLimits(max_hours=hours, grace_min=grace_min)
    for share in (0.5, 0.89, 0.95, 0.999, 1.01):
        told = judge(by_money, Observed(0, spent=share * budget))
        assert (told is None) == (judge(by_time, Observed(share * hours * 3600)) is None)


def test_a_pod_that_costs_nothing_has_no_budget() -> None:
    assert judge(PricedLimits(budget=1), Observed(1e9, spent=0)) is None


def test_idleness_counts_from_the_last_work_and_forgets_what_nobody_saw() -> None:
    clock = IdleClock(max_gap_s=100)
    assert clock.look(0.0, 0) == 0
    assert clock.look(2.0, 60) == 60
    assert clock.look(90.0, 90) == 0
    assert clock.look(0.0, 150) == 60
    assert clock.look(0.0, 1000) == 0, "a machine that slept was not seen to be idle"
    assert clock.look(None, 1030) is None
    assert clock.look(0.0, 1060) == 0


def test_a_loss_that_is_no_number_is_found_as_json_brings_it() -> None:
    event = json.loads('{"event": "steps", "stage": "pretrain", "loss": NaN, "parts": {"net": 1.0}}')
    assert bad_loss(event) == "pretrain: loss is nan"
    assert bad_loss({"stage": "pretrain", "what": "seed 0", "parts": {"net": float("inf")}, "loss": 1.0}) == (
        "pretrain, seed 0: net is inf"
    )
    assert bad_loss({"event": "progress", "loss": 0.5, "val_loss": None}) == ""
    assert bad_loss({"event": "note", "parts": "none"}) == ""


def test_limits_that_make_no_sense_are_all_told() -> None:
    assert PricedLimits(max_hours=0, budget=-1, grace_min=-1).problems() == [
        "max_hours: 0 must be above 0",
        "budget: -1 must be above 0",
        "grace_min: -1 must not be negative",
    ]
    assert PricedLimits(max_hours=1).problems() == []
    assert PricedLimits(max_hours=float("nan")).problems()
