"""Deadline and budget are hard: whatever job, volume and lender do, the end of the pod is asked for in time."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.pods import supervisor
from moola.pods.clock import Clock
from moola.pods.guards import Observed, PricedLimits, left_s
from moola.pods.pod_end import PodEnd
from moola.pods.supervisor import Supervisor


class Simulation:
    """A supervisor with a job, a volume and a lender that take only simulated time.

    Attributes:
        job_ended: when the job had ended, seconds after the supervisor's start.
        end_asked: when the pod's end was asked for.
    """

    def __init__(self, tick_s: float, works_s: float, saves_s: float, *, killable: bool = True, hangs: bool = False):
        self.at, self.ticks, self.tick_s, self.works_s, self.saves_s = 0.0, 0, tick_s, works_s, saves_s
        self.killable, self.is_busy, self.kept = killable, hangs, dict[str, Any]()
        self.job_ended = self.end_asked = float("nan")
        self.pid, self.no_space, self.asked_at, self.killed = 1, False, float("inf"), False

    def sleep(self, seconds: float) -> None:
        self.at += max(seconds, self.tick_s)
        self.ticks += 1
        assert self.ticks < 8_000, "it goes on and on"

    def pump(self, wait_s: float) -> tuple[bool, int | None]:
        self.sleep(wait_s)
        over = self.at >= min(self.works_s, self.asked_at + self.saves_s) or (self.killed and self.killable)
        self.job_ended = self.at
        return True, (0 if self.asked_at == float("inf") else 130) if over else None

    def kill(self, number: int) -> None:
        self.asked_at, self.killed = min(self.asked_at, self.at), number == 9

    def insist(self, try_again: object) -> str:
        self.end_asked = self.at
        return ""

    def begin(self, billed_s: float) -> str:
        return ""

    look = begin

    def attend(self) -> str:
        return ""

    stop = abandon = lambda self: None
    probe = lambda self: mock.Mock(armed=True, because="")  # noqa: E731

    def run(self, limits: PricedLimits, **job: Any) -> str:
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.multiple(
                supervisor,
                StepProcess=lambda *_: self,
                PodEnd=lambda _: self,
                VolumeCopies=lambda *_: self,
                write_object=lambda *_: None,
            ),
        ):
            told = {"run": "demo", "steps": [{"name": "job", "argv": []}], "guards": vars(limits), **job}
            (Path(folder) / "job.json").write_text(json.dumps({**told, "end": {"kind": "runpod"}}))
            with mock.patch.object(Supervisor, "request", return_value=None):
                return Supervisor(Path(folder), Clock(sleep=self.sleep, monotonic=lambda: self.at)).run()


_LIMITS = st.builds(
    PricedLimits,
    max_hours=st.floats(0.02, 100),
    budget=st.none() | st.floats(0.05, 50),
    price_per_h=st.floats(0.05, 10),
    grace_min=st.floats(0, 120),
    checkpoint_s=st.floats(0, 600),
)


@settings(max_examples=50)
@given(
    limits=_LIMITS,
    works=st.floats(0, 1.5),
    saves=st.floats(0, 2),
    earlier=st.floats(0, 1.2),
    killable=st.booleans(),
    hangs=st.booleans(),
)
def test_the_end_is_asked_for_by_deadline_and_budget_and_a_checkpoint(
    limits: PricedLimits, works: float, saves: float, earlier: float, killable: bool, hangs: bool
) -> None:
    whole_s = left_s(limits, Observed(0.0))
    billed_s = earlier * whole_s
    left = max(whole_s - billed_s, 0.0)
    tick_s = max(whole_s / 200, 0.1)
    found = Simulation(tick_s, works * left, saves * limits.checkpoint_s, killable=killable, hangs=hangs)
    outcome = found.run(limits, billed_s=billed_s, spent=billed_s / 3600 * limits.price_per_h)
    slack_s = 4 * tick_s + (0.0 if killable else supervisor._UNKILLABLE_S)
    assert found.end_asked <= left + limits.checkpoint_s + slack_s
    assert outcome in ("deadline", "budget", "finished")
    if outcome != "finished" and killable:
        waited_s = found.end_asked - found.job_ended
        assert waited_s >= min(limits.grace_min * 60, left - found.job_ended) - slack_s, "who comes in time can pull"


def test_a_grace_longer_than_what_is_left_is_cut() -> None:
    limits = PricedLimits(max_hours=1, grace_min=60, checkpoint_s=60)
    found = Simulation(1.0, works_s=1e9, saves_s=10)
    assert found.run(limits) == "deadline"
    assert found.job_ended == pytest.approx(0.9 * 3600 + 10, abs=3)
    assert found.end_asked == pytest.approx(3600, abs=3)


def test_a_job_that_cannot_be_killed_does_not_hold_up_the_end() -> None:
    found = Simulation(1.0, works_s=1e9, saves_s=1e9, killable=False)
    assert found.run(PricedLimits(max_hours=0.1, grace_min=0, checkpoint_s=10)) == "deadline"
    assert found.end_asked == pytest.approx(350 + 10 + supervisor._UNKILLABLE_S, abs=3)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Answers of the lender to come; the first one first, then 204."""
    answers: list[int] = []
    monkeypatch.setattr(
        PodEnd, "_ask", lambda *_: (answers.pop(0), {"title": "no"}) if answers else (204, dict[str, Any]())
    )
    return answers


def test_an_end_that_is_not_taken_is_asked_for_again(refusals: list[int]) -> None:
    refusals += [500, 0, 429, 400, 401, 403]
    paused: list[float] = []
    assert PodEnd({"kind": "runpod"}).insist(lambda because, pause_s: paused.append(pause_s) is None) == ""
    assert paused == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0]
    refusals += [403] * 9
    paused.clear()
    assert PodEnd({"kind": "runpod"}).insist(lambda because, pause_s: paused.append(pause_s) is None) == ""
    assert paused[-3:] == [300.0] * 3, "a refusal may be a proxy's, and the pod bills"
    nobodys = PodEnd({"kind": "none", "because": "your own machine"})
    assert nobodys.insist(lambda *_: pytest.fail("of no use")) == "your own machine"
    refusals += [500]
    assert PodEnd({"kind": "runpod"}).insist(lambda *_: False) == "HTTP 500: no"
