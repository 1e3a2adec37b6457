"""One run for one pod, whatever comes between: nothing bills unseen, and nothing half looks whole."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import signal
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import stand_in
from fake_runpod import PodPlan

from moola.cli import main
from moola.errors import EXIT_POD, ConfigError, StorageError
from moola.layout import digest_file, read_json, write_json
from moola.pods import attending, fetching, starting
from moola.pods.acquiring import STARTED
from moola.pods.attaching import LogCopy, PodLostError
from moola.pods.checkpoints import CheckpointPuller, kept_checkpoint
from moola.pods.ending import end_pod
from moola.pods.estimating import check_budget
from moola.pods.giving_up import give_up, would_lose
from moola.pods.guards import GuardLimits
from moola.pods.keeping import interrupted_by
from moola.pods.ledger import Ledger
from moola.pods.pod_end import PodEnd
from moola.pods.provider import PodError, PodTakenError, PodWish
from moola.pods.resuming import open_run
from moola.pods.runpod_api import ApiError
from moola.pods.session import RunOnPod
from moola.pods.wire import ConnectionLostError, RemoteError

from .conftest import World
from .scripted_pod import ScriptedPod

RUN = stand_in.RUN
AT_ONCE = PodPlan(provisioning_s=0, pulling_s=0, starting_s=0, mapped_s=0)


def nothing_bills(world: World) -> bool:
    return world.billing() == [] and world.ledger.pods(open_only=True) == [] and world.ledger.open_intents() == []


def kinds(world: World) -> list[str]:
    return [event["kind"] for event in world.ledger.events(RUN)]


def told(world: World) -> str:
    return "\n".join(world.told)


def test_a_run_that_goes_well_bills_nothing_afterwards(world, scripted, ordered):
    ended = ordered().go()
    assert (ended.outcome, ended.pod_ended, scripted.published) == ("finished", True, [RUN])
    assert nothing_bills(world) and len(world.fake.pods) == 1


@pytest.mark.parametrize("becomes", ["ERROR", "EXITED"])
def test_a_pod_that_turns_bad_in_mid_training_is_ended_and_another_goes_on(world, scripted, ordered, becomes):
    def turn(pod: ScriptedPod) -> None:
        if len(world.fake.pods) > 1:
            pod.finish()
        elif pod.moments == 3:
            lent = world.fake.pods[pod.pod_id]
            lent.plan, pod.is_away = dataclasses.replace(lent.plan, becomes=becomes), True

    scripted.script = turn
    assert ordered(retries=1).go().outcome == "finished"
    assert len(world.fake.pods) == 2 and nothing_bills(world)
    assert kinds(world) == [STARTED, "lost", STARTED]
    assert f"{becomes}; no checkpoint" in world.ledger.events(RUN)[1]["detail"]


@pytest.mark.parametrize("before", [False, True], ids=["fresh", "of a client that was killed"])
def test_a_push_that_fails_for_good_ends_its_pod(world, scripted, ordered, monkeypatch, before):
    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionLostError("the pod cannot be reached", "no route")

    run = ordered()
    if before:
        run._acquire()
    monkeypatch.setattr(starting, "push", fail)
    with pytest.raises(ConnectionLostError, match="no route"):
        run.go()
    assert nothing_bills(world) and len(world.fake.pods) == 1
    assert "nothing was started on it" in told(world)


def test_a_push_that_fails_on_a_pod_that_worked_before_leaves_it_and_says_so(world, scripted, ordered, monkeypatch):
    scripted.script = lambda pod: pod.finish("failed")
    ordered(keep=True).go()
    monkeypatch.setattr(starting, "_begin", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ordered().go()
    assert len(world.billing()) == 1 and "stays on and bills $0.36/h" in world.told[-1]


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_while_a_pod_is_asked_for_leaves_none(world, ordered, monkeypatch):
    create = world.provider.create
    monkeypatch.setattr(world.provider, "create", lambda *arguments: interrupt(create(*arguments)))
    with pytest.raises(KeyboardInterrupt):
        ordered().go()
    assert len(world.fake.pods) == 1 and nothing_bills(world)


def test_ctrl_c_before_the_lenders_list_has_the_pod_leaves_none(world, ordered, monkeypatch):
    world.fake.hidden_s = 60
    monkeypatch.setattr(world.provider, "target", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ordered().go()
    assert len(world.fake.pods) == 1 and nothing_bills(world)


def test_ctrl_c_while_it_trains_says_that_the_run_goes_on(world, scripted, ordered):
    scripted.script = interrupt
    with pytest.raises(KeyboardInterrupt):
        ordered().go()
    assert len(world.billing()) == 1 and "bills $0.36/h" in world.told[-1] and f"attach {RUN}" in world.told[-1]


def test_ctrl_c_twice_says_that_a_pod_may_bill(world, ordered, monkeypatch):
    monkeypatch.setattr(world.provider, "target", interrupt)
    monkeypatch.setattr(world.provider, "end", interrupt)
    with pytest.raises(PodError, match="may still bill") as caught:
        ordered().go()
    assert f"moola pod down {RUN}" in caught.value.way_out
    assert "asked for again" not in told(world)
    monkeypatch.undo()


def test_an_api_that_fails_right_after_it_made_a_pod_leaves_none(world, ordered, monkeypatch):
    create = world.provider.create

    def then_fail(*arguments: Any) -> Any:
        made = create(*arguments)
        world.fake.fault("GET", "/pods", 503, "down", times=5)
        return made

    monkeypatch.setattr(world.provider, "create", then_fail)
    with pytest.raises(ApiError, match="503"):
        ordered().go()
    assert len(world.fake.pods) == 1 and nothing_bills(world)


def test_a_ledger_that_fails_right_after_a_pod_was_made_leaves_none(world, ordered, monkeypatch):
    def full(*_: Any) -> None:
        raise StorageError("the ledger cannot be used", "disk full")

    monkeypatch.setattr(world.ledger, "add_pod", full)
    with pytest.raises(StorageError, match="disk full"):
        ordered().go()
    assert len(world.fake.pods) == 1 and world.billing() == []


def test_a_ledger_that_cannot_be_written_asks_for_nothing(world, ordered, monkeypatch):
    connect = sqlite3.connect

    def read_only(*arguments: Any, **options: Any) -> Any:
        book = connect(*arguments, **options)
        book.execute("PRAGMA query_only = ON")
        return book

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.raises(StorageError, match="readonly"):
        ordered().go()
    assert world.fake.pods == {}


def test_a_client_after_one_that_was_killed_takes_a_pod_that_no_list_shows_yet(world, scripted, ordered):
    world.fake.hidden_s = 55
    ordered()._acquire()
    assert ordered().go().outcome == "finished"
    assert len(world.fake.pods) == 1 and world.billing() == []


def test_a_ledger_that_was_deleted_does_not_make_a_second_pod(world, scripted, ordered, make_world):
    ordered()._acquire()
    again = ordered()
    again.ledger = make_world("fresh").ledger
    again.provider._ledger = again.ledger
    with pytest.raises(PodTakenError, match="made elsewhere"):
        again.go()
    assert len(world.billing()) == 1


def test_an_interrupted_end_says_so_and_the_same_command_ends_it(world, scripted, ordered, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(world.provider, "end", interrupt)
        with pytest.raises(PodError, match=r"may still bill \$0.36/h"):
            ordered().go()
    assert len(world.ledger.pods(open_only=True)) == 1
    assert ordered().go().pod_ended and nothing_bills(world) and len(world.fake.pods) == 1


def test_an_api_that_fails_while_a_pod_is_ended_is_asked_again(world, scripted, ordered):
    world.fake.fault("DELETE", "/pods", 500, "down", times=7)
    assert ordered().go().pod_ended and nothing_bills(world)


def test_a_client_that_was_taken_over_stops_and_touches_nothing(world, scripted, ordered):
    def take_over(pod: ScriptedPod) -> None:
        if pod.moments == 2:
            with contextlib.closing(sqlite3.connect(world.ledger.path)) as book:
                book.execute("UPDATE leases SET holder = 'another'")
                book.commit()
        elif pod.moments > 3:
            pod.finish()

    scripted.script = take_over
    run = ordered()
    with world.ledger.lease(RUN) as run.lease, pytest.raises(PodTakenError, match="took"):
        run.go()
    assert len(world.billing()) == 1 and scripted.published == []


@pytest.mark.parametrize(
    ("moment", "pods"),
    [("asking runpod", 0), ("starts the container", 1), ("all verified", 1)],
    ids=["asked", "up", "sent"],
)
def test_a_client_that_is_taken_over_before_the_job_makes_and_starts_and_ends_nothing(
    world, scripted, ordered, moment, pods
):
    world.fake.plan = PodPlan(provisioning_s=0, pulling_s=5, starting_s=20, mapped_s=0)

    def tell(line: str) -> None:
        world.told.append(line)
        if moment in line:
            with contextlib.closing(sqlite3.connect(world.ledger.path)) as book:
                book.execute("UPDATE leases SET holder = 'another'")
                book.commit()

    run = ordered()
    run.tell = tell
    with world.ledger.lease(RUN) as run.lease, pytest.raises(PodTakenError, match="took"):
        run.go()
    assert any(moment in line for line in world.told)
    assert len(world.fake.pods) == len(world.billing()) == pods and kinds(world) == []


def test_a_pod_that_another_command_ended_is_followed_by_no_other(world, scripted, ordered):
    def down(pod: ScriptedPod) -> None:
        if pod.moments == 2:
            run = ordered()
            give_up(world.provider.find(RUN), [world.provider], world.ledger, run.layout, tell=world.told.append)
            pod.is_away = True

    scripted.script = down
    ended = ordered(retries=2).go()
    assert (ended.outcome, ended.why) == ("stopped", "another command ended its pod")
    assert len(world.fake.pods) == 1 and nothing_bills(world) and "lost" not in kinds(world)


def test_down_names_the_client_that_follows_the_run(world, scripted, ordered):
    run = ordered()
    run._acquire()
    world.ledger.add_event(RUN, world.billing()[0], STARTED, "")
    with world.ledger.lease(RUN):
        (line,) = would_lose(world.ledger, world.provider.find(RUN))
        assert f"process {os.getpid()} on {socket.gethostname()} follows it" in line
        give_up(world.provider.find(RUN), [world.provider], world.ledger, run.layout, tell=world.told.append)
    assert f"another client works on {RUN} (process {os.getpid()} on {socket.gethostname()})" in told(world)


def test_a_night_in_which_nobody_looked_is_not_counted(world, scripted, ordered):
    def sleep(pod: ScriptedPod) -> None:
        if pod.moments == 300:
            world.fake.pods[pod.pod_id].ended_at = world.clock.at
            world.clock.close_lid(12 * 3600.0)
            pod.is_away = True

    scripted.script = sleep
    with pytest.raises(PodLostError, match="guard on the pod may have ended it"):
        ordered(guards=GuardLimits(max_hours=6)).go()
    (pod,) = world.ledger.pods(RUN)
    assert 1200 < pod.seconds < 1800 and pod.cost < 0.2


def test_a_container_that_was_started_anew_is_followed_by_another_pod(world, scripted, ordered):
    def start_anew(pod: ScriptedPod) -> None:
        if len(world.fake.pods) > 1:
            pod.finish()
        elif pod.moments == 3:
            pod.files.clear()
            pod.log = b""

    scripted.script = start_anew
    assert ordered(retries=1).go().outcome == "finished"
    assert len(world.fake.pods) == 2 and nothing_bills(world) and kinds(world) == [STARTED, "lost", STARTED]


def test_a_pod_that_a_guard_may_have_ended_unseen_is_followed_by_no_other(world, scripted, ordered):
    def sleep(pod: ScriptedPod) -> None:
        if pod.moments == 2:
            world.clock.close_lid(1200.0)
            world.fake.pods[pod.pod_id].ended_at = world.clock.at
            pod.is_away = True

    scripted.script = sleep
    with pytest.raises(PodLostError, match="guard on the pod may have ended it") as caught:
        ordered(retries=2).go()
    assert f"moola pod resume {RUN}" in caught.value.way_out
    assert len(world.fake.pods) == 1 and nothing_bills(world)


def test_a_healthy_pod_outlives_a_laptop_that_sleeps_while_it_connects(world, scripted, ordered):
    def sleep(pod: ScriptedPod) -> None:
        pod.is_away = pod.moments == 2
        if pod.moments > 2:
            pod.finish()

    looks: list[float] = []
    status = world.provider.status

    def asleep(pod_id: str) -> Any:
        looks.append(world.clock.at)
        if scripted.pods and scripted.pods[pod_id].is_away:
            world.clock.close_lid(9000.0)
            scripted.pods[pod_id].is_away = len(looks) < 5
        return status(pod_id)

    scripted.script = sleep
    run = ordered()
    run.provider.status = asleep
    assert run.go().outcome == "finished" and "lost" not in kinds(world) and len(world.fake.pods) == 1


def test_a_pod_that_its_lender_has_and_that_does_not_answer_is_left_alone(world, scripted, ordered):
    def leave(pod: ScriptedPod) -> None:
        pod.is_away = pod.moments >= 2

    scripted.script = leave
    with pytest.raises(PodError, match="does not answer"):
        ordered(retries=2).go()
    assert len(world.billing()) == len(world.fake.pods) == 1
    assert f"moola pod attach {RUN}" in world.told[-1] and "bills $0.36/h" in world.told[-1]


def test_state_that_cannot_be_pulled_keeps_its_pod(world, scripted, ordered, monkeypatch):
    def full(*_: Any) -> int:
        raise StorageError("there is too little room")

    scripted.script = lambda pod: pod.finish("failed")
    monkeypatch.setattr(fetching, "pull_checkpoint", full)
    ended = ordered().go()
    assert (ended.outcome, ended.pod_ended) == ("failed", False) and len(world.billing()) == 1
    assert f"moola pod pull {RUN}" in world.told[-1]


def test_a_pod_is_not_ended_under_the_last_copy_to_its_volume(world, scripted, ordered):
    def stop(pod: ScriptedPod) -> None:
        pod.finish("stopped")
        copies.append(pod)

    copies: list[ScriptedPod] = []
    read, looks = ScriptedPod._read_json, iter([True] * 6 + [False] * 99)

    def copying(pod: ScriptedPod, root: str, path: str) -> Any:
        assert world.billing() or not copies
        found = read(pod, root, path)
        if path.endswith("status.json") and copies:
            found["value"]["copying"] = next(looks)
        return found

    scripted.script = stop
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ScriptedPod, "_read_json", copying)
        ended = ordered(guards=GuardLimits(max_hours=1, checkpoint_s=60)).go()
    assert ended.outcome == "stopped" and nothing_bills(world)
    assert next(looks) is False, "it waited for the copy"


def test_a_pod_whose_results_are_here_is_ended_though_it_answers_no_more(world, scripted, ordered, monkeypatch):
    publish = fetching.publish_results

    def then_leave(*arguments: Any, **options: Any) -> Any:
        scripted.pods[next(iter(scripted.pods))].is_away = True
        return publish(*arguments, **options)

    monkeypatch.setattr(fetching, "publish_results", then_leave)
    assert ordered().go().pod_ended and nothing_bills(world)


def test_a_pod_that_vanishes_while_its_results_come_is_followed_by_another(world, scripted, ordered, monkeypatch):
    pull = scripted.pull_results

    def vanish(pod: Any, staging: Path, rooms: Any) -> Path:
        if len(world.fake.pods) == 1:
            world.fake.pods[pod.shell.connection.pod_id].ended_at = world.clock.at
            pod.shell.connection.is_away = True
        return pull(pod, staging)

    monkeypatch.setattr(fetching, "pull_results", vanish)
    assert ordered(retries=1).go().outcome == "finished"
    assert len(world.fake.pods) == 2 and nothing_bills(world) and scripted.published == [RUN]


def deaf(pod: ScriptedPod) -> None:
    """Two looks, then its time is over, and its supervisor does not care."""
    pod.heeds = False
    pod.files["status.json"]["at"] = str(pod.moments)
    if pod.moments == 2:
        pod.clock.at += 3600.0


def test_a_supervisor_that_heeds_no_guard_costs_no_more_than_its_time(world, scripted, ordered):
    scripted.script = deaf
    ended = ordered(guards=GuardLimits(max_hours=1)).go()
    assert (ended.outcome, ended.pod_ended, scripted.states >= 1) == ("deadline", True, True)
    assert nothing_bills(world)


@pytest.mark.parametrize("error", [StorageError("there is too little room"), RemoteError("broken", "no sense")])
def test_a_deaf_pod_past_its_limits_is_ended_without_its_state(world, scripted, ordered, monkeypatch, error):
    def refuse(*_: Any) -> int:
        raise error

    scripted.script = deaf
    monkeypatch.setattr(fetching, "pull_checkpoint", refuse)
    assert ordered(guards=GuardLimits(max_hours=1)).go().pod_ended and nothing_bills(world)
    assert "is ended without that" in told(world)


def test_what_a_deaf_supervisor_runs_on_a_host_is_killed_before_its_folder_goes(world, scripted, ordered, monkeypatch):
    done: list[str] = []
    scripted.script = deaf
    monkeypatch.setattr(type(world.provider), "name", "ssh")
    monkeypatch.setattr(attending, "kill_run", lambda _: done.append("killed"))
    monkeypatch.setattr(attending, "clear_host", lambda *_, **__: done.append("cleared"))
    ordered(guards=GuardLimits(max_hours=1)).go()
    assert done == ["killed", "cleared"]


def no_room(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_here_in_the_log_says_that_the_pod_stays_on(world, scripted, ordered, monkeypatch):
    monkeypatch.setattr(LogCopy, "add", no_room)
    with pytest.raises(OSError, match="No space"):
        ordered().go()
    assert "stays on and bills" in world.told[-1] and len(world.billing()) == 1


def test_a_report_that_cannot_be_written_keeps_no_pod(world, scripted, ordered, monkeypatch):
    monkeypatch.setattr(fetching, "write_json", no_room)
    assert ordered().go().pod_ended and nothing_bills(world) and "No space" in told(world)


def test_a_fault_after_the_end_of_a_pod_does_not_call_it_on(world, scripted, ordered, monkeypatch):
    monkeypatch.setattr(attending, "write_rented", no_room)
    with pytest.raises(OSError, match="No space"):
        ordered().go()
    assert nothing_bills(world) and "stays on" not in told(world)


@pytest.mark.parametrize("key", ["outcome", "why"])
def test_a_last_word_without_sense_is_told_and_the_pod_stays(world, scripted, ordered, key):
    def end(pod: ScriptedPod) -> None:
        pod.finish()
        del pod.files["status.json"][key]

    scripted.script = end
    with pytest.raises(PodError, match="makes no sense"):
        ordered().go()
    assert "stays on and bills" in world.told[-1]


def test_a_job_and_steps_without_sense_keep_no_pod(world, scripted, ordered):
    def end(pod: ScriptedPod) -> None:
        pod.finish()
        pod.files["status.json"].pop("steps", None)
        pod.files["job.json"] = ["x"]

    scripted.script = end
    assert ordered().go().pod_ended and nothing_bills(world)


def test_a_connection_that_is_opened_again_closes_the_one_before(world, scripted, ordered, monkeypatch):
    closed: list[str] = []
    monkeypatch.setattr(ScriptedPod, "close", lambda pod: closed.append(pod.pod_id))
    run = ordered()
    run.go(detach=True)
    (record,) = world.provider.find(run.run)
    for opened in range(3):
        assert run.connect(record) is not None and closed == [record.pod_id] * (opened + 1)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_pod_that_came_up_anew_is_watched_again(world, scripted, ordered, monkeypatch, is_restarted):
    watched: list[int] = []
    watch = RunOnPod.watch
    monkeypatch.setattr(
        RunOnPod, "watch", lambda pod, attempt, end: watched.append(attempt) or watch(pod, attempt, end)
    )
    ordered().go(detach=True)
    (pod,) = scripted.pods.values()
    pod.is_supervised = not is_restarted
    ordered().go(detach=True)
    assert watched == [1, 1] if is_restarted else [1]


def test_a_restart_that_fails_says_that_the_pod_will_end_itself(world, scripted, ordered, monkeypatch):
    scripted.script = lambda pod: pod.finish("failed")
    ordered(keep=True).go()
    monkeypatch.setattr(starting, "_begin", no_room)
    with pytest.raises(OSError, match="No space"):
        ordered(keep=True).go()
    assert "ends itself after 15 minutes" in world.told[-1] and f"moola pod pull {RUN}" in world.told[-1]


def test_ctrl_c_waits_for_no_pull_of_a_checkpoint(world, scripted, ordered, monkeypatch):
    monkeypatch.setattr(CheckpointPuller, "join", lambda _: pytest.fail("a whole pull is waited for"))
    scripted.script = interrupt
    with pytest.raises(KeyboardInterrupt):
        ordered().go()


def test_a_pod_that_came_dearer_than_allowed_is_ended(world, ordered, monkeypatch):
    add = world.fake._add

    def dearer(body: Any) -> Any:
        pod = add(body)
        pod.price = 0.99
        return pod

    monkeypatch.setattr(world.fake, "_add", dearer)
    with pytest.raises(PodError, match=r"came at \$0.99/h, \$0.50/h are allowed"):
        ordered(max_price_per_h=0.5).go()
    assert nothing_bills(world)


def test_of_two_own_pods_the_one_at_work_stays(world, scripted, ordered):
    first = ordered()._acquire().pod
    second = world.fake.add(first.name)
    world.clock.at += 1
    seen = next(pod for pod in world.provider.find(RUN) if pod.pod_id == second.pod_id)
    world.ledger.add_pod(seen)
    world.ledger.add_event(RUN, second.pod_id, STARTED, "")
    assert world.acquisition(PodWish()).adopt() is None  # of another run
    assert ordered()._acquire().pod.pod_id == second.pod_id == world.billing()[0] and len(world.billing()) == 1


def test_a_list_of_several_pages_hides_no_pod(world, scripted, ordered, monkeypatch):
    ordered()._acquire()
    shown = world.fake.list_pods({})[1]["pods"]
    pages = {"": {"pods": [], "nextCursor": "2"}, "2": {"pods": shown}}
    monkeypatch.setattr(world.fake, "list_pods", lambda query: (200, pages[query.get("cursor", "")]))
    monkeypatch.setattr(world.fake, "_spec", None)  # it knows no pages
    assert ordered()._acquire().adopted


def test_a_limit_of_requests_is_waited_for_while_a_pod_comes_up(world, scripted, ordered):
    world.fake.fault("GET", "/pods/", 429, "minute window", headers={"Retry-After": "20"})
    assert ordered().go().outcome == "finished" and 20.0 in world.clock.slept


def test_a_budget_below_the_estimate_is_refused_with_the_sum(world, ordered):
    run = ordered(guards=GuardLimits(budget=0.3), expected_hours=1.0)
    with pytest.raises(ConfigError) as caught:
        check_budget(run)
    assert r"$0.30 is below the estimate: (0.2 h set-up + 1 h) x $0.36/h = $0.43" in str(caught.value)
    assert world.fake.pods == {}
    run._acquire()
    check_budget(run)  # its pod is there: what it may take is the guards' matter now


def test_no_estimate_is_refused_where_a_killed_client_may_have_left_a_pod(world, ordered):
    run = ordered(guards=GuardLimits(budget=0.3), expected_hours=1.0)
    (offer,) = world.provider.offers(run.settings.wish)
    world.ledger.intend("runpod", RUN, offer)
    world.provider.create(run.settings.wish, RUN, offer, "")
    assert check_budget(run) is None
    assert run._acquire().adopted


def test_a_deadline_below_the_estimate_is_refused_with_the_sum(world, ordered):
    with pytest.raises(ConfigError) as caught:
        check_budget(ordered(guards=GuardLimits(budget=0.3, max_hours=0.01), expected_hours=1.0))
    assert "0.01 h are below the estimate: 0.2 h set-up + 1 h = 1.2 h" in str(caught.value)
    assert len(caught.value.problems) == 2
    estimate = check_budget(ordered(guards=GuardLimits(max_hours=1.2), expected_hours=1.0))
    assert estimate is not None and f"{estimate.cost:.2f}" == "0.43" and world.fake.pods == {}


def test_a_run_has_one_lender(world, scripted, ordered, tmp_path, monkeypatch):
    run = ordered()
    run._acquire()
    with pytest.raises(PodTakenError, match="with another lender") as caught:
        open_run(run.bundle, stand_in.settings(), run.layout, tell=print, show=print, ledger=world.ledger)
    assert f"moola pod attach {RUN}" in caught.value.way_out


def test_a_folder_that_was_deleted_is_no_lender(tmp_path):
    run = stand_in.stand_in_run(tmp_path, [])
    pod = run.provider.create(run.settings.wish, RUN, run.provider.offers(run.settings.wish)[0], "")
    run.ledger.add_pod(pod)
    settings = stand_in.settings(provider="ssh", host="me@127.0.0.1:9")
    with pytest.raises(PodTakenError):
        open_run(run.bundle, settings, run.layout, tell=print, show=print)
    run.provider.end(pod.pod_id)
    open_run(run.bundle, settings, run.layout, tell=print, show=print)


@pytest.mark.parametrize(("before", "interrupts"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_interrupts_and_nohup_does_not(before, interrupts):
    of_tests = signal.signal(signal.SIGHUP, before)
    try:
        with (
            pytest.raises(KeyboardInterrupt) if interrupts else contextlib.nullcontext(),
            interrupted_by(signal.SIGHUP),
        ):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, of_tests)


def test_what_became_of_a_pod_that_is_gone_is_told_and_written_down_once(world, scripted, ordered):
    run = ordered()
    pod = run._acquire().pod
    world.ledger.add_event(RUN, pod.pod_id, STARTED, "")
    world.fake.pods[pod.pod_id].ended_at = world.clock.at
    with pytest.raises(PodError, match="RunPod does not know it") as caught:
        run.found()
    said = caught.value.spoken()
    assert pod.pod_id in said and "no checkpoint of it is here" in said and f"moola pod resume {RUN}" in said
    assert kinds(world) == [STARTED, "lost"] and nothing_bills(world)
    with pytest.raises(PodError, match="has no pod") as caught:
        run.found()
    assert "was ended at" in caught.value.why and "lost" in caught.value.why and kinds(world) == [STARTED, "lost"]


@pytest.mark.parametrize(("becomes", "words"), [("ERROR", "does not run any more"), ("RUNNING", "does not answer")])
def test_what_became_of_a_pod_that_is_there_names_what_it_costs(world, scripted, ordered, becomes, words):
    run = ordered()
    pod = run._acquire().pod
    lent = world.fake.pods[pod.pod_id]
    lent.plan = dataclasses.replace(lent.plan, becomes=becomes)
    scripted.pods[pod.pod_id].is_away = True
    with pytest.raises(PodError, match=words) as caught:
        run.found()
    assert f"moola pod down {RUN}" in caught.value.way_out and kinds(world) == []


@pytest.mark.parametrize("command", ["attach", "pull", "stop", "logs"])
def test_commands_about_a_pod_that_is_gone_say_what_is_here(
    world, scripted, ordered, monkeypatch, capsys, tmp_path, command
):
    """All of it from the words of a command to its exit code; `resume` goes on, and is tested beside `adopt`."""
    run = ordered()
    run.bundle.write(run.layout.room("artifacts/runpod_bundles") / run.bundle.bundle_id)
    run.order()
    pod = run._acquire().pod
    copy = LogCopy(run.folder / "logs" / f"{pod.pod_id}.jsonl")
    line = json.dumps({"n": 1, "at": "2026-11-22T01:00:00Z", "step": "job", "text": "step 7"})
    copy.add([line], 0, len(line) + 1)
    keep(run.folder / "checkpoint", step=120)
    world.fake.pods[pod.pod_id].ended_at = world.clock.at
    monkeypatch.setattr("moola.pods.resuming.open_provider", lambda *_: world.provider)
    monkeypatch.setattr("moola.pods.resuming.open_ledger", lambda _: world.ledger)
    monkeypatch.chdir(tmp_path)
    code = main(["pod", command, RUN])
    out, err = capsys.readouterr()
    assert code == (0 if command == "logs" else EXIT_POD)
    assert (command == "logs") == ("job | step 7" in out)
    for words in ("RunPod does not know it any more", "seed0 at step 120", "job | step 7", f"moola pod resume {RUN}"):
        assert words in err
    assert kinds(world) == ["lost"] and nothing_bills(world)


def keep(folder: Path, step: int) -> None:
    """A whole copy of a working state, as a pull leaves it."""
    name = "artifacts/pretraining/.x.building/resume/seed0.safetensors"
    header = json.dumps({"__metadata__": {"state": json.dumps({"global_step": step, "epoch": 1})}}).encode()
    path = folder / "files" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    write_json(folder / "checkpoint.json", {name: digest_file(path)})


@pytest.mark.slow
def test_the_step_of_a_checkpoint_is_read_as_training_writes_it(tmp_path):
    import torch

    from moola.training.checkpoint_io import SafetensorsCheckpointIO

    keep(tmp_path, step=1)
    (name,) = read_json(tmp_path / "checkpoint.json")
    path = tmp_path / "files" / name
    SafetensorsCheckpointIO().save_checkpoint({"global_step": 77, "epoch": 3, "w": torch.zeros(2)}, path)
    write_json(tmp_path / "checkpoint.json", {name: digest_file(path)})
    kept = kept_checkpoint(tmp_path)
    assert kept is not None and kept.steps == ("seed0 at step 77",)


def test_resume_goes_on_and_writes_down_what_was_lost(world, scripted, ordered):
    pod = ordered()._acquire().pod
    world.fake.pods[pod.pod_id].ended_at = world.clock.at
    keep(ordered().folder / "checkpoint", step=120)
    assert ordered().go().outcome == "finished"
    assert kinds(world) == ["lost", STARTED] and "goes on from the checkpoint that is here: 1 files" in told(world)


def test_openings_of_sealed_tests_are_those_of_both_sides(tmp_path):
    here, kept = tmp_path / "here", tmp_path / "kept"
    here.write_text("a\nb\n")
    kept.write_text("a\nc\n")
    assert starting._merged(here, kept, tmp_path / "both").read_text() == "a\nb\nc\n"


def test_another_clients_pod_is_not_written_down_as_lost(world, scripted, ordered):
    run = ordered()
    pod = run._acquire().pod
    world.fake.pods[pod.pod_id].ended_at = world.clock.at
    with Ledger(world.ledger.path, world.clock).lease(RUN), pytest.raises(PodError, match="is gone"):
        run.found()
    assert kinds(world) == [] and len(world.ledger.pods(open_only=True)) == 1


def test_a_pods_own_key_changes_and_ends_it_as_the_contract_says(world, ordered, monkeypatch):
    world.fake.plan = AT_ONCE
    pod = world.fake.add("moola-x-00000000")
    monkeypatch.setenv("RUNPOD_API_KEY", world.fake.key)
    end = PodEnd({"kind": "runpod", "api": world.fake.url, "pod": pod.pod_id})
    assert end.probe().armed and pod.body["name"] == "moola-x-00000000"
    assert end.end() == "" and world.billing() == []


def test_a_bill_that_comes_late_does_not_lower_what_a_run_costs(world, ordered):
    pod = ordered()._acquire().pod
    world.clock.at += 36000
    world.ledger.set_billed("runpod", pod.pod_id, 0.05)
    assert ordered().observed().spent == pytest.approx(3.6, rel=0.01)
    end_pod(world.provider, pod, world.ledger, "test", clock=world.clock)
    world.clock.at += 3 * 3600
    world.ledger.set_billed("runpod", pod.pod_id, 3.5)
    assert ordered().observed().spent == 3.5
