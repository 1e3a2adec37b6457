"""Following a run and guarding it from here, by clocks that tests set: silence, sleep, and a network that is away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runpod import FakeClock

from moola.pods.attaching import SILENT_HEART_S, Following, LogCopy, PodLostError
from moola.pods.client_guard import _LATE_GUARD_S, ClientGuard, DeafPodError
from moola.pods.guards import Observed, PricedLimits
from moola.pods.provider import PodError
from moola.pods.session import RunOnPod
from moola.pods.ssh import HostKeyError
from moola.pods.wire import ConnectionLostError

from .scripted_pod import ScriptedPod

RUN = "demo-0123456789ab"
LOST = ConnectionLostError("the connection is lost", "cut")


@pytest.fixture
def machine(clock: FakeClock) -> ScriptedPod:
    pod = ScriptedPod("p1", lambda pod: None, clock)
    pod.files["job.json"] = {"attempt": 1}
    pod._spawn()
    return pod


@pytest.fixture
def follow(machine: ScriptedPod, clock: FakeClock, tmp_path: Path) -> Callable[..., Any]:
    """Follows the machine; what was told is in `follow.told`."""
    told: list[str] = []

    def make(**more: Any) -> Following:
        more.setdefault("reconnect", lambda: None)
        log = LogCopy(tmp_path / "p1.jsonl")
        return Following(moola_path="src", log=log, show=lambda _: None, tell=told.append, clock=clock, **more)

    make.told = told  # type: ignore[attr-defined]
    return make


def run_on(machine: ScriptedPod) -> RunOnPod:
    shell = machine.shell()
    assert shell is not None
    return shell.of_run(RUN)


def test_a_supervisor_that_is_gone_is_started_anew_and_one_that_is_slow_is_not(machine, follow):
    def script(pod: ScriptedPod) -> None:
        pod.is_supervised = pod.is_supervised and pod.moments < 30
        if pod.spawned > 1:
            pod.finish()

    machine.script = script
    follow().follow(run_on(machine))
    assert machine.spawned == 2 and machine.moments > 30
    assert follow.told == ["the supervisor on the pod is gone; starting another"]


def test_a_supervisor_is_looked_for_only_after_silence_that_was_heard(machine, follow, clock):
    """A night in which the machine slept is no silence."""

    def script(pod: ScriptedPod) -> None:
        pod.is_supervised = False
        if pod.moments == 2:
            clock.close_lid(8 * 3600.0)
        if clock.monotonic() > began + SILENT_HEART_S / 2:
            pod.finish()

    began = clock.monotonic()
    machine.script = script
    follow().follow(run_on(machine))
    assert machine.spawned == 1


def test_sleep_while_it_connects_again_costs_no_patience(machine, follow, clock):
    tries: list[float] = []

    def reconnect() -> RunOnPod | None:
        tries.append(clock.now())
        clock.close_lid(3600.0)
        return run_on(machine) if len(tries) > 5 else None

    follow(reconnect=reconnect).wait_for(LOST)
    assert len(tries) == 6 and clock.now() - tries[0] > 5 * 3600


def test_a_wall_clock_that_is_set_back_changes_nothing(machine, follow, clock):
    def reconnect() -> None:
        clock.close_lid(-86400.0)

    with pytest.raises(PodError, match="does not answer"):
        follow(reconnect=reconnect).wait_for(LOST)


def test_a_network_that_is_away_is_waited_for_and_told_of(machine, follow, clock):
    """Neither pod nor lender answers for a day: the fault is at this end, and the pod's own guards look after it."""
    began = clock.now()

    def reconnect() -> RunOnPod:
        if clock.now() - began < 86400:
            raise PodError("cannot reach the API")
        return run_on(machine)

    follow(reconnect=reconnect, is_dead=lambda: None).wait_for(LOST)
    assert sum("off the network" in line for line in follow.told) == 1 and follow.told[-1] == "connected again"


STRANGER = HostKeyError("me@pod is not known to be the machine it should be", "another key")


