"""Points of a sweep on rented pods: so many at once, one budget for all, and another pod where one dies."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stand_in
from fake_runpod import FakeClock, PodPlan
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf, ValidationError

from moola.cli import main
from moola.config import ConfigProblems
from moola.errors import MoolaError
from moola.layout import Layout
from moola.pipelines.sweep_record import Point, Sweep, read_states
from moola.pods.estimating import Estimate
from moola.pods.guards import GuardLimits
from moola.pods.keeping import alone_at
from moola.pods.ledger import Ledger
from moola.pods.provider import Offer, PodRecord, PodState
from moola.pods.running import PodRun
from moola.pods.session import PodShell
from moola.pods.settings import PodSettings
from moola.sweeps.interruption import Interruption
from moola.sweeps.pod_budget import SweepBudget
from moola.sweeps.pod_launcher import PodOptions, PodWords, pod_settings, pods_of
from moola.sweeps.pod_point import OpenRun, PodPoint, PointEnd
from moola.sweeps.pod_sweep import PodSweep, SweepStoppedError

from .conftest import World
from .scripted_pod import Scripted, ScriptedPod

PRICE = 0.36
"""Of the fake account's A5000, US dollars an hour."""
OFFER = Offer("a5000", "A5000", 24, "SECURE", "EU-RO-1", "HIGH", PRICE)
ONE = Estimate(OFFER, 1.0)
Sweeps = Callable[..., PodSweep]


def points(n: int) -> list[Point]:
    return [Point(number, (f"seed={number}",), f"demo-{number:012x}") for number in range(n)]


@pytest.fixture
def sweep(world: World, scripted: Scripted, tmp_path: Path) -> Sweeps:
    """A sweep of stand-ins on the fake account, whose pods do what `scripted.script` says."""
    layout = Layout(tmp_path / "data", tmp_path / "artifacts")

    def make(n: int, budget: float = float("inf"), **more: Any) -> PodSweep:
        def order(point: Point, own: PodSettings) -> OpenRun:
            bundle = stand_in.stand_in_bundle(tmp_path / "packed", point.run_id)
            return lambda tell, show: PodRun(bundle, own, layout, world.provider, world.ledger, tell, show, world.clock)

        own = stand_in.settings(provider="runpod", gpus=("A5000",), cloud=("SECURE",))
        todo = more.pop("points", points(n))
        shared = SweepBudget(budget, ONE, [point.run_id for point in points(n)], world.ledger)
        log = lambda number: tmp_path / f"{number}.log"  # noqa: E731
        return PodSweep(todo, tmp_path / "sweep", log, own, shared, order, tell=world.told.append, **more)

    return make


def of_an_hour(world: World, most: list[int]) -> Callable[[ScriptedPod], None]:
    """A job that takes an hour; how many pods bill at once is noted."""
    lock = threading.Lock()

    def script(pod: ScriptedPod) -> None:
        with lock:
            most.append(len(world.billing()))
            if "over" not in pod.files:
                pod.files["over"] = True
                world.clock.at += 3600
                pod.finish()

    return script


def test_so_many_pods_at_once_and_none_is_left(world, scripted, sweep, tmp_path):
    most: list[int] = []
    scripted.script = of_an_hour(world, most)
    ends = sweep(5, pods=2).run()
    assert [ends[number].status for number in range(5)] == ["finished"] * 5
    assert max(most) <= 2 and len(world.fake.pods) == 5
    assert world.billing() == [] and world.ledger.pods(open_only=True) == []
    states = read_states(tmp_path / "sweep")
    assert all(state.cost_usd >= PRICE and state.where.startswith("pod0") for state in states.values())


