"""Trials are neither lost nor doubled: workers are killed by real signals, and several share one storage."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import EXIT_DATA, ConfigError, DataError, MoolaError, StorageError
from moola.sweeps.search import owner as owner_module
from moola.sweeps.search import study as study_module
from moola.sweeps.search.owner import Owner
from moola.sweeps.search.settings import SearchSettings
from moola.sweeps.search.storage import StudyStorage
from moola.sweeps.search.study import MOST_DEATHS, PrunedError, Report, TrialRecord, is_surplus, read_records, work
from moola.sweeps.search.workers import StudyPlan, try_all

optuna = pytest.importorskip("optuna")

SPACE = {
    "model.x": {"type": "float", "low": -1.0, "high": 1.0},
    "model.n": {"type": "int", "low": 1, "high": 9},
}
DEFAULT = {"model.x": 0.5, "model.n": 2}


def settings(**changed: Any) -> SearchSettings:
    return SearchSettings(**{"name": "s", "model": "m", "space": SPACE, "n_trials": 8, "pruner": "none", **changed})


def square(params: Mapping[str, Any], report: Report) -> float:
    return -((params["model.x"]) ** 2) + params["model.n"]


def x_of(record: TrialRecord) -> float:
    return float(record.params["model.x"] or 0.0)


def nothing(_: object) -> None:
    """Nobody listens."""


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "s.journal")


def plan_of(place: str, folder: Path, objective: Any = square, **changed: Any) -> StudyPlan:
    return StudyPlan(place, "s", settings(**changed), DEFAULT, True, objective, folder / "locks")


def records_of(place: str) -> list[TrialRecord]:
    return read_records(place, "s")


@pytest.fixture
def owner_in() -> Iterator[Callable[[Path], Owner]]:
    """Workers that are gone after the test."""
    with contextlib.ExitStack() as stack:

        def make(folder: Path) -> Owner:
            owner = Owner(folder)
            stack.callback(owner.close)
            return owner

        yield make


def trials(records: list[TrialRecord]) -> list[Any]:
    return [(one.number, one.status, one.params, one.value) for one in records]


def tried(place: str, folder: Path, objective: Any = square, **changed: Any) -> list[TrialRecord]:
    try_all(plan_of(place, folder, objective, **changed), nothing, nothing)
    return records_of(place)


def in_child(work_there: Callable[[], None]) -> int:
    """A process of its own, by its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work_there()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_default_is_trial_0_and_the_same_seed_gives_the_same_trials(tmp_path: Path):
    first = tried(str(tmp_path / "a.journal"), tmp_path)
    assert first[0].params == DEFAULT
    assert first[0].is_default
    assert trials(first) == trials(tried(str(tmp_path / "b.journal"), tmp_path))
    assert trials(first) != trials(tried(str(tmp_path / "c.journal"), tmp_path, seed=1))


def test_a_search_that_goes_on_tries_what_it_would_have_tried_at_once(journal: str, tmp_path: Path):
    whole = tried(str(tmp_path / "whole.journal"), tmp_path, n_trials=12)
    tried(journal, tmp_path, n_trials=5)
    assert trials(tried(journal, tmp_path, n_trials=12)) == trials(whole)


def test_a_default_outside_the_space_is_tried_all_the_same(journal: str, tmp_path: Path):
    plan = StudyPlan(journal, "s", settings(n_trials=3), None, True, lambda params, _: float(len(params)), tmp_path)
    try_all(plan, nothing, nothing)
    values = [one.value for one in records_of(journal)]
    assert values == [0.0, 2.0, 2.0]


def test_the_same_parameters_are_not_computed_twice(journal: str, tmp_path: Path):
    calls = Counter[str]()

    def counted(params: Mapping[str, Any], report: Report) -> float:
        calls[str(params)] += 1
        return 1.0

    space = {"model.n": {"type": "int", "low": 1, "high": 2}}
    plan = StudyPlan(journal, "s", settings(space=space, n_trials=9), {"model.n": 1}, True, counted, tmp_path)
    try_all(plan, nothing, nothing)
    assert max(calls.values()) == 1
    records = records_of(journal)
    assert [one.status for one in records] == ["finished"] * 9
    assert sum(one.copy_of is not None for one in records) == 7