def test_a_stranger_at_the_pods_address_gets_nothing_and_is_told_of_once(machine, follow, clock):
    def reconnect() -> RunOnPod:
        raise STRANGER

    began = clock.monotonic()
    with pytest.raises(HostKeyError) as caught:
        follow(reconnect=reconnect).wait_for(LOST)
    assert caught.value is STRANGER and clock.monotonic() - began >= 900
    assert sum("nothing is sent to it" in line for line in follow.told) == 1


def test_a_pod_that_shows_its_new_key_after_a_while_is_followed_again(machine, follow):
    answers = iter([STRANGER, None, STRANGER, run_on(machine)])

    def reconnect() -> RunOnPod | None:
        if isinstance(answer := next(answers), HostKeyError):
            raise answer
        return answer

    def script(pod: ScriptedPod) -> None:
        if pod.moments == 2:
            raise STRANGER  # as of a request that has to log in again
        if pod.moments > 3:
            pod.finish()

    machine.script = script
    follow(reconnect=reconnect).follow(run_on(machine))
    assert follow.told[-1] == "connected again"


def test_a_run_that_a_new_disk_has_not_is_lost(machine, follow):
    machine.script = lambda pod: pod.files.clear()
    with pytest.raises(PodLostError, match="not on its pod any more"):
        follow().follow(run_on(machine))


def test_patience_with_a_pod_that_its_lender_has_ends_and_does_not_call_it_lost(machine, follow, clock):
    began = clock.monotonic()
    with pytest.raises(PodError) as caught:
        follow().wait_for(LOST)
    assert not isinstance(caught.value, PodLostError) and 900 <= clock.monotonic() - began < 960


def test_another_log_than_the_copy_loses_no_pod(machine, follow, tmp_path):
    machine.say("step 1")
    copy = LogCopy(tmp_path / "p1.jsonl")
    copy.add(machine.log.decode().splitlines(), 0, len(machine.log))
    machine.script = lambda pod: copy.add(["{}"], copy.size, copy.size + 3)  # another client writes the copy, too
    with pytest.raises(PodError, match="does not go on where it was") as caught:
        follow().follow(run_on(machine))
    assert not isinstance(caught.value, PodLostError) and "attach" in caught.value.way_out


@pytest.fixture
def guard(clock: FakeClock) -> tuple[ClientGuard, list[float]]:
    """A guard with a deadline of one hour, and the hours that the ledger tells."""
    hours = [0.5]
    limits = PricedLimits(max_hours=1, checkpoint_s=30)
    return ClientGuard(limits, lambda: Observed(hours[0] * 3600), clock), hours


def test_the_client_lets_the_supervisor_act_first_then_asks_once_then_ends(machine, guard, clock):
    guard, hours = guard
    pod, running = run_on(machine), {"phase": "running", "attempt": 3}
    machine.heeds = False
    guard.look(pod, running)
    hours[0] = 1.0
    guard.look(pod, running)
    clock.sleep(_LATE_GUARD_S)
    guard.look(pod, running)
    assert "stop.json" not in machine.files
    clock.sleep(1)
    guard.look(pod, running)
    assert machine.files.pop("stop.json")["attempt"] == 3
    clock.sleep(_LATE_GUARD_S)
    guard.look(pod, running)
    assert "stop.json" not in machine.files, "it was asked once"
    clock.sleep(30)
    with pytest.raises(DeafPodError, match="hours are over"):
        guard.look(pod, running)


def test_a_night_of_sleep_leaves_the_supervisor_its_minute(machine, guard, clock):
    guard, hours = guard
    pod = run_on(machine)
    hours[0] = 1.0
    guard.look(pod, {"phase": "running"})
    clock.close_lid(8 * 3600.0)
    guard.look(pod, {"phase": "running"})
    assert "stop.json" not in machine.files


def test_a_job_that_has_ended_needs_no_guard(machine, guard, clock):
    guard, hours = guard
    hours[0] = 2.0
    for phase in ("running", "waiting", "running"):
        guard.look(run_on(machine), {"phase": phase})
        clock.sleep(_LATE_GUARD_S - 1)
    guard.look(run_on(machine), {"phase": "running"})
    assert "stop.json" not in machine.files
