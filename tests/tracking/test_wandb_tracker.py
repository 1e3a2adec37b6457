"""The W&B tracker with W&B's own client: offline in files that are read back, online with a small server."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb_file
from fake_wandb import KEY, FakeWandb

from moola.commands.track import sync_run
from moola.commands.wandb import main as wandb_command
from moola.config import structure
from moola.errors import ConfigError, StorageError
from moola.layout import write_json
from moola.pipelines.rented import Rented, write_rented
from moola.tracking.delivery import Delivery, TrackerError, left_of
from moola.tracking.journal import JOURNAL, Journal, read_calls
from moola.tracking.tracker import TrackedArtifact, TrackedRun
from moola.tracking.wandb_account import find_account
from moola.tracking.wandb_session import read_record
from moola.tracking.wandb_sync import runs_to_send, send
from moola.tracking.wandb_tracker import WandbTracker

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9"/></svg>'
POINTS = 5


@pytest.fixture(autouse=True)
def nobody_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No key, no netrc, no settings."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    server = FakeWandb()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield server
    server.close()
    assert server.faults == []


@pytest.fixture
def told(tracked_run: TrackedRun) -> TrackedRun:
    """A run whose journal holds one call of every kind, and was not delivered."""
    folder = tracked_run.folder
    run = TrackedRun(folder.name, "tiny", folder, {"name": "tiny", "tracker": {"wandb": {}}}, "sweep-1")
    (folder / "loss.svg").write_text(SVG)
    (folder / "report.html").write_text("<!doctype html><p>evidence</p>")
    (folder / "encoder.safetensors").write_bytes(b"weights")
    journal = Journal(folder)
    journal.append("start", run=run)
    add_points(journal, 1, POINTS)
    journal.append("log_figures", series="system", step=3, figures={"cpu": float("nan")}, time_s=1.7e9)
    journal.append("log_summary", figures={"m/test/accuracy": 0.75, "m/test/accuracy/low": 0.5, "verdict": "none"})
    journal.append("log_table", name="leaderboard", columns=["model", "value"], rows=[["a", 1], ["b", None], [3, 0.5]])
    journal.append("log_picture", name="pictures/loss", svg=folder / "loss.svg", caption="loss")
    journal.append("log_page", name="report", html=folder / "report.html")
    files = (folder / "encoder.safetensors",)
    made_from = {"windows": "e" * 64}
    artifact = TrackedArtifact("encoder-tiny", "encoder", "d" * 64, files, made_from, {"seed": 0})
    journal.append("log_artifact", artifact=artifact)
    journal.append("finish", status="finished")
    journal.close()
    return run


def add_points(journal: Journal, first: int, last: int) -> None:
    for step in range(first, last + 1):
        journal.append(
            "log_figures", series="pretrain/seed0", step=step, figures={"loss": 1 / step}, time_s=1.7e9 + step
        )


def deliver(run: TrackedRun, **keys: Any) -> list[str]:
    """Deliver what is left; what was told to people."""
    said: list[str] = []
    tracker = WandbTracker(**{"wait_s": 10.0, **keys})
    Delivery("wandb", tracker, run.folder, lambda event, **fields: said.append(f"{event} {fields}")).deliver_rest()
    return said


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row["pretrain/seed0/loss"] for row in rows if "pretrain/seed0/loss" in row]


def test_an_offline_run_holds_every_call_of_the_mirror(told: TrackedRun, nobody_at_home: Path) -> None:
    said = deliver(told)
    assert len(said) == 1 and f"offline; `moola wandb sync {told.run_id}` sends it" in said[0]
    [(_, of_sync)] = sync_run(told.folder, None, {"wandb": {}})
    assert of_sync == f"written offline; `moola wandb sync {told.run_id}` sends it"
    online = WandbTracker(mode="online", project="other")
    assert left_of(told.folder, "wandb", online.destination) == len(list(read_calls(told.folder)))
    found = wandb_file.read(told.folder)
    assert (found.run.run_id, found.run.run_group, found.run.project) == (told.run_id, "sweep-1", "moola")
    assert {item.key for item in found.run.config.update} >= {"name", "tracker"}
    mirror = [call for call in read_calls(told.folder) if call.method == "log_figures"]
    rows = {row["_step"]: row for row in found.history}
    for call in mirror:
        series, row = call.arguments["series"], rows[call.number]
        assert row[f"{series}/step"] == call.arguments["step"] and row["_timestamp"] == call.arguments["time_s"]
        for name, value in call.arguments["figures"].items():
            assert repr(float(row[f"{series}/{name}"])) == repr(float(value))
    assert found.axes["pretrain/seed0/loss"] == "pretrain/seed0/step"
    keys = {key for row in found.history for key in row}
    for key in ("tables/leaderboard", "pictures/loss", "pages/report"):
        assert f"{key}/path" in keys, key
    assert {"m/test/accuracy", "m/test/accuracy/low", "verdict"} <= found.summary.keys()
    [encoder] = [one for one in found.artifacts if one.type == "encoder"]
    assert encoder.name == "encoder-tiny" and '"windows"' in encoder.metadata
    assert found.exit_code == 0 and len(found.files) == 3
    assert list(nobody_at_home.iterdir()) == [], "nothing of the user's was touched"


def points_of(run: TrackedRun) -> list[tuple[str, int, float]]:
    """Every point of a run's offline file, with the steps of its own axis."""
    found = wandb_file.read(run.folder)
    return [
        (name, int(row[found.axes[name]]), float(value))
        for row in found.history
        for name, value in row.items()
        if found.axes.get(name)
    ]


