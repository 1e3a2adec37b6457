"""Trackers of a run on a pod: told by the client, from the journal of the pod, and never in the way of the run."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import wandb_file

from moola.pods import running
from moola.pods.bundle import Bundle
from moola.pods.publishing import Published
from moola.pods.telling import tell_trackers
from moola.tracking.journal import JOURNAL, Journal, read_calls
from moola.tracking.tracker import TrackedRun

OFFLINE = {"wandb": {"mode": "offline", "wait_s": 20.0}}


def bundle_with(tracker: dict[str, Any]) -> Bundle:
    return Bundle.of([], {"config": json.dumps({"device": "auto", "tracker": tracker}), "git": None})


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A run folder with a journal, as it comes back."""
    folder = tmp_path / "artifacts" / "results" / "demo-ffffffffffff"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<p>evidence</p>")
    journal = Journal(folder)
    journal.append("start", run=TrackedRun(folder.name, "demo", folder, {"name": "demo"}))
    journal.append("log_figures", series="pretrain/seed0", step=1, figures={"loss": 0.5}, time_s=1.7e9)
    journal.append("log_page", name="report", html=folder / "report.html")
    journal.append("finish", status="finished")
    journal.close()
    return folder


def edited(folder: Path, number: int, **changed: Any) -> None:
    lines = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
    lines[number] |= changed
    (folder / JOURNAL).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.parametrize(
    ("number", "changed", "why"),
    [
        (1, {"arguments": []}, "a call of log_figures is none"),
        (1, {"arguments": {"series": "s", "step": 1, "figures": {}, "time_s": 0, "more": 1}}, "other arguments"),
        (2, {"arguments": {"name": "x", "html": "../../../secret"}, "files": {"../../../secret": "0"}}, "lies outside"),
        (2, {"arguments": {"name": "x", "html": "/etc/hostname"}, "files": {}}, "without their digests"),
        (2, {"files": {"report.html": "0" * 64}}, "is not the file"),
        (0, {"method": "finish"}, "does not begin with a start"),
    ],
)
def test_a_journal_that_asks_for_more_is_not_believed(
    published: Path, number: int, changed: dict[str, Any], why: str
) -> None:
    edited(published, number, **changed)
    said: list[str] = []
    tell_trackers(bundle_with(OFFLINE), published, published.parents[1], said.append)
    assert len(said) == 1 and why in said[0] and "is not sent to wandb" in said[0]
    assert not (published / "tracking").exists()


def test_a_tracker_that_fails_is_told_with_the_way_to_send_later(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    away = {"wandb": {"base_url": "http://127.0.0.1:9", "init_s": 0.2, "wait_s": 0.5}}
    said: list[str] = []
    tell_trackers(bundle_with(away), published, published.parents[1], said.append)
    assert any("calls to wandb wait in" in line and "moola track sync" in line for line in said)
    tell_trackers(bundle_with({"wanbd": {}}), published, published.parents[1], said.append)
    assert "did you mean 'wandb'" in said[-1]


def test_nothing_happens_without_trackers(published: Path) -> None:
    said: list[str] = []
    for tracker in ({}, {"local": {}}):
        tell_trackers(bundle_with(tracker), published, published.parents[1], said.append)
    assert said == []


def test_a_finished_run_that_is_pulled_is_told_while_its_pod_stays_on(
    stand_in: ModuleType, tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    run = stand_in.stand_in_run(tmp_path, said)
    monkeypatch.setattr(run, "bundle", bundle_with({"wanbd": {}}))
    monkeypatch.setattr(running, "fetch_results", lambda run, record, pod: Published(published))
    monkeypatch.setattr(run, "stays_on", lambda record: "it stays on")
    pod: Any = SimpleNamespace(status=lambda: {"outcome": "finished"})
    assert run.pull(pod, pod).outcome == "finished"
    assert said[-1] == "it stays on" and "did you mean 'wandb'" in said[-2]


JOB = """
assert os.environ["MOOLA_TRACKERS"] == "journal"
start = {"run_id": rid, "experiment": "demo", "config": {"name": "demo"}, "group": None, "job": "run", "tags": []}
point = {"series": "pretrain/seed0", "step": 1, "figures": {"loss": 0.5}, "time_s": 1.7e9}
calls = [("start", start), ("log_figures", point), ("finish", {"status": "finished"})]
lines = [{"call": n, "time_s": 1.7e9, "method": m, "arguments": a} for n, (m, a) in enumerate(calls, start=1)]
write(run / "tracking.jsonl", "".join(json.dumps(line) + "\\n" for line in lines))
"""
"""What the stand-in of a run does besides: what trackers are to be told goes into the journal, as on any pod."""


@pytest.mark.slow
def test_a_run_on_a_pod_is_told_here_when_it_is_back(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stand_in._FILES, "moola/__main__.py", stand_in.JOB + JOB)
    plain = stand_in.stand_in_bundle

    def tracked(folder: Path) -> Bundle:
        bundle = plain(folder)
        config = json.dumps({"device": "auto", "tracker": OFFLINE})
        return Bundle.of(bundle.files, {**bundle.facts, "config": config}, None, bundle._places)

    monkeypatch.setattr(stand_in, "stand_in_bundle", tracked)
    said: list[str] = []
    ended = stand_in.stand_in_run(tmp_path, said).go()
    assert ended.outcome == "finished" and ended.pod_ended
    folder = ended.published.folder
    assert any(f"`moola wandb sync {folder.name}`" in line for line in said), said
    found = wandb_file.read(folder)
    assert [row["pretrain/seed0/loss"] for row in found.history if "pretrain/seed0/loss" in row] == [0.5]
    assert found.summary["pod/pods"] == 1 and "pod/cost_usd" in found.summary
    assert [call.method for call in read_calls(folder)][-3:] == ["start", "log_summary", "finish"]
