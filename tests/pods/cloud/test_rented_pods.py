"""Points of a sweep on pods that the sweep rents and lends to them: so many pods, so many points on each."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stand_in
from until import wait_for

from moola.errors import ConfigError
from moola.layout import Layout
from moola.pipelines.sweep_record import Point, read_states
from moola.pods import starting
from moola.pods.acquiring import STARTED
from moola.pods.estimating import Estimate
from moola.pods.guards import GuardLimits
from moola.pods.lending import CALLED_OFF, borrowing, keeper_bundle, pod_runs, renting, shared_rent
from moola.pods.provider import LENT, Offer
from moola.pods.running import PodRun
from moola.pods.settings import PodSettings, load_settings
from moola.sweeps.pod_budget import SweepBudget
from moola.sweeps.pod_point import OpenRun
from moola.sweeps.pod_sweep import PodSweep, SweepStoppedError
from moola.sweeps.rented_pods import RentedPods

from .conftest import World
from .scripted_pod import Scripted, ScriptedPod

PRICE = 0.36
OFFER = Offer("a5000", "A5000", 24, "SECURE", "EU-RO-1", "HIGH", PRICE)
ONE = Estimate(OFFER, 1.0)
SWEEP = "demo-abcdef012345"
Sweeps = Callable[..., PodSweep]


def points(n: int) -> list[Point]:
    return [Point(number, (f"seed={number}",), f"demo-{number:012x}") for number in range(n)]


@pytest.fixture
def sweep(world: World, scripted: Scripted, tmp_path: Path) -> Sweeps:
    """A sweep of stand-ins on rented pods of the fake account, on which points do what `scripted.script` says."""
    layout = Layout(tmp_path / "data", tmp_path / "artifacts")
    scripted.lends = True

    def make(n: int, budget: float = float("inf"), pods: int = 1, jobs: int = 1, **more: Any) -> PodSweep:
        def order(point: Point, own: PodSettings) -> OpenRun:
            bundle = stand_in.stand_in_bundle(tmp_path / "packed", point.run_id)
            return lambda tell, show: PodRun(bundle, own, layout, world.provider, world.ledger, tell, show, world.clock)

        def rent(run: str, own: PodSettings) -> OpenRun:
            bundle = keeper_bundle(run, layout)
            return lambda tell, show: PodRun(bundle, own, layout, world.provider, world.ledger, tell, show, world.clock)

        guards = more.pop("guards", GuardLimits(max_hours=100))
        own = stand_in.settings(provider="runpod", gpus=("A5000",), cloud=("SECURE",), guards=guards)
        shared = SweepBudget(budget, ONE, [point.run_id for point in points(n)], world.ledger, SWEEP)
        logs = tmp_path / SWEEP / "logs"
        rented = RentedPods(SWEEP, logs, world.provider, world.ledger, own, shared, rent, pods, jobs, world.told.append)
        return PodSweep(
            more.pop("points", points(n)),
            tmp_path / SWEEP,
            lambda number: tmp_path / f"{number}.log",
            own,
            shared,
            order,
            pods,
            jobs,
            tell=world.told.append,
            rented=rented,
            **more,
        )

    return make


class Jobs:
    """What points do, and what was seen meanwhile.

    Attributes:
        most_pods: that billed at once.
        most_points: at work at once on one pod.
        began: run -> how often its job was started.

    Args:
        world: that they are in.
        hours: that each takes.
        together: of them begin before one ends: else the second one of a pod that was lost might not have heard of
            that when the first has done all its work on the next pod, which then ends, for nobody waits for it.
    """

    def __init__(self, world: World, hours: float = 0.5, together: int = 1) -> None:
        self.world, self.hours, self._lock = world, hours, threading.Lock()
        self._together, self._begun = threading.Barrier(together, timeout=60), set[str]()
        self.most_pods, self.most_points = 0, 0
        self.began: dict[str, int] = {}

    def __call__(self, pod: ScriptedPod) -> None:
        if self._together.parties > 1 and pod.name not in self._begun:
            if pod.moments == 1:
                return  # the next one sends its files once this one is followed
            self._begun.add(pod.name)
            self._together.wait()
        with self._lock:
            assert pod.host is not None
            at_work = [one for one in self.world.ledger.pods(open_only=True) if one.provider == LENT]
            on_it = [one for one in at_work if one.data_center == pod.pod_id]
            self.most_pods = max(self.most_pods, len(self.world.billing()))
            self.most_points = max(self.most_points, len(on_it))
            assert len({one.run for one in at_work}) == len(at_work), "a point is at work twice"
            if not pod.files.get("over"):
                pod.files["over"] = True
                self.began[pod.name] = self.began.get(pod.name, 0) + 1
                self.world.clock.at += self.hours * 3600
                pod.finish()


def nothing_is_left(world: World) -> bool:
    return world.billing() == [] and world.ledger.pods(open_only=True) == [] and world.ledger.open_intents() == []


def test_points_follow_each_other_on_one_pod(world, scripted, sweep, tmp_path):
    scripted.script = jobs = Jobs(world)
    ends = sweep(4).run()
    assert [ends[number].status for number in range(4)] == ["finished"] * 4
    assert len(world.fake.pods) == 1 and jobs.most_points == 1 and nothing_is_left(world)
    assert world.fake.pods["pod0000abcdef"].body["name"].startswith(f"moola-{SWEEP}-pod0-")
    assert {one.run for one in world.ledger.pods() if one.provider == "runpod"} == {f"{SWEEP}-pod0"}
    assert "1 rented pod: $" in world.told[-1]


def test_so_many_pods_and_so_many_points_on_each(world, scripted, sweep, tmp_path):
    jobs, all_six = Jobs(world), threading.Barrier(6, timeout=60)

    def script(pod: ScriptedPod) -> None:
        if pod.moments == 1:
            return  # the next one sends its files once this one is followed
        if int(pod.name[-2:], 16) < 6 and not pod.files.get("over"):
            all_six.wait()
        jobs(pod)

    scripted.script = script
    ends = sweep(12, pods=2, jobs=3).run()
    assert {end.status for end in ends.values()} == {"finished"} and len(ends) == 12
    assert len(world.fake.pods) == 2 and jobs.most_pods == 2 and jobs.most_points == 3
    assert nothing_is_left(world) and set(jobs.began.values()) == {1}
    states = read_states(tmp_path / SWEEP)
    rent = sum(pod.cost for pod in world.ledger.pods())
    assert 0 < sum(state.cost_usd for state in states.values()) <= rent + 1e-9
    assert {state.where for state in states.values()} == set(world.fake.pods)


def test_no_pod_is_rented_for_a_point_that_has_room_on_another(world, scripted, sweep):
    scripted.script = Jobs(world)
    sweep(3, pods=3, jobs=4).run()
    assert len(world.fake.pods) == 1 and nothing_is_left(world)


def test_a_pod_that_dies_is_replaced_and_its_points_go_on_there(world, scripted, sweep, tmp_path):
    jobs = Jobs(world, together=2)
    died = threading.Event()

    def script(pod: ScriptedPod) -> None:
        if pod.pod_id == "pod0000abcdef":
            if pod.moments >= 2 and len(pod.host.runs) == 3:
                world.fake.pods[pod.pod_id].ended_at, pod.host.is_away = world.clock.at, True
                died.set()
        else:
            assert died.is_set()
            jobs(pod)

    scripted.script = script
    ends = sweep(4, jobs=2).run()
    assert {end.status for end in ends.values()} == {"finished"}
    assert len(world.fake.pods) == 2 and nothing_is_left(world) and jobs.most_pods == 1
    assert pod_runs(SWEEP, world.ledger) == [f"{SWEEP}-pod0", f"{SWEEP}-pod1"]
    assert "tried on another pod" in (tmp_path / "0.log").read_text()


def test_a_pod_that_falls_silent_is_ended_before_its_points_begin_elsewhere(world, scripted, sweep):
    jobs = Jobs(world, together=2)

    def script(pod: ScriptedPod) -> None:
        if pod.pod_id == "pod0000abcdef":
            pod.host.is_away = pod.moments >= 2
        else:
            assert world.fake.pods["pod0000abcdef"].ended_at is not None
            jobs(pod)

    scripted.script = script
    ends = sweep(2, jobs=2).run()
    assert {end.status for end in ends.values()} == {"finished"} and len(world.fake.pods) == 2
    assert nothing_is_left(world)


def test_a_point_that_fails_by_itself_ends_neither_another_nor_the_pod(world, scripted, sweep):
    jobs = Jobs(world)

    def script(pod: ScriptedPod) -> None:
        if pod.name == "demo-000000000001":
            pod.finish("failed")
        else:
            jobs(pod)

    scripted.script = script
    ends = sweep(4, jobs=2).run()
    assert [ends[number].status for number in range(4)] == ["finished", "failed", "finished", "finished"]
    assert len(world.fake.pods) == 1 and nothing_is_left(world)


def test_a_pod_that_fails_a_preflight_takes_no_further_point(world, scripted, sweep):
    jobs = Jobs(world, together=3)

    def script(pod: ScriptedPod) -> None:
        if pod.pod_id != "pod0000abcdef":
            jobs(pod)
            return
        pod.files["preflight-report.json"] = [{"check": "gpu", "ok": False, "said": "no", "elsewhere": True}]
        pod.finish("failed")
        pod.files["status.json"] |= {"step": "preflight", "steps": {"preflight": {"exit_code": 4}}}

    scripted.script = script
    ends = sweep(3, jobs=3).run()
    assert {end.status for end in ends.values()} == {"finished"} and len(world.fake.pods) == 2
    assert nothing_is_left(world)


def test_a_pod_that_dies_too_often_fails_its_points_and_leaves_none(world, scripted, sweep):
    def vanish(pod: ScriptedPod) -> None:
        world.fake.pods[pod.pod_id].ended_at, pod.host.is_away = world.clock.at, True

    scripted.script = vanish
    ends = sweep(2, jobs=2, point_retries=2).run()
    assert {end.status for end in ends.values()} == {"failed"} and 3 <= len(world.fake.pods) <= 6
    assert nothing_is_left(world)


def test_a_pod_that_ends_while_room_is_looked_for_stops_no_sweep(world, scripted, sweep, monkeypatch):
    """Its place was taken when that was asked, and by the time its end is waited for there is nothing to wait for."""
    made = sweep(2, guards=GuardLimits(max_hours=1.5))
    scripted.script = Jobs(world, hours=1.0)
    settle = made.rented.settle

    def late() -> bool:
        made.rented.tidy(wanted=False)
        wait_for(lambda: world.billing() == [] and all(pod.is_over for pod in made.rented._pods))
        return settle()

    monkeypatch.setattr(made.rented, "settle", late)
    ends = made.run()
    assert {end.status for end in ends.values()} == {"finished"} and nothing_is_left(world)


def test_where_nobody_has_a_machine_points_are_left_and_say_why(world, scripted, sweep, tmp_path):
    world.fake.gpus = [replace(gpu, stock=dict.fromkeys(gpu.stock, "NONE")) for gpu in world.fake.gpus]
    ends = sweep(3, jobs=2).run()
    assert {end.status for end in ends.values()} == {"left"} and nothing_is_left(world)
    assert all("not begun" in state.why for state in read_states(tmp_path / SWEEP).values())


def test_one_budget_is_for_all_pods_and_more_of_it_goes_on(world, scripted, sweep, tmp_path):
    """A point takes an hour; 2.6 hours are paid for, of which two points fit, one after the other."""
    scripted.script = jobs = Jobs(world, hours=1.0)
    ends = sweep(4, budget=2.6 * PRICE).run()
    assert [ends[number].status for number in range(4)] == ["finished", "finished", "left", "left"]
    assert isinstance(ends[2].error, SweepStoppedError) and nothing_is_left(world)
    [told] = [line for line in world.told if "does not reach for 2 of its points" in line]
    assert "are spent" in told and "are missing" in told and "--budget" in told
    assert sum(pod.cost for pod in world.ledger.pods()) <= 2.6 * PRICE
    ends = sweep(4, budget=6 * PRICE, points=points(4)[2:]).run()
    assert {end.status for end in ends.values()} == {"finished"} and set(jobs.began.values()) == {1}


def test_shares_of_pods_sum_to_no_more_than_the_budget(world, scripted, sweep):
    held: list[float] = []
    all_three = threading.Barrier(3, timeout=60)
    jobs = Jobs(world, hours=0.2)

    def script(pod: ScriptedPod) -> None:
        if int(pod.name[-2:], 16) < 3 and not pod.files.get("over"):
            all_three.wait()
            known = [one for one in world.ledger.pods() if one.provider == "runpod"]
            held.append(sum(world.ledger.budget(one.run) if one.ended_at is None else one.cost for one in known))
        jobs(pod)

    scripted.script = script
    sweep(6, budget=5 * PRICE, pods=3).run()
    assert len(held) == 3 and max(held) <= 5 * PRICE + 1e-9 and nothing_is_left(world)
    assert max(held) == pytest.approx(5 * PRICE), "and with three at work nothing of it lies idle"


def test_points_of_a_pod_whose_time_is_over_go_on_on_another(world, scripted, sweep, tmp_path):
    jobs = Jobs(world, hours=0.1, together=2)

    def script(pod: ScriptedPod) -> None:
        if pod.pod_id == "pod0000abcdef":
            if len(pod.host.runs) == 3 and pod.moments >= 2:
                pod.host.ends()
        else:
            jobs(pod)

    scripted.script = script
    ends = sweep(2, jobs=2, point_retries=0).run()
    assert {end.status for end in ends.values()} == {"finished"}, "that is no fault of the pod"
    assert len(world.fake.pods) == 2 and scripted.states >= 2 and jobs.most_pods == 1 and nothing_is_left(world)


def test_a_pod_without_time_for_a_further_point_is_replaced(world, scripted, sweep):
    scripted.script = jobs = Jobs(world, hours=1.0)
    ends = sweep(4, guards=GuardLimits(max_hours=2.5)).run()
    assert {end.status for end in ends.values()} == {"finished"}
    assert len(world.fake.pods) == 2, "two points of an hour fit into two and a half"
    assert jobs.most_pods == 1 and nothing_is_left(world)


class Killed(BaseException):
    """Ends a thread where it is, as a kill does."""


@pytest.mark.parametrize("jobs_at_once", [1, 3])
def test_a_client_that_is_killed_is_followed_by_one_that_goes_on_with_pods_and_points(
    world, scripted, sweep, tmp_path, monkeypatch, jobs_at_once
):
    """The first one stops dead with points at work; nothing of it is asked or told any more."""
    jobs, may_go_on = Jobs(world), threading.Event()
    is_dead = threading.Event()

    def script(pod: ScriptedPod) -> None:
        pod.files.setdefault("begun", 0)
        pod.files["begun"] += pod.moments == 1
        if may_go_on.is_set():
            jobs(pod)

    scripted.script = script
    first = sweep(5, pods=2, jobs=jobs_at_once)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr("moola.pods.attaching.POLL_S", 0.0)
    hosts = scripted.hosts

    def kill(pod: ScriptedPod) -> None:
        if is_dead.is_set():
            raise Killed
        script(pod)

    scripted.script = kill
    scripted.keeper = lambda pod: (_ for _ in ()).throw(Killed()) if is_dead.is_set() else None
    monkeypatch.setattr(first.rented, "_keep", quiet(first.rented._keep))
    thread = threading.Thread(target=quiet(first.run), daemon=True)
    at_work = min(5, 2 * jobs_at_once)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    thread.start()

    def all_work() -> bool:
        begun = [pod for host in list(hosts.values()) for pod in list(host.runs.values()) if pod.files.get("begun")]
        return len(begun) == at_work

    wait_for(all_work)
    monkeypatch.setattr(first.rented, "has_news", lambda: (_ for _ in ()).throw(Killed()))
    is_dead.set()
    wait_for(lambda: not thread.is_alive() and not any(one.name.startswith("demo-") for one in threading.enumerate()))
    assert len(world.billing()) == 2
    before = {pod.run: pod.data_center for pod in world.ledger.pods(open_only=True) if pod.provider == LENT}
    assert len(before) == at_work
    is_dead.clear()
    may_go_on.set()
    ends = sweep(5, pods=2, jobs=jobs_at_once).run()
    assert {end.status for end in ends.values()} == {"finished"}
    assert len(world.fake.pods) == 2 and jobs.most_pods == 2 and nothing_is_left(world)
    assert set(jobs.began.values()) == {1}
    lent = [pod for pod in world.ledger.pods() if pod.provider == LENT]
    assert len(lent) == 5, "each has been on one pod"
    assert all(pod.data_center == before.get(pod.run, pod.data_center) for pod in lent)


def quiet(keep: Callable[..., None]) -> Callable[..., None]:
    def kept(*arguments: Any) -> None:
        with contextlib.suppress(Killed):
            keep(*arguments)

    return kept


def test_a_client_after_one_that_was_killed_while_it_rented_takes_that_pod(world, scripted, sweep):
    made = sweep(1)
    world.ledger.add_run(f"{SWEEP}-pod0", SWEEP, "", 5.0, None)
    world.ledger.intend("runpod", f"{SWEEP}-pod0", OFFER)
    world.provider.create(made.settings.wish, f"{SWEEP}-pod0", world.provider.offers(made.settings.wish)[0], "key")
    world.fake.hidden_s = 30
    scripted.script = Jobs(world)
    ends = made.run()
    assert ends[0].status == "finished" and len(world.fake.pods) == 1 and nothing_is_left(world)


def rented_before(world: World, made: PodSweep, n: int) -> None:
    """Pods of a client that was killed."""
    for number in range(n):
        run = f"{SWEEP}-pod{number}"
        world.ledger.add_run(run, SWEEP, "", 5.0, None)
        world.ledger.intend("runpod", run, OFFER)
        pod = world.provider.create(made.settings.wish, run, world.provider.offers(made.settings.wish)[0], "key")
        world.ledger.add_pod(pod)
        world.ledger.settle(number + 1, "created")


def test_pods_that_ended_while_no_client_was_there_are_not_rented_anew(world, scripted, sweep):
    made = sweep(1)
    rented_before(world, made, 3)
    for pod in world.fake.pods.values():
        pod.ended_at = world.clock.at
    scripted.script = jobs = Jobs(world)
    assert made.run()[0].status == "finished"
    assert len(world.fake.pods) == 4 and jobs.most_pods == 1 and nothing_is_left(world)


def test_pods_that_an_earlier_client_left_and_nobody_needs_end_before_the_first_point_does(world, scripted, sweep):
    made, seen = sweep(1), list[list[str]]()
    rented_before(world, made, 3)
    jobs = Jobs(world)

    def script(pod: ScriptedPod) -> None:
        if pod.moments == 2:
            wait_for(lambda: len(world.billing()) == 1)
            seen.append(world.billing())
        if pod.moments > 2:
            jobs(pod)

    scripted.script = script
    assert made.run()[0].status == "finished"
    assert len(seen) == 1 and len(world.fake.pods) == 3 and nothing_is_left(world)


def test_no_further_pod_comes_where_one_loses_its_room_while_a_point_is_packed(world, scripted, sweep, monkeypatch):
    made, jobs = sweep(2, jobs=2), Jobs(world)
    order, may_end = made.order, threading.Event()

    def packed(point: Point, own: PodSettings) -> OpenRun:
        if point.number == 1 and not may_end.is_set():
            wait_for(lambda: scripted.hosts and "demo-000000000000" in scripted.hosts["pod0000abcdef"].runs)
            made.rented.avoid("demo-000000000000")
            may_end.set()
        return order(point, own)

    def script(pod: ScriptedPod) -> None:
        jobs.most_pods = max(jobs.most_pods, len(world.billing()))
        if may_end.is_set() and not pod.files.get("over"):
            until = time.monotonic() + 0.5
            while time.monotonic() < until:  # the other one finds a place meanwhile, if it may
                jobs.most_pods = max(jobs.most_pods, len(world.billing()))
                time.sleep(0.01)
        if may_end.is_set():
            jobs(pod)

    monkeypatch.setattr(made, "order", packed)
    scripted.script = script
    ends = made.run()
    assert {end.status for end in ends.values()} == {"finished"}
    assert jobs.most_pods == 1 and len(world.fake.pods) == 2 and nothing_is_left(world)


def test_a_pod_that_is_to_end_and_does_not_is_ended_all_the_same(world, scripted, sweep):
    """Its supervisor hangs: it takes the wish, and does nothing."""
    scripted.script = Jobs(world)

    def deaf(pod: ScriptedPod) -> None:
        pod.heeds = False
        if pod.files.get("stop.json"):
            world.clock.at += 10

    scripted.keeper = deaf
    assert sweep(1).run()[0].status == "finished" and nothing_is_left(world)


def test_a_pod_whose_thread_died_is_ended_when_its_points_have_left(world, scripted, sweep, monkeypatch):
    """A disk that is full, say; its points go on, and another pod takes the next."""
    made, jobs = sweep(2, pods=1), Jobs(world)
    died = threading.Event()

    def keeper(pod: ScriptedPod) -> None:
        if not died.is_set() and "demo-000000000000" in pod.host.runs:
            died.set()
            raise OSError(28, "No space left on device")

    def script(pod: ScriptedPod) -> None:
        if died.is_set():
            jobs(pod)

    scripted.script, scripted.keeper = script, keeper
    ends = made.run()
    assert {end.status for end in ends.values()} == {"finished"}
    assert len(world.fake.pods) == 2 and jobs.most_pods == 1 and nothing_is_left(world)


def test_a_log_that_cannot_be_written_leaves_no_point_waiting(world, scripted, sweep, tmp_path):
    (tmp_path / SWEEP).mkdir()
    (tmp_path / SWEEP / "logs").write_text("no folder")
    ends = sweep(1).run()
    assert ends[0].status == "failed" and nothing_is_left(world)


def test_ctrl_c_leaves_no_pod_for_a_point_that_waits_to_send(world, scripted, sweep, monkeypatch):
    """The first one sends, the second one waits for it: nothing is at work on the pod, so it ends."""
    made, report = sweep(2, jobs=2), starting.push()

    def push(connection: Any, root: str, bundle: Any, run: str, **_: Any) -> Any:
        if not run.endswith("-pod0"):
            wait_for(lambda: len([pod for pod in world.ledger.pods(open_only=True) if pod.provider == LENT]) == 2)
            made._asked.set()
        return report

    monkeypatch.setattr(starting, "push", push)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    next_end = made._next_end

    def interrupted() -> Any:
        if made._asked.is_set() and not hasattr(made, "was_asked"):
            made.was_asked = True
            raise KeyboardInterrupt
        return next_end()

    monkeypatch.setattr(made, "_next_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert nothing_is_left(world)


def test_ctrl_c_ends_no_pod_under_its_points_though_that_takes_no_more(world, scripted, sweep, monkeypatch):
    made, at_work = sweep(2, jobs=2), set[str]()

    def script(pod: ScriptedPod) -> None:
        at_work.add(pod.name)

    scripted.script = script
    monkeypatch.setattr("signal.signal", lambda *_: None)
    next_end = made._next_end

    def interrupted() -> Any:
        if not hasattr(made, "was_asked"):
            made.was_asked = True
            wait_for(lambda: len(at_work) == 2)
            made.rented.avoid("demo-000000000000")  # as where its preflight failed a third one
            raise KeyboardInterrupt
        time.sleep(0.5)  # its thread looks many times
        return next_end()

    monkeypatch.setattr(made, "_next_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    host = scripted.hosts["pod0000abcdef"]
    assert not any("stop.json" in pod.files for pod in host.runs.values())
    assert world.billing() == ["pod0000abcdef"]


def test_fewer_pods_the_second_time_rents_no_other(world, scripted, sweep):
    """Three pods are there, one is allowed now: those are used up, and no fourth comes."""
    made = sweep(3)
    for number in range(3):
        world.ledger.add_run(f"{SWEEP}-pod{number}", SWEEP, "", 5.0, None)
        world.ledger.intend("runpod", f"{SWEEP}-pod{number}", OFFER)
        run = f"{SWEEP}-pod{number}"
        pod = world.provider.create(made.settings.wish, run, world.provider.offers(made.settings.wish)[0], "key")
        world.ledger.add_pod(pod)
    scripted.script = Jobs(world)
    ends = made.run()
    assert {end.status for end in ends.values()} == {"finished"}
    assert len(world.fake.pods) == 3 and nothing_is_left(world)


def test_a_sweep_that_is_called_off_begins_no_more_and_leaves_no_pod(world, scripted, sweep, tmp_path):
    jobs = Jobs(world)

    def script(pod: ScriptedPod) -> None:
        if not pod.files.get("over"):
            world.ledger.add_event(SWEEP, "", CALLED_OFF, "")
        jobs(pod)

    scripted.script = script
    ends = sweep(3).run()
    assert [ends[number].status for number in range(3)] == ["finished", "left", "left"]
    assert "called off" in ends[1].error.what and nothing_is_left(world)


def test_rent_is_shared_out_by_time_at_work(world, scripted):
    """The pod bills four hours: one of set-up, one with a single point, one with two, one with none."""
    clock, ledger, owner = world.clock, world.ledger, world.ledger.owner
    from moola.pods.provider import PodRecord

    host = replace(PodRecord.unbilled("runpod", "p0", f"{SWEEP}-pod0", owner, OFFER, clock.now()), price_per_h=PRICE)
    ledger.add_pod(host)
    place = replace(OFFER, data_center="p0")

    def begin(run: str) -> None:
        ledger.add_pod(PodRecord.unbilled(LENT, f"p0-{run}", run, owner, place, clock.now()))

    clock.at += 3600
    begin("one")
    clock.at += 3600
    begin("two")
    clock.at += 3600
    for run in ("one", "two"):
        ledger.end_pod(LENT, f"p0-{run}", "finished")
    clock.at += 3600
    ledger.end_pod("runpod", "p0", "stopped")
    pods = ledger.pods()
    shared = shared_rent(next(pod for pod in pods if pod.pod_id == "p0"), pods)
    assert shared.by_run == pytest.approx({"one": 1.5 * PRICE, "two": 0.5 * PRICE})
    assert shared.idle == pytest.approx(2 * PRICE)


def test_points_keep_what_was_said_of_pods(world):
    own = stand_in.settings(provider="runpod", network_volume="vol", count=2, guards=GuardLimits(max_hours=3, budget=9))
    point = borrowing(own, f"{SWEEP}-pod0", 2)
    assert (point.provider, point.volume_place, point.gpu_count, point.retries) == (LENT, "/workspace", 2, 0)
    assert (point.guards.budget, point.guards.max_hours) == (None, 3)
    assert point.provider_options.hosts == (f"{SWEEP}-pod0",) * 2
    pod = renting(own, 4.5)
    assert (pod.provider, pod.wish, pod.guards.budget) == ("runpod", own.wish, 4.5)
    with pytest.raises(ConfigError, match="for the points of a sweep alone"):
        load_settings(["pod.provider=lent"])


def test_what_is_lent_on_a_pod_ends_with_it(world):
    from moola.pods.provider import PodRecord

    ledger, owner = world.ledger, world.ledger.owner
    ledger.add_pod(PodRecord.unbilled("runpod", "p0", f"{SWEEP}-pod0", owner, OFFER, world.clock.now()))
    ledger.add_event(f"{SWEEP}-pod0", "p0", STARTED, "")
    place = replace(OFFER, data_center="p0")
    ledger.add_pod(PodRecord.unbilled(LENT, "p0-1", "demo", owner, place, world.clock.now()))
    ledger.end_pod("runpod", "p0", "reaped")
    assert ledger.pods(open_only=True) == []