def test_one_budget_is_for_all_points_and_more_of_it_goes_on(world, scripted, sweep, tmp_path):
    scripted.script = of_an_hour(world, [])
    first = sweep(4, budget=2.6 * PRICE)
    ends = first.run()
    assert [ends[number].status for number in range(4)] == ["finished", "finished", "left", "left"]
    assert isinstance(ends[2].error, SweepStoppedError) and world.billing() == []
    [told] = [line for line in world.told if "does not reach for 2 of its points" in line]
    assert "are spent" in told and "are missing" in told and "--budget" in told
    assert [state.status for state in read_states(tmp_path / "sweep").values()][2:] == ["interrupted"] * 2
    ends = sweep(4, budget=6 * PRICE, points=points(4)[2:]).run()
    assert {end.status for end in ends.values()} == {"finished"} and len(world.fake.pods) == 4


def test_each_pod_guards_its_share_and_all_of_them_the_whole(world, scripted, sweep):
    held: list[float] = []
    all_three = threading.Barrier(3, timeout=60)

    def script(pod: ScriptedPod) -> None:
        if int(pod.pod_id[3:7]) < 3:  # those of the first three points
            all_three.wait()
        known = {one.run: one for one in world.ledger.pods()}
        held.append(sum(world.ledger.budget(run) if one.ended_at is None else one.cost for run, one in known.items()))
        world.clock.at += 600
        pod.finish()

    scripted.script = script
    sweep(6, budget=5 * PRICE, pods=3).run()
    assert len(held) >= 6 and max(held) <= 5 * PRICE + 1e-9
    assert max(held) == pytest.approx(5 * PRICE), "and with three at work nothing of it lies idle"


def test_a_point_whose_pod_dies_goes_on_on_another_and_its_own_error_ends_it(world, scripted, sweep, tmp_path):
    def script(pod: ScriptedPod) -> None:
        lent = world.fake.pods[pod.pod_id]
        if pod.pod_id == "pod0000abcdef":
            lent.ended_at, pod.is_away = world.clock.at, True
        elif not lent.body["name"].startswith("moola-demo-000000000001"):
            pod.finish()
        elif not pod.log:
            pod.say("wrong data")
            pod.finish("failed")

    scripted.script = script
    ends = sweep(3).run()
    assert [ends[number].status for number in range(3)] == ["finished", "failed", "finished"]
    assert len(world.fake.pods) == 4 and world.billing() == []
    assert "tried on another pod (1 of 1)" in (tmp_path / "0.log").read_text()
    assert "job | wrong data" in (tmp_path / "1.log").read_text()


def test_a_pod_that_dies_too_often_fails_its_point_alone(world, scripted, sweep):
    def vanish(pod: ScriptedPod) -> None:
        lent = world.fake.pods[pod.pod_id]
        if lent.body["name"].startswith("moola-demo-000000000000"):
            lent.ended_at, pod.is_away = world.clock.at, True
        else:
            pod.finish()

    scripted.script = vanish
    ends = sweep(2, point_retries=2).run()
    assert (ends[0].status, ends[1].status) == ("failed", "finished") and len(world.fake.pods) == 4
    assert "TERMINATED" in ends[0].error.why and world.billing() == []


def test_where_nobody_has_a_machine_points_are_left_and_say_why(world, scripted, sweep, tmp_path):
    world.fake.gpus = [replace(gpu, stock=dict.fromkeys(gpu.stock, "NONE")) for gpu in world.fake.gpus]
    ends = sweep(2).run()
    assert {end.status for end in ends.values()} == {"left"} and world.billing() == []
    assert all("not begun" in state.why for state in read_states(tmp_path / "sweep").values())


def record(run: str, at: float) -> PodRecord:
    return replace(PodRecord.unbilled("runpod", f"pod-{run}", run, "0" * 8, OFFER, at), price_per_h=PRICE)