def test_a_trial_that_fails_is_told_and_the_others_go_on(journal: str, tmp_path: Path):
    def fragile(params: Mapping[str, Any], report: Report) -> float:
        if params["model.x"] < 0:
            raise ConfigError(["model.x: must not be negative"])
        return params["model.x"]

    records = tried(journal, tmp_path, fragile)
    failed = [one for one in records if one.status == "failed"]
    assert len(records) == 8
    assert failed
    assert all("must not be negative" in one.why and x_of(one) < 0 for one in failed)


def test_a_default_that_fails_ends_the_search_and_is_tried_again(journal: str, tmp_path: Path):
    def broken(params: Mapping[str, Any], report: Report) -> float:
        raise MoolaError("no data")

    with pytest.raises(MoolaError, match="no data"):
        tried(journal, tmp_path, broken)
    records = tried(journal, tmp_path)
    assert [one.status for one in records] == ["lost", *["finished"] * 8]
    assert records[1].is_default


def test_a_figure_that_is_no_number_fails_the_trial(journal: str, tmp_path: Path):
    records = tried(
        journal, tmp_path, lambda params, _: float("nan") if params != DEFAULT else 0.0, n_trials=2, space=SPACE
    )
    assert [one.status for one in records] == ["finished", "failed"]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "pruner", ["median", pytest.param("halving", marks=SLOW), pytest.param("hyperband", marks=SLOW)]
)
def test_pruning_ends_trials_that_lag_behind(journal: str, tmp_path: Path, pruner: str):
    steps = Counter[str]()

    def slow(params: Mapping[str, Any], report: Report) -> float:
        for step in range(1, 100, 9):
            steps[str(params)] += 1
            report(step, params["model.x"] * step)
        return params["model.x"]

    records = tried(journal, tmp_path, slow, pruner=pruner, n_trials=14, sampler="random")
    pruned = [one for one in records if one.status == "pruned"]
    assert pruned
    assert all(steps[str(one.params)] == one.steps < 11 for one in pruned)
    assert not records[0].is_default or records[0].status == "finished"
    assert max(records, key=x_of).status == "finished"


def test_a_worker_killed_in_a_trial_costs_that_trial_once(journal: str, tmp_path: Path):
    place, started = journal, tmp_path / "started"

    def hanging(params: Mapping[str, Any], report: Report) -> float:
        if len(records_of(place)) > 3:
            started.touch()
            time.sleep(60)
        return square(params, report)

    child = in_child(lambda: try_all(plan_of(place, tmp_path, hanging), nothing, nothing))
    wait_for(started.exists)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    records = tried(place, tmp_path)
    assert Counter(one.status for one in records) == {"finished": 8, "lost": 1}
    [lost] = [one for one in records if one.status == "lost"]
    again = [one for one in records if one.retry_of is not None]
    assert [(one.retry_of, one.params) for one in again] == [(lost.number, lost.params)]
    assert trials(tried(place, tmp_path)) == trials(records)  # and nothing is left to do


def test_what_kills_every_worker_fails_in_the_end(journal: str, tmp_path: Path):
    def deadly(params: Mapping[str, Any], report: Report) -> float:
        if params != DEFAULT:
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    for _ in range(MOST_DEATHS):
        child = in_child(lambda: try_all(plan_of(journal, tmp_path, deadly, n_trials=2), nothing, nothing))
        os.waitpid(child, 0)
    records = tried(journal, tmp_path, deadly, n_trials=2)
    assert [one.status for one in records] == ["finished", "lost", "lost", "failed"]
    assert "memory" in records[-1].why


