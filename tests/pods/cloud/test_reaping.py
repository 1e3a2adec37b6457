"""What the account has against what the ledger knows."""

from __future__ import annotations

import pytest
from fake_runpod import GPUS, PodPlan

from moola.pods.acquiring import STARTED
from moola.pods.provider import PodError, PodWish, pod_name
from moola.pods.reaping import GRACE, compare, reap
from moola.pods.run_keys import RunKeys

from .conftest import RUN, World

CHEAP = PodWish(gpus=("A5000",), cloud=("SECURE",))


def verdicts(world: World, any_ledger: bool = False) -> dict[str, tuple[str, str]]:
    return {
        one.pod.pod_id: (one.verdict, one.why) for one in compare(world.provider, world.ledger, any_ledger=any_ledger)
    }


def test_a_pod_whose_run_goes_on_is_kept(world):
    got = world.acquisition(CHEAP).acquire()
    world.ledger.add_run(RUN, "market", "b", max_hours=6)
    assert verdicts(world) == {got.pod.pod_id: ("end", "nothing was started on it, and no client is at it")}
    world.ledger.add_event(RUN, got.pod.pod_id, STARTED, "attempt 1")
    [(verdict, why)] = verdicts(world).values()
    assert verdict == "kept" and "was started on it" in why and "not known" in why
    world.clock.at += 6 * 3600 + GRACE.total_seconds() - 300
    assert verdicts(world)[got.pod.pod_id][0] == "kept"
    world.clock.at += 600
    verdict, why = verdicts(world)[got.pod.pod_id]
    assert verdict == "end" and "6 h were allowed" in why
    with world.ledger.lease(RUN):
        assert verdicts(world)[got.pod.pod_id] == ("kept", "a client works on it")


def test_a_pod_that_outlives_the_budget_of_its_run_is_ended(world):
    got = world.acquisition(CHEAP).acquire()
    world.ledger.add_run(RUN, "market", "b", budget=5.0)
    world.ledger.add_event(RUN, got.pod.pod_id, STARTED, "attempt 1")
    hours = 5.0 / got.pod.price_per_h
    world.clock.at += hours * 3600
    assert verdicts(world)[got.pod.pod_id][0] == "kept"
    world.clock.at += GRACE.total_seconds() + 60
    verdict, why = verdicts(world)[got.pod.pod_id]
    assert verdict == "end" and "$5.00 were allowed" in why


def test_the_key_of_a_run_goes_with_its_last_pod(world, tmp_path):
    keys = RunKeys(tmp_path / "keys")
    got = world.acquisition(CHEAP).acquire()
    assert keys.identity(RUN).is_file() and keys.identity("other-0123456789ab").is_file()
    ghost = world.fake.add(pod_name(RUN, world.ledger.owner))
    kept = [one for one in compare(world.provider, world.ledger) if one.pod.pod_id == ghost.pod_id]
    reap(kept, world.provider, world.ledger, keys=keys, clock=world.clock)
    assert keys.identity(RUN).is_file(), "another pod of the run is open"
    with world.ledger.lease(RUN):
        assert got.pod.pod_id in verdicts(world)
    reap(compare(world.provider, world.ledger), world.provider, world.ledger, keys=keys, clock=world.clock)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["other-0123456789ab"]


def test_a_pod_that_came_of_a_lost_answer_is_ended_with_apply_only(world):
    ghost = world.fake.add(pod_name(RUN, world.ledger.owner))
    world.clock.at += 7200
    (found,) = compare(world.provider, world.ledger)
    assert (found.verdict, found.ended) == ("end", False)
    assert found.usd_so_far == pytest.approx(2 * 0.69)
    assert world.billing() == [ghost.pod_id]
    told: list[str] = []
    (done,) = reap([found], world.provider, world.ledger, tell=told.append, clock=world.clock)
    assert done.ended and world.billing() == [] and told == [f"pod {ghost.pod_id} is ended"]
    (written,) = world.ledger.pods()
    assert written.ended_why.startswith("reaped: nobody knows it")


def test_a_pod_that_was_ended_and_is_there_still_is_ended_again(world):
    got = world.acquisition(CHEAP).acquire()
    world.ledger.end_pod("runpod", got.pod.pod_id, "finished")
    assert "is there still" in verdicts(world)[got.pod.pod_id][1]
    reap(compare(world.provider, world.ledger), world.provider, world.ledger, clock=world.clock)
    assert world.billing() == []


@pytest.mark.parametrize("becomes", ["ERROR", "EXITED"])
def test_a_stopped_pod_pays_for_its_disk_and_is_ended(world, becomes):
    got = world.acquisition(CHEAP).acquire()
    world.fake.pods[got.pod.pod_id].plan = PodPlan(becomes=becomes)
    assert verdicts(world)[got.pod.pod_id][0] == "end"


def test_pods_without_the_tag_are_not_even_looked_at(world):
    names = ["jupyter", "moola", "moola-backup", f"copy of {pod_name(RUN, world.ledger.owner)}", "moola-x-00000000-old"]
    others = [world.fake.add(name) for name in names]
    assert verdicts(world, any_ledger=True) == {}
    reap(compare(world.provider, world.ledger, any_ledger=True), world.provider, world.ledger, clock=world.clock)
    assert world.billing() == [pod.pod_id for pod in others]


def test_pods_of_another_machine_are_left_alone_unless_they_are_asked_for(make_world):
    laptop, desktop = make_world("laptop"), make_world("desktop")
    got = laptop.acquisition(CHEAP).acquire()
    assert verdicts(desktop)[got.pod.pod_id][0] == "foreign"
    reap(compare(desktop.provider, desktop.ledger), desktop.provider, desktop.ledger, clock=desktop.clock)
    assert laptop.billing() == [got.pod.pod_id]
    found = compare(desktop.provider, desktop.ledger, any_ledger=True)
    reap(found, desktop.provider, desktop.ledger, clock=desktop.clock)
    assert laptop.billing() == []
    assert verdicts(laptop)[got.pod.pod_id][0] == "gone"


def test_a_pod_that_only_the_ledger_has_is_gone_and_written_down_so(world):
    got = world.acquisition(CHEAP).acquire()
    world.fake.pods[got.pod.pod_id].ended_at = world.clock.at
    found = compare(world.provider, world.ledger)
    assert [one.verdict for one in found] == ["gone"]
    assert world.ledger.pods(open_only=True)
    reap(found, world.provider, world.ledger, clock=world.clock)
    assert world.ledger.pods(open_only=True) == []


def test_one_that_cannot_be_ended_does_not_keep_the_others(world, monkeypatch):
    ghosts = [world.fake.add(pod_name(f"run-{n}", world.ledger.owner)) for n in range(3)]
    end = world.fake.delete_pod
    monkeypatch.setattr(world.fake, "delete_pod", lambda pod: (204, None) if pod is ghosts[0] else end(pod))
    with pytest.raises(PodError, match="still bills"):
        reap(compare(world.provider, world.ledger), world.provider, world.ledger, clock=world.clock)
    assert world.billing() == [ghosts[0].pod_id]
    assert GPUS[0].id in ghosts[0].body["gpu"]["id"]