@settings(max_examples=8, deadline=None)
@given(limit=st.floats(0.1, 5), steps=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 4)), max_size=10))
def test_no_dollar_is_promised_twice(tmp_path_factory, limit, steps):
    """Pods begin when the budget allows and run for hours, each as long as its guard lets it at most."""
    clock = FakeClock()
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "pods.sqlite", clock)
    runs = [f"demo-{number}" for number in range(5)]
    budget, working = SweepBudget(limit, ONE, runs, ledger), dict[str, float]()
    for number, hours in steps:
        run = runs[number]
        if run not in working and not ledger.pods(run):
            share = budget.share(run, working, others=number % 3)
            assert (share is None) == (budget.free(working) < ONE.cost)
            if share is not None:
                working[run] = share
                ledger.add_run(run, "demo", "bundle", share, None)
                ledger.add_pod(record(run, clock.now()))
        assert budget.free(working) >= -1e-9 and budget.free({}) >= -1e-9, "also for a client that comes after a kill"
        left = min([working[run] - budget._cost(run) for run in working], default=10.0)
        clock.at += 3600 * min(hours, left / PRICE)
        if number % 2 and run in working:
            del working[run]
            ledger.end_pod("runpod", f"pod-{run}", "finished")
    assert budget.spent() <= limit + 1e-9


def test_an_interruption_comes_once_and_wakes_who_sleeps():
    asked, slept = threading.Event(), list[float]()
    interruption = Interruption(asked)
    sleep = interruption.waking(slept.append)
    sleep(0.6)
    assert sum(slept) == pytest.approx(0.6)
    asked.set()
    with pytest.raises(KeyboardInterrupt):
        sleep(60)
    assert sum(slept) == pytest.approx(0.6)
    sleep(0.5)
    interruption.look()
    assert sum(slept) == pytest.approx(1.1)


def test_a_point_that_cannot_write_here_ends_all_the_same(tmp_path):
    """Whoever waits for its end would wait for ever."""
    [point] = points(1)
    (tmp_path / "0.log").mkdir()
    work = PodPoint(
        point,
        tmp_path / "sweep",
        tmp_path / "0.log",
        lambda tell, show: pytest.fail("it is not begun"),
        0,
        threading.Event(),
    )
    end = work.go()
    assert end.status == "failed" and "IsADirectoryError" in end.error.what


def test_keys_of_the_launcher_are_what_they_mean():
    Plugins.instance()  # finds it
    keys = OmegaConf.create(ConfigStore.instance().load("hydra/launcher/moola_pod.yaml").node)
    assert PodOptions(**{name: value for name, value in keys.items() if name != "_target_"}) == PodOptions()
    keys.yes = "no"
    assert keys.yes is False, "a word is no consent to rent"
    for key, value in (("pods", "two"), ("jobs_per_pod", 1.5), ("yes", "perhaps")):
        with pytest.raises(ValidationError):
            keys[key] = value


def test_who_leaves_while_a_pod_does_not_come_up_leaves_none_behind(world, ordered, monkeypatch):
    """Nothing guards a pod on which nothing was started, so it is ended before anybody leaves."""
    world.fake.plan = PodPlan(becomes="ERROR")
    asked, status = threading.Event(), world.provider.status

    def looked_up(pod_id: str) -> PodState:
        state = status(pod_id)
        if state.status == "ERROR":
            asked.set()  # Ctrl-C, just now
        return state

    monkeypatch.setattr(world.provider, "status", looked_up)
    run = ordered()
    run.look = Interruption(asked).look
    with pytest.raises(KeyboardInterrupt):
        alone_at(run, run.go)
    assert asked.is_set() and len(world.ledger.pods()) == 1
    assert world.billing() == [] and world.ledger.pods(open_only=True) == []


def test_words_of_pods_are_for_this_launcher_alone_and_wrong_ones_are_told_first(monkeypatch):
    words = ["pod.host=[a@h1,b@h2]", "pod.provider=ssh", "seed=1,2"]
    problems = ConfigProblems()
    with pods_of(words, problems) as rest:
        assert rest == words, "which composition refuses"
    with pods_of([*words, "hydra/launcher=moola_pod"], problems) as rest:
        assert rest == ["seed=1,2", "hydra/launcher=moola_pod"]
        assert pod_settings(PodOptions(jobs_per_pod=2)).provider_options.hosts == ("a@h1", "b@h2")
    assert not problems
    with pods_of(["pod.providr=ssh", "hydra/launcher=moola_pod", "seed=1"], problems) as rest:
        assert rest == ["hydra/launcher=moola_pod", "seed=1"] and "did you mean 'provider'" in problems[0]
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_none")
    assert pod_settings(PodOptions(jobs_per_pod=2)).provider == "runpod"
    with (
        pods_of(["pod.keep=true", "hydra/launcher=moola_pod"], problems),
        pytest.raises(MoolaError, match=r"--keep\): a rented pod"),
    ):
        pod_settings(PodOptions())
    with pytest.raises(MoolaError, match=r"pods \(--pods\): 0 must be at least 1"):
        PodOptions(pods=0)
    assert PodWords().words == ()