@pytest.mark.parametrize("place", ["{}/s.journal", pytest.param("sqlite:///{}/s.db", marks=pytest.mark.slow)])
def test_processes_share_a_study(place: str, tmp_path: Path):
    place = place.format(tmp_path)
    plan = plan_of(place, tmp_path, n_trials=16)
    children = [in_child(lambda: try_all(plan, nothing, nothing)) for _ in range(3)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    records = records_of(place)
    assert [one.number for one in records] == list(range(16))
    assert {one.status for one in records} == {"finished"}
    assert sum(one.is_default for one in records) == 1


@given(st.data())
def test_machines_that_cannot_lock_each_other_out_keep_as_many_trials_as_wanted(data: st.DataObject):
    """They begin trials, look whether these are too many, and die, in any order."""
    known: list[TrialRecord] = []
    unsure: set[int] = set()
    n_trials = data.draw(st.integers(1, 4))

    def begin(retry_of: int | None = None, is_default: bool = False) -> None:
        unsure.add(len(known))
        known.append(TrialRecord(len(known), "running", {}, None, None, "", is_default, retry_of, None, "", "", 0))

    for _ in range(data.draw(st.integers(1, 12))):
        act = data.draw(st.sampled_from(["begin", "default", "look", "die"]))
        if act == "look" and unsure:
            number = data.draw(st.sampled_from(sorted(unsure)))
            unsure.remove(number)
            if is_surplus(known[number], known[:number], n_trials):
                known[number] = replace(known[number], status="surplus")
        elif act == "die" and (alive := [one for one in known if one.status == "running"]):
            lost = data.draw(st.sampled_from(alive))
            known[lost.number] = replace(lost, status="lost")
            unsure.discard(lost.number)
            for _ in range(data.draw(st.integers(1, 2))):  # as many as saw it
                begin(lost.number)
        else:
            begin(is_default=act == "default")
    for number in sorted(unsure):
        if is_surplus(known[number], known[:number], n_trials):
            known[number] = replace(known[number], status="surplus")
    kept = [one for one in known if one.status == "running"]
    retried = [one.retry_of for one in kept if one.retry_of is not None]
    assert len(kept) <= n_trials
    assert sum(one.is_default for one in kept) <= 1
    assert len(retried) == len(set(retried))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test's own; its URL."""
    pytest.importorskip("psycopg")
    debian = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))  # it keeps them off the PATH
    path = os.pathsep.join([os.environ["PATH"], *debian])
    initdb, postgres = (shutil.which(name, path=path) for name in ("initdb", "postgres"))
    if initdb is None or postgres is None:
        assert "CI" not in os.environ, "in CI a PostgreSQL server is there (initdb, postgres)"
        pytest.skip("PostgreSQL is not installed")
    who = {"user": "nobody"} if os.getuid() == 0 else {}  # it refuses to run as root
    with tempfile.TemporaryDirectory() as top, socket.socket() as free:
        os.chmod(top, 0o777)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        folder = f"{top}/db"
        made = [initdb, "-D", folder, "-U", "anna", "--auth=trust", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd=top, **who)
        free.close()
        words = [postgres, "-D", folder, "-p", str(port), "-h", "127.0.0.1", "-k", top, "-F"]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, cwd=top, **who) as process:
            wait_for(lambda: Path(f"{top}/.s.PGSQL.{port}").exists())
            yield f"postgresql+psycopg://anna@127.0.0.1:{port}/postgres"
            process.send_signal(signal.SIGINT)  # it waits for no client


