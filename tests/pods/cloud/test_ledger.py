"""The ledger: what it remembers, what it adds up, and that two clients can use it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_runpod import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.errors import StorageError
from moola.pods.leases import LEASE_S
from moola.pods.ledger import Ledger
from moola.pods.provider import Offer, PodRecord, PodState, PodTakenError, pod_name, run_and_owner
from moola.pods.run_keys import RunKeys

RUN = "market-584a4514f71f"
OFFER = Offer("NVIDIA RTX A5000", "RTX A5000", 24, "SECURE", "EU-RO-1", "HIGH", 0.36)


def record(clock: FakeClock, pod_id: str = "p1", price: float = 0.5, run: str = RUN) -> PodRecord:
    created = datetime.fromtimestamp(clock.at, UTC)
    name = pod_name(run, "00000000")
    return PodRecord("runpod", pod_id, run, "00000000", name, "PROVISIONING", "A5000", "SECURE", "", price, created)


@pytest.fixture
def ledger(tmp_path: Path, clock: FakeClock) -> Ledger:
    return Ledger(tmp_path / "pods.sqlite", clock)


def test_an_intent_is_open_until_it_is_settled_and_survives_the_client(ledger, clock):
    number = ledger.intend("runpod", RUN, OFFER)
    again = Ledger(ledger.path, clock)
    assert [(one.number, one.run, one.at) for one in again.open_intents(RUN)] == [(number, RUN, clock.at)]
    assert "EU-RO-1" in again.open_intents()[0].offer
    assert again.open_intents("other") == []
    again.settle(number, "created", "p1")
    assert ledger.open_intents() == []
    assert again.owner == ledger.owner


def test_costs_are_prices_times_the_time_between(ledger, clock):
    ledger.add_run(RUN, "market", "b" * 16)
    ledger.add_pod(record(clock, price=0.5))
    clock.at += 3600
    ledger.add_state("runpod", "p1", PodState("RUNNING", 0.5))
    clock.at += 1800
    ledger.add_state("runpod", "p1", PodState("RUNNING", 1.0))
    clock.at += 7200
    (running,) = ledger.pods(RUN)
    assert running.estimate == pytest.approx(0.5 * 1.5 + 1.0 * 2)
    assert running.experiment == "market" and running.status == "RUNNING" and running.seconds == 3600 * 3.5
    ledger.end_pod("runpod", "p1", "done")
    clock.at += 36000
    (ended,) = ledger.pods(RUN)
    assert ended.estimate == running.estimate and ended.cost == ended.estimate
    assert ended.ended_why == "done" and ended.status == "TERMINATED"
    ledger.set_billed("runpod", "p1", 2.81)
    assert ledger.pods(RUN)[0].cost == 2.81
    assert ledger.pods(RUN, open_only=True) == []


def test_a_server_clock_ahead_of_ours_makes_no_negative_cost(ledger, clock):
    pod = record(clock)
    ledger.add_pod(replace(pod, created_at=datetime.fromtimestamp(clock.at + 500, UTC)))
    assert ledger.pods()[0].estimate == 0 and ledger.pods()[0].seconds == 0
    clock.at += 500 + 3600
    assert ledger.pods()[0].estimate == pytest.approx(0.5)


@settings(max_examples=10)
@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 5)), max_size=8))
def test_the_estimate_is_the_integral_of_what_was_seen(tmp_path_factory, steps):
    clock = FakeClock()
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "pods.sqlite", clock)
    ledger.add_pod(record(clock, price=1.0))
    price, total = 1.0, 0.0
    for seconds, following in steps:
        clock.at += seconds
        total += seconds / 3600 * price
        price = following
        ledger.add_state("runpod", "p1", PodState("RUNNING", price))
    assert ledger.pods()[0].estimate == pytest.approx(total, abs=1e-6)


def test_a_pod_that_was_ended_and_is_there_still_goes_on_to_cost(ledger, clock):
    ledger.add_pod(record(clock))
    ledger.end_pod("runpod", "p1", "down")
    clock.at += 3600
    ledger.add_pod(record(clock))
    assert ledger.pods(open_only=True)[0].ended_at is None


def test_states_of_a_pod_that_nobody_wrote_down_are_nobodys(ledger):
    ledger.add_state("runpod", "unknown", PodState("RUNNING", 1.0))
    assert ledger.pods() == []


def test_transfers_events_and_host_keys_are_kept(ledger, clock):
    ledger.add_transfer(RUN, "p1", "push", 2.5, files=10, size=1000, sent=300)
    ledger.add_event(RUN, "p1", "guard", "deadline")
    ledger.pin_host_keys("runpod", "p1", ["ssh-rsa B", "ssh-ed25519 A"])
    assert ledger.host_keys("runpod", "p1") == ("ssh-ed25519 A", "ssh-rsa B")
    ledger.pin_host_keys("runpod", "p1", ["ssh-rsa B"])
    assert ledger.transfers(RUN) == [
        {"pod_id": "p1", "direction": "push", "at": clock.at, "seconds": 2.5, "files": 10, "bytes": 1000, "sent": 300}
    ]
    assert ledger.events(RUN) == [{"pod_id": "p1", "at": clock.at, "kind": "guard", "detail": "deadline"}]
    assert ledger.host_keys("runpod", "p1") == ("ssh-rsa B",)
    assert ledger.host_keys("runpod", "p2") == ()


def test_one_client_at_a_time(ledger, clock):
    with ledger.lease(RUN) as lease:
        assert ledger.is_leased(RUN) and not ledger.is_leased("other")
        with pytest.raises(PodTakenError, match=f"process {os.getpid()}"):
            Ledger(ledger.path, clock).lease(RUN)
        clock.at += 10 * LEASE_S  # its process lives: a machine that slept holds what it held
        with pytest.raises(PodTakenError):
            ledger.lease(RUN)
        lease.renew()
        with ledger.lease("other"):
            pass
    assert not ledger.is_leased(RUN)
    with ledger.lease(RUN):
        pass


def hold(path: Path, barrier: Callable[[], None]) -> None:
    Ledger(path).lease(RUN)
    barrier()
    signal.pause()


def test_a_client_that_was_killed_holds_nothing(ledger):
    context = multiprocessing.get_context("fork")
    taken = context.Event()
    client = context.Process(target=hold, args=(ledger.path, taken.set))
    client.start()
    assert taken.wait(20)
    with pytest.raises(PodTakenError):
        ledger.lease(RUN)
    client.kill()
    while state_of(client.pid) != "Z":  # dead, and its number still its own until it is joined
        pass
    with ledger.lease(RUN):
        pass
    client.join()


def state_of(pid: int | None) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_number_that_was_given_to_another_process_is_not_the_holder(ledger):
    with ledger.lease(RUN):
        with sqlite3.connect(ledger.path) as book:
            book.execute("UPDATE leases SET process = ?", [f"{os.getpid()} 17"])
        with ledger.lease(RUN):
            pass


def test_a_lease_of_another_machine_holds_as_long_as_it_is_renewed(ledger, clock):
    lease = ledger.lease(RUN)
    with sqlite3.connect(ledger.path) as book:
        book.execute("UPDATE leases SET host = 'elsewhere'")
    clock.at += LEASE_S - 1
    with pytest.raises(PodTakenError, match="elsewhere"):
        ledger.lease(RUN)
    lease.renew()
    clock.at += LEASE_S - 1
    with pytest.raises(PodTakenError):
        ledger.lease(RUN)
    clock.at += 2
    with ledger.lease(RUN), pytest.raises(PodTakenError, match="another client took"):
        lease.renew()


def race(path: Path, barrier: Any, results: Any) -> None:
    ledger = Ledger(path)
    won = 0
    for number in range(3):
        barrier.wait()
        with contextlib.suppress(PodTakenError):
            ledger.lease(f"{RUN}-{number}")
            won += 1
    barrier.wait()  # all live as long as any asks
    results.put(won)


def test_of_clients_that_ask_at_the_same_moment_one_gets_the_run(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.SimpleQueue()
    Ledger(tmp_path / "pods.sqlite")
    clients = [context.Process(target=race, args=(tmp_path / "pods.sqlite", barrier, results)) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [client.exitcode for client in clients] == [0] * 4
    assert sum(results.get() for _ in clients) == 3


def test_nobody_writes_between_a_look_and_what_follows_from_it(ledger):
    with (
        ledger._file.writing(),
        contextlib.closing(sqlite3.connect(ledger.path, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_who_only_reads_waits_for_no_writer(ledger, clock, monkeypatch):
    monkeypatch.setattr("moola.pods.ledger_file._BUSY_S", 0.0)
    ledger.add_pod(record(clock))
    with Ledger(ledger.path, clock)._file.writing() as book:
        book.execute("UPDATE pods SET gpu = 'half written'")
        assert ledger.pods()[0].gpu == "A5000" and not ledger.is_leased(RUN) and ledger.events(RUN) == []


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_ledger_that_stays_locked_is_told_of_with_who_has_it_and_given_up(ledger, clock, monkeypatch, capsys, lock):
    monkeypatch.setattr("moola.pods.ledger_file._TELL_S", 0.02)
    monkeypatch.setattr("moola.pods.ledger_file._BUSY_S", 0.06)
    with contextlib.closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute(lock)
        asked = [lambda: ledger.add_pod(record(clock))] + [ledger.pods] * lock.endswith("EXCLUSIVE")
        for ask in asked:
            began = time.monotonic()
            with pytest.raises(StorageError, match="is locked by") as caught:
                ask()
            assert 0.05 < time.monotonic() - began < 2
            told = capsys.readouterr().err
            assert "is locked by" in told and told.count("\n") == 1 and "at most" in told
            if Path("/proc/locks").exists():
                assert f"process {os.getpid()}" in told and f"process {os.getpid()}" in caught.value.what
    ledger.add_pod(record(clock))
    assert capsys.readouterr().err == ""


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path, clock):
    before = Ledger(tmp_path / "pods.sqlite", clock)
    before.add_pod(record(clock))
    with contextlib.closing(sqlite3.connect(before.path)) as book:
        book.executescript("DROP TABLE sights; PRAGMA user_version = 1")
    now = Ledger(before.path, clock)
    assert now.owner == before.owner and [pod.pod_id for pod in now.pods()] == ["p1"]
    clock.at += 60
    now.lose_pod("runpod", "p1", RUN, "gone")  # never seen since
    assert now.pods()[0].seconds == 60


def test_a_pod_whose_end_nobody_saw_counts_up_to_the_last_sight(ledger, clock):
    ledger.add_pod(record(clock, price=0.5))
    clock.at += 3600
    ledger.see_pod("runpod", "p1")
    clock.at += 12.5 * 3600
    ledger.add_state("runpod", "p1", PodState("TERMINATED", 0.0))
    ledger.lose_pod("runpod", "p1", RUN, "TERMINATED")
    (pod,) = ledger.pods(RUN)
    assert pod.seconds == 3600 and pod.cost == pytest.approx(0.5)
    ledger.set_billed("runpod", "p1", 3.1)
    assert ledger.pods(RUN)[0].cost == 3.1, "what nobody saw is on its bill"


def write_many(path: Path, which: int) -> None:
    ledger = Ledger(path)
    for number in range(5):
        ledger.settle(ledger.intend("runpod", f"{RUN}-{which}-{number}", OFFER), "nothing")


def test_many_clients_write_at_once_and_nothing_is_lost(tmp_path):
    path = tmp_path / "pods.sqlite"
    context = multiprocessing.get_context("fork")
    clients = [context.Process(target=write_many, args=(path, which)) for which in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [client.exitcode for client in clients] == [0] * 4
    with sqlite3.connect(path) as book:
        assert book.execute("SELECT count(*), count(DISTINCT intent) FROM intents").fetchone() == (20, 20)
        assert book.execute("SELECT count(*) FROM facts").fetchone() == (1,)


def test_a_file_that_is_no_ledger_is_told_of(tmp_path):
    path = tmp_path / "pods.sqlite"
    path.write_text("no ledger at all, but long enough to be looked at" * 100)
    with pytest.raises(StorageError, match="cannot be used"):
        Ledger(path)


def test_a_ledger_of_a_later_moola_is_left_alone(ledger):
    with sqlite3.connect(ledger.path) as book:
        book.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="later moola"):
        Ledger(ledger.path)


@pytest.mark.parametrize("run", [RUN, "a", "a-b-c", "UCR.GunPoint_1"])
def test_a_name_tells_its_run_and_its_ledger(run):
    assert run_and_owner(pod_name(run, "0123abcd")) == (run, "0123abcd")


@pytest.mark.parametrize(
    "name", ["", "pytorch", "moola", "moola-x", "moola-x-1234567", "my-moola-x-12345678", "moola--12345678"]
)
def test_what_people_call_their_pods_is_not_moolas(name):
    assert run_and_owner(name) is None


def test_a_runs_key_is_made_once_for_its_owner_alone_and_forgotten(tmp_path):
    keys = RunKeys(tmp_path / "pod_keys")
    identity = keys.identity(RUN)
    assert keys.identity(RUN) == identity and keys.public_key(RUN).startswith("ssh-ed25519 AAAA")
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert stat.S_IMODE(identity.parent.parent.stat().st_mode) == 0o700
    assert keys.public_key("other") != keys.public_key(RUN)
    keys.forget(RUN)
    keys.forget(RUN)
    assert not identity.exists()


def test_the_ledger_and_all_that_asks_the_lender_need_no_heavy_package():
    code = (
        "import sys, moola.pods.acquiring, moola.pods.providers, moola.pods.reaping\n"
        "print({'torch', 'httpx', 'polars', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