def test_the_guards_of_a_point_are_those_of_the_sweep_but_for_its_share(sweep):
    made = sweep(3, budget=3.0)
    made.settings = replace(made.settings, guards=GuardLimits(max_hours=5, budget=3.0, stalled_min=7))
    own = made._settings(1.25)
    assert (own.guards.max_hours, own.guards.budget, own.guards.stalled_min) == (5, 1.25, 7)


@pytest.mark.parametrize(
    ("given", "n", "sharing"),
    [
        ({"provider": "ssh", "host": ("a@h1", "b@h2")}, 8, 3),
        ({"provider": "ssh", "host": ("a@h1", "b@h2")}, 3, 2),
        ({"provider": "ssh", "host": "a@h1"}, 1, 1),
        ({"provider": "local"}, 8, 3),
        ({"provider": "runpod"}, 8, 1),
    ],
)
def test_so_many_points_share_a_machine(sweep, given, n, sharing):
    made = sweep(n, jobs_per_pod=1 if given["provider"] == "runpod" else 3)
    made.settings = stand_in.settings(**given)
    assert made.on_one_machine == sharing


@pytest.mark.parametrize(
    ("sharing", "env", "found", "threads"),
    [(3, {}, "", "2"), (20, {}, "", "1"), (1, {}, "", None), (3, {"OMP_NUM_THREADS": 7}, "", "7"), (3, {}, "5", None)],
)
def test_points_on_one_machine_share_its_cores_unless_somebody_said_otherwise(
    world, scripted, tmp_path, monkeypatch, sharing, env, found, threads
):
    """The pod has 8 cores."""
    jobs: list[Any] = []

    def script(pod: ScriptedPod) -> None:
        jobs.append(pod.files["job.json"])
        pod.finish()

    shell = ScriptedPod.shell
    monkeypatch.setattr(ScriptedPod, "shell", lambda pod: with_threads(shell(pod), found))
    scripted.script = script
    layout = Layout(tmp_path / "data", tmp_path / "artifacts")
    own = stand_in.settings(provider="runpod", gpus=("A5000",), cloud=("SECURE",), env=env)
    bundle = stand_in.stand_in_bundle(tmp_path / "packed")
    run = PodRun(bundle, own, layout, world.provider, world.ledger, world.told.append, print, world.clock)
    run.sharing = sharing
    assert alone_at(run, run.go).outcome == "finished"
    [job] = [step for step in jobs[0]["steps"] if step["name"] == "job"]
    assert job["env"].get("OMP_NUM_THREADS") == threads


def with_threads(shell: PodShell | None, threads: str) -> PodShell | None:
    """A machine whose own environment says so many."""
    return shell and replace(shell, facts={**shell.facts, "threads": threads})


def test_who_leaves_is_told_commands_that_are_taken(world, sweep, tmp_path, monkeypatch, capsys):
    made = sweep(1)
    made._working["demo"] = 1.0
    made._ends.put(PointEnd(Point(0, (), "demo"), "left"))
    made._leave()
    told = world.told[-1]
    assert told.startswith("leaving 1 point:") and f"pod down --sweep {made.folder.name} --yes`" in told
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts/results/sweeps" / made.folder.name
    Sweep(folder, "run", "moola pod run -m", "2026-11-22T00:00:00Z", ("seed",), tuple(points(2))).write()
    for command in re.findall(r"`moola (pod [^`]+)`", told):
        assert main(command.split()) == 0
    assert "no point of the sweep has a pod" in capsys.readouterr().out
