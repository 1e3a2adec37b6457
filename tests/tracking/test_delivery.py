"""Trackers that are away, refuse, block or have a file less: the run goes on, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from moola.layout import write_text
from moola.tracking.delivery import Delivery, TrackerError, left_of, position_of
from moola.tracking.journal import Journal
from moola.tracking.tracker import TrackedRun, Tracker

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def said() -> Told:
    return []


@pytest.fixture
def deliver(tracked_run: TrackedRun, said: Told) -> Callable[[Tracker], Delivery]:
    def begin(tracker: Tracker) -> Delivery:
        def tell(event: str, **fields: Any) -> None:
            said.append((event, fields))

        return Delivery("file", tracker, tracked_run.folder, tell, pauses_s=(0.01,))

    return begin


def test_calls_come_in_order_and_go_on_where_another_process_stopped(log, deliver, file_tracker, tracked_run) -> None:
    log(5)
    tracker = file_tracker()
    assert deliver(tracker).deliver_rest() == 6
    assert left_of(tracked_run.folder, "file") == 0
    log(8)
    later = file_tracker()
    assert deliver(later).deliver_rest() == 3
    assert later.steps() == list(range(1, 9))
    assert [name for name, _ in later.told()][6] == "start", "a tracker is started before it is told more"
    assert deliver(later).deliver_rest() == 0


def test_what_a_killed_attempt_journaled_is_kept_though_the_next_one_starts_the_tracker(
    journal: Journal,
    log,
    deliver,
    file_tracker,
    tracked_run: TrackedRun,
) -> None:
    log(3)
    journal.append("start", run=tracked_run)
    log(5)
    tracker = file_tracker()
    assert deliver(tracker).deliver_rest() == 7
    assert tracker.steps() == [1, 2, 3, 4, 5]


def test_an_outage_is_said_once_and_so_is_its_end(log, deliver, file_tracker, said) -> None:
    away = threading.Event()
    away.set()
    tracker = file_tracker(fails=lambda method, _: away.is_set())
    delivery = deliver(tracker)
    delivery.begin()
    log(3)
    while tracker.tries < 4:
        time.sleep(0.01)
    away.clear()
    delivery.no_more()
    assert delivery.wait(time.monotonic() + 10) == 0
    assert [event for event, _ in said] == ["tracker_failed", "tracker_back"]
    failed = said[0][1]
    assert failed["why"] == "ConnectionError: the server is away" and "moola track sync" in failed["way_out"]
    assert tracker.steps() == [1, 2, 3]


@pytest.mark.parametrize("address", ["http://me:secret@host:5000/api", "postgresql://me:se@cret@host/db?user=me"])
def test_a_password_in_an_address_is_in_no_log(log, deliver, file_tracker, said, address: str) -> None:
    def fails(method: str, arguments: dict[str, Any]) -> bool:
        raise ConnectionError(f"no answer from {address}, asked by a@b.example")

    log(1)
    with pytest.raises(TrackerError) as failed:
        deliver(file_tracker(fails=fails)).deliver_rest()
    deliver(file_tracker(refuses=lambda name, _: name == "log_figures", words=address)).deliver_rest()
    for told in (failed.value.spoken(), str(said)):
        assert "cret" not in told and "host" in told
    assert "a@b.example" in failed.value.why


def test_a_server_that_is_away_at_the_end_is_told_later(log, deliver, file_tracker, tracked_run) -> None:
    log(3)
    before = threading.active_count()
    delivery = deliver(file_tracker(fails=lambda *_: True))
    delivery.begin()
    delivery.no_more()
    assert delivery.wait(time.monotonic() + 0.1) == 4
    with pytest.raises(TrackerError, match="another process"):
        deliver(file_tracker()).deliver_rest()
    delivery.abandon()
    while threading.active_count() > before:  # it holds the lock until it has seen that nobody waits
        time.sleep(0.01)
    with pytest.raises(TrackerError, match="the server is away"):
        deliver(file_tracker(fails=lambda *_: True)).deliver_rest()
    tracker = file_tracker()
    assert deliver(tracker).deliver_rest() == 4
    assert tracker.steps() == [1, 2, 3]


def test_a_call_that_never_returns_holds_nobody(log, deliver, file_tracker) -> None:
    log(1)
    never = threading.Event()
    delivery = deliver(file_tracker(blocks=never))
    delivery.begin()
    delivery.no_more()
    begun = time.monotonic()
    assert delivery.wait(begun + 0.1) == 2
    delivery.abandon()
    assert time.monotonic() - begun < 2
    never.set()


def test_a_call_that_is_refused_is_left_out_and_no_other(log, deliver, file_tracker, said) -> None:
    log(6)
    tracker = file_tracker(refuses=lambda name, arguments: name == "log_figures" and arguments["step"] == 4)
    deliver(tracker).deliver_rest()
    assert tracker.steps() == [1, 2, 3, 5, 6]
    assert [(event, fields["what"]) for event, fields in said] == [("tracker_refused", "log_figures pretrain/seed0")]


def test_a_file_that_is_gone_is_left_out(journal: Journal, log, deliver, file_tracker, tracked_run, said) -> None:
    write_text(tracked_run.folder / "report.html", "page")
    journal.append("log_page", name="report", html=tracked_run.folder / "report.html")
    log(1)
    (tracked_run.folder / "report.html").unlink()
    tracker = file_tracker()
    deliver(tracker).deliver_rest()
    assert [name for name, _ in tracker.told()] == ["start", "log_figures"]
    assert said[0][0] == "tracker_refused"


def test_another_journal_in_the_place_of_one_is_told_from_its_start(log, deliver, file_tracker, tracked_run) -> None:
    log(3)
    deliver(file_tracker()).deliver_rest()
    assert position_of(tracked_run.folder, "file") == 4
    (tracked_run.folder / "tracking.jsonl").unlink()
    time.sleep(0.002)
    other = Journal(tracked_run.folder)
    other.append("start", run=tracked_run)
    other.close()
    assert position_of(tracked_run.folder, "file") == 0