@pytest.mark.slow
def test_processes_share_a_study_on_postgresql_and_none_counts_too_much(server: str, tmp_path: Path):
    plan = plan_of(server, tmp_path, n_trials=12)
    wait_for(lambda: can_open(server))
    children = [in_child(lambda: try_all(plan, nothing, nothing)) for _ in range(4)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    counts = Counter(one.status for one in records_of(server))
    assert counts["finished"] == 12
    assert set(counts) <= {"finished", "surplus"}
    assert sum(one.is_default for one in records_of(server) if one.status == "finished") == 1


@pytest.mark.slow
def test_a_worker_on_postgresql_that_is_killed_loses_no_trial_and_another_machine_tries_it_again(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(owner_module, "LEASE_S", 3.0)
    monkeypatch.setattr(study_module, "BEAT_EVERY_S", 0.5)
    wait_for(lambda: can_open(server))
    begun = tmp_path / "begun"

    def stuck(params: Mapping[str, Any], report: Report) -> float:
        if params != DEFAULT:
            begun.touch()
            time.sleep(600)
        return square(params, report)

    def plan(folder: str, objective: Any) -> StudyPlan:
        own = settings(name="killed", n_trials=10)
        return StudyPlan(server, "killed", own, DEFAULT, True, objective, tmp_path / folder)

    killed = in_child(lambda: try_all(plan("here", stuck), nothing, nothing))
    wait_for(begun.exists)
    other = in_child(lambda: try_all(plan("there", slowly), nothing, nothing))
    time.sleep(1.0)  # for the other machine to be at work
    os.kill(killed, signal.SIGKILL)
    assert os.waitpid(killed, 0)[1] == signal.SIGKILL
    assert os.waitpid(other, 0)[1] == 0
    records = read_records(server, "killed")
    assert Counter(one.status for one in records) == {"finished": 10, "lost": 1}
    [lost] = [one for one in records if one.status == "lost"]
    [again] = [one for one in records if one.retry_of == lost.number]
    assert again.params == lost.params and again.status == "finished"


def slowly(params: Mapping[str, Any], report: Report) -> float:
    time.sleep(0.3)
    return square(params, report)


def can_open(place: str) -> bool:
    try:
        StudyStorage(place).close()
    except StorageError:
        return False
    return True


def test_an_interrupted_trial_is_handed_back(journal: str, tmp_path: Path):
    def interrupted(params: Mapping[str, Any], report: Report) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tried(journal, tmp_path, interrupted)
    records = records_of(journal)
    assert [one.status for one in records] == ["lost", "waiting"]
    assert records[1].is_default


def test_a_worker_elsewhere_is_dead_when_it_beats_no_more(
    tmp_path: Path, owner_in: Callable[[Path], Owner], monkeypatch: pytest.MonkeyPatch
):
    here, there = owner_in(tmp_path / "here"), owner_in(tmp_path / "there")
    foreign = there.to_json()
    assert not here.is_dead(7, foreign, 1)
    monkeypatch.setattr(owner_module, "LEASE_S", 0.0)
    time.sleep(0.01)
    assert not here.is_dead(7, foreign, 2)  # it beat
    time.sleep(0.01)
    assert here.is_dead(7, foreign, 2)


def test_a_worker_goes_on_to_beat_when_its_storage_was_away(
    journal: str, tmp_path: Path, owner_in: Callable[[Path], Owner], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(study_module, "BEAT_EVERY_S", 0.01)
    study = plan_of(journal, tmp_path).open(owner_in(tmp_path / "here"))
    study.begin()
    claimed = study.claim()
    assert not isinstance(claimed, str)
    away, reached = [OSError("the server is away")], claimed.trial.set_user_attr

    def beat(key: str, value: Any) -> None:
        if away:
            raise away.pop()
        reached(key, value)

    monkeypatch.setattr(claimed.trial, "set_user_attr", beat)

    def slow(params: Mapping[str, Any], report: Report) -> float:
        wait_for(lambda: study_module.BEAT in study._trials()[0].user_attrs)
        return 1.0

    assert study.run(claimed, slow).status == "finished" and not away


def test_a_trial_that_others_took_for_dead_is_told_by_its_retry(
    journal: str, tmp_path: Path, owner_in: Callable[[Path], Owner], monkeypatch: pytest.MonkeyPatch
):
    plan = plan_of(journal, tmp_path)
    slow, quick = plan.open(owner_in(tmp_path / "slow")), plan.open(owner_in(tmp_path / "quick"))
    slow.begin()
    claimed = slow.claim()
    assert not isinstance(claimed, str)
    quick._take_back()
    monkeypatch.setattr(owner_module, "LEASE_S", 0.0)
    time.sleep(0.01)
    work(quick, square, nothing)
    slow.run(claimed, square)  # comes back
    records = records_of(journal)
    assert Counter(one.status for one in records) == {"lost": 1, "finished": 8}
    assert records[1].retry_of == 0


def test_no_trial_begins_after_the_time_is_over(journal: str, tmp_path: Path):
    plan = StudyPlan(journal, "s", settings(), DEFAULT, True, square, tmp_path, seconds=0.0)
    try_all(plan, nothing, nothing)
    assert [one.status for one in records_of(journal)] == ["waiting"]


def test_pruned_is_no_error_of_moola():
    assert not issubclass(PrunedError, MoolaError)


def deadly_once(params: Mapping[str, Any], report: Report) -> float:
    """Kills its worker the first time that a file is not there."""
    marker = Path(os.environ["MOOLA_TEST_MARKER"])
    if params != DEFAULT and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(params, report)


def without_data(params: Mapping[str, Any], report: Report) -> float:
    raise DataError("there are no bars")


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_an_error_of_one_is_raised_here(
    journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MOOLA_TEST_MARKER", str(tmp_path / "marker"))
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # workers import this module
    notes: list[str] = []
    try_all(plan_of(journal, tmp_path, deadly_once, workers=2, n_trials=12), nothing, notes.append)
    records = records_of(journal)
    assert Counter(one.status for one in records) == {"finished": 12, "lost": 1}
    assert ["killed by signal 9 (SIGKILL)" in note for note in notes] == [True]
    with pytest.raises(MoolaError, match="there are no bars") as raised:
        try_all(plan_of(str(tmp_path / "other"), tmp_path, without_data, workers=2), nothing, nothing)
    assert raised.value.exit_code == EXIT_DATA