def test_it_keeps_the_promises_of_every_tracker(tmp_path: Path) -> None:
    from moola.testing.tracker_checks import check_tracker

    check_tracker(WandbTracker(mode="offline"), tmp_path / "check", points_of)


def test_a_run_that_goes_on_has_one_offline_folder_that_holds_all_of_it(told: TrackedRun) -> None:
    deliver(told)
    journal = Journal(told.folder)
    journal.append("start", run=told)
    add_points(journal, POINTS - 1, POINTS + 2)  # as after a checkpoint: some steps once more
    journal.append("finish", status="finished")
    journal.close()
    deliver(told)
    assert losses(wandb_file.read(told.folder).history) == [1 / step for step in range(1, POINTS + 3)]


def test_sync_replays_the_journal_once_with_lineage(told: TrackedRun, fake: FakeWandb) -> None:
    deliver(told, mode="offline")
    assert runs_to_send(told.folder.parent) == [told.folder]
    sent = send(told.folder, {"base_url": fake.url})
    run = fake.runs[told.run_id]
    assert sent.calls and sent.left_out == () and told.run_id in sent.place
    assert losses(run.history) == [1 / step for step in range(1, POINTS + 1)]
    assert (run.group, run.exit_code, run.summary["m/test/accuracy"]) == ("sweep-1", 0, 0.75)
    logged = {fake.artifacts[id_]["kind"]: fake.artifacts[id_] for id_ in run.logged}
    assert logged["encoder"]["files"]["encoder.safetensors"] == b"weights"
    assert [fake.artifacts[id_]["metadata"]["digest"] for id_ in run.used] == ["e" * 64]
    assert {name.split("/")[1] for name in run.files if name.startswith("media/")} == {"html", "images", "table"}
    before, asked = list(run.history), len(fake.requests)
    assert send(told.folder, {"base_url": fake.url}).calls == 0 and len(fake.requests) == asked
    (told.folder / "tracking" / "wandb" / "record.json").unlink()  # as if it was sent from another machine
    send(told.folder, {"base_url": fake.url})
    assert run.history == before and len(fake.artifacts) == len({one["digest"] for one in fake.artifacts.values()})
    assert fake.keys == {KEY}
    kept = [path for path in told.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert kept == [], "the key is written nowhere"


def test_what_pods_cost_is_told_of_a_run_that_has_ended(told: TrackedRun, fake: FakeWandb) -> None:
    rented = Rented("runpod", "p1", "A40", "EU", 0.4, 1, 3600.0, 0.4, 0.0, False, "b", None)
    write_rented(told.folder, rented)
    for _ in range(2):
        [_] = sync_run(told.folder, None, {"wandb": {"base_url": fake.url}})
        run, calls = fake.runs[told.run_id], [call.method for call in read_calls(told.folder)]
        assert (run.summary["pod/cost_usd"], run.exit_code) == (0.4, 0)
        assert calls[-4:] == ["finish", "start", "log_summary", "finish"] and calls.count("finish") == 2
    write_rented(told.folder, dataclasses.replace(rented, cost_usd=0.5))  # the bill
    [_] = sync_run(told.folder, None, {"wandb": {"base_url": fake.url}})
    assert run.summary["pod/cost_usd"] == 0.5


def test_a_server_that_a_pod_names_gets_no_key(
    told: TrackedRun, fake: FakeWandb, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (told.folder / JOURNAL).read_text().replace('"wandb": {}', f'"wandb": {{"base_url": "{fake.url}"}}')
    (told.folder / JOURNAL).write_text(content)
    write_json(told.folder / "manifest.json", {})
    write_rented(told.folder, Rented("runpod", "p1", "A40", "EU", 0.4, 1, 3600.0, 0.4, 0.0, False, "b", None))
    words = ["sync", str(told.folder)]
    assert wandb_command(words) == 3
    assert "came from a pod" in (said := capsys.readouterr().err) and f"--base-url {fake.url}" in said
    assert not fake.requests
    assert wandb_command([*words, "--base-url", fake.url]) == 0
    assert fake.runs[told.run_id].summary["m/test/accuracy"] == 0.75


def test_whoever_looks_at_a_run_does_not_hinder_its_sync(told: TrackedRun, fake: FakeWandb) -> None:
    with (told.folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)  # as `is_locked` has it for an instant
        threading.Timer(0.05, lambda: fcntl.flock(handle, fcntl.LOCK_UN)).start()
        assert send(told.folder, {"base_url": fake.url}).calls


def test_a_service_that_is_killed_costs_no_point(tracked_run: TrackedRun, fake: FakeWandb, log: Any) -> None:
    log(3)
    said: list[str] = []
    tracker = WandbTracker(base_url=fake.url, wait_s=10.0)
    delivery = Delivery("wandb", tracker, tracked_run.folder, lambda event, **_: said.append(event), pauses_s=(0.05,))
    delivery.begin()
    wait_until(lambda: tracker._told >= 4)
    [service] = [one for one in psutil.Process().children() if "wandb-core" in " ".join(one.cmdline())]
    service.send_signal(signal.SIGKILL)
    log(8)
    journal = Journal(tracked_run.folder)
    journal.append("finish", status="finished")
    journal.close()
    delivery.no_more()
    assert delivery.wait(time.monotonic() + 20) == 0
    delivery.abandon()
    assert "tracker_failed" in said and "tracker_back" in said
    assert losses(fake.runs[tracked_run.run_id].history) == [1 / step for step in range(1, 9)]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_cannot_be_sent_says_why_and_the_way_out(
    told: TrackedRun, fake: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.denied = True
    with pytest.raises(TrackerError, match="the project moola cannot be written") as refused:
        send(told.folder, {"base_url": fake.url})
    assert "permission denied" in refused.value.why and "--project" in refused.value.way_out
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(TrackerError, match="no key for") as missing:
        send(told.folder, {"base_url": fake.url})
    assert "WANDB_API_KEY" in missing.value.way_out and missing.value.exit_code == 5
    empty = told.folder.parent / "other"
    empty.mkdir()
    with pytest.raises(StorageError, match="told no tracker anything"):
        send(empty)


def test_a_server_that_is_away_takes_a_bounded_time(told: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    began = time.monotonic()
    tracker = WandbTracker(base_url="http://127.0.0.1:9", init_s=0.3)
    with pytest.raises(TrackerError, match="cannot be told"):
        Delivery("wandb", tracker, told.folder).deliver_rest()
    assert time.monotonic() - began < 5


def test_a_server_that_goes_away_is_not_waited_for_when_the_process_ends(told: TrackedRun, fake: FakeWandb) -> None:
    tracker = WandbTracker(base_url=fake.url, wait_s=20.0)
    tracker.start(told)
    tracker.log_figures("pretrain/seed0", 1, {"loss": 1.0}, 1.7e9)
    fake.close()
    began = time.monotonic()
    tracker.abandon()  # as `atexit` does
    assert time.monotonic() - began < 5


def test_a_key_is_found_where_the_client_keeps_it(nobody_at_home: Path) -> None:
    assert find_account("auto", None, {}).mode == "offline"
    netrc = nobody_at_home / ".netrc"
    netrc.write_text("machine api.forge.coreweave.com login user password from-netrc\n")
    netrc.chmod(0o600)
    found = find_account("auto", None, {})
    assert (found.key, found.mode, found.url) == ("from-netrc", "online", "https://api.wandb.ai")
    assert find_account("auto", "https://other.example", {}).key is None
    assert find_account("auto", None, {"WANDB_API_KEY": "k"}).key == "k"
    assert find_account("auto", None, {"WANDB_MODE": "offline"}).mode == "offline"
    assert find_account("online", None, {"WANDB_MODE": "offline"}).mode == "online"
    netrc.write_text("no netrc at all {")
    assert find_account("auto", None, {}).key is None


def test_an_agents_run_keeps_the_id_of_its_sweep(told: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "by-agent")
    deliver(told, mode="offline")
    assert read_record(told.folder)["id"] == wandb_file.read(told.folder).run.run_id == "by-agent"
    monkeypatch.delenv("WANDB_SWEEP_ID")
    monkeypatch.delenv("WANDB_RUN_ID")
    deliver(told, mode="offline")
    assert read_record(told.folder)["id"] == "by-agent"


def test_wrong_keys_are_told_together() -> None:
    wrong = {"base_url": f"https://{'me:secret'}@host", "init_s": 0, "wait_s": -1, "tags": [""], "project": "a b/c?"}
    with pytest.raises(ConfigError) as found:
        structure(WandbTracker, wrong, "tracker.wandb")
    assert len(found.value.problems) == 5 and "WANDB_API_KEY" in str(found.value)
    assert "'a b/c?' is none that W&B takes" in str(found.value)


def test_nothing_is_told_where_it_is_disabled(told: TrackedRun) -> None:
    deliver(told, mode="disabled")
    assert not (told.folder / "tracking" / "wandb").exists()
