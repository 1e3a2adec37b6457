"""A run on a pod and back, with a stand-in for training: what comes back, and what is left when things go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from moola.errors import StorageError
from moola.layout import read_json
from moola.pipelines.rented import read_rented
from moola.pods.attaching import PodLostError
from moola.pods.checkpoints import checkpoint_files
from moola.pods.guards import Observed
from moola.pods.provider import PodTakenError

HERE = Path(__file__).parent
RUN = "demo-0123456789ab"


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or [])
    ]
    for process in left:
        process.kill()
    assert [process.info["cmdline"] for process in left if process.pid != os.getpid()] == []


def results(top: Path) -> dict[str, Any]:
    return read_json(top / "artifacts" / "results" / "demo-ffffffffffff" / "metrics.json")


def test_a_run_goes_to_a_pod_and_its_results_come_back(stand_in: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    run = stand_in.stand_in_run(tmp_path, said)
    show, on_pod = run.show, set[bool]()

    def watch(record: dict[str, Any]) -> None:
        show(record)
        on_pod.update(read_rented(path.parent).under_way for path in tmp_path.glob(f"**/results/{RUN}/pod.json"))

    run.show = watch
    ended = run.go()
    assert ended.outcome == "finished" and ended.pod_ended
    assert on_pod == {True}, "the report is made there, and tells what was spent until then"
    assert results(tmp_path) == {"accuracy": 0.75}
    manifest = read_json(ended.published.folder / "manifest.json")
    stage = tmp_path / "artifacts" / "oof" / "supervised" / stand_in.STAGE
    assert manifest["stages"][0]["folder"] == str(stage) and (stage / "oof.parquet").read_text() == "predictions"
    rented = read_rented(ended.published.folder)
    assert (rented.bundle, rented.pods, rented.under_way) == (run.bundle.bundle_id, 1, False)
    assert rented.seconds == run.ledger.pods(RUN)[0].seconds  # to its end, which came after the results
    lines = [line for line in said if line.startswith("job: ")]
    assert lines == ["job: begins after step 0", "job: step 1", "job: step 2", "job: step 3", "job: finished"]
    assert run.ledger.pods(RUN, open_only=True) == []
    assert list((tmp_path / "artifacts" / "runpod_results" / "local_pods").glob("[!.]*")) == []
    assert {"pod", "push", "start", "job", "step environment", "step job", "pull", "end"} <= set(ended.seconds)


@pytest.mark.slow
def test_a_job_that_fails_publishes_nothing_and_goes_on_when_it_is_repeated(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    ended = stand_in.stand_in_run(tmp_path, []).go()
    assert (ended.outcome, ended.exit_code, ended.published) == ("failed", 3, None)
    assert not (tmp_path / "artifacts" / "results").exists()
    assert ended.pod_ended
    monkeypatch.delenv("STAND_IN_FAILS")
    said: list[str] = []
    assert stand_in.stand_in_run(tmp_path, said).go().outcome == "finished"
    assert "job: begins after step 3" in said


@pytest.mark.slow
def test_a_pod_that_stays_on_takes_the_next_attempt(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    ended = stand_in.stand_in_run(tmp_path, [], keep=True).go()
    assert ended.outcome == "failed" and not ended.pod_ended
    [pod] = stand_in.ledger_of(tmp_path).pods(RUN, open_only=True)
    said: list[str] = []
    monkeypatch.delenv("STAND_IN_FAILS")
    run = stand_in.stand_in_run(tmp_path, said, keep=True)
    run.settings.env["STAND_IN_AGAIN"] = "1"
    assert run.go().outcome == "finished"
    assert [one.pod_id for one in run.ledger.pods(RUN)] == [pod.pod_id]
    assert not any(line.startswith("sent") for line in said)
    run.provider.end(pod.pod_id)


def test_a_run_that_was_left_is_attached_to_at_the_next_line(stand_in: ModuleType, tmp_path: Path) -> None:
    env = {"STAND_IN_STEPS": "8", "STAND_IN_PAUSE_S": "0.1"}
    assert stand_in.stand_in_run(tmp_path, [], env=env).go(detach=True).outcome == "detached"
    said: list[str] = []
    ended = stand_in.stand_in_run(tmp_path, said, env=env).go()
    assert ended.outcome == "finished"
    assert [line for line in said if "job: step" in line] == [f"job: step {number}" for number in range(1, 9)]
    assert any("already" in line for line in said)


def test_two_clients_cannot_work_on_one_run(stand_in: ModuleType, tmp_path: Path) -> None:
    run = stand_in.stand_in_run(tmp_path, [])
    with run.ledger.lease(RUN), pytest.raises(PodTakenError):
        stand_in.ledger_of(tmp_path).lease(RUN)


def test_a_pod_that_dies_is_followed_by_another_from_the_last_checkpoint(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moola.pods.attaching.POLL_S", 0.2)
    env = {"STAND_IN_STEPS": "200", "STAND_IN_PAUSE_S": "0.2"}
    said: list[str] = []
    run = stand_in.stand_in_run(tmp_path, said, env=env, retries=1, checkpoint_every_min=0.001)
    show = run.show
    killed: list[str] = []

    def watch(record: dict[str, Any]) -> None:
        show(record)
        if killed and record["text"].startswith("begins"):
            [project] = (tmp_path / "artifacts/runpod_results/local_pods").glob("*/runs/*/project")
            (project / "quick").touch()
        here = checkpoint_files(run.folder / "checkpoint")
        if record["text"].startswith("step") and not killed and any(path.endswith("state.json") for path in here):
            [pod] = run.ledger.pods(RUN, open_only=True)
            killed.append(pod.pod_id)
            run.provider.end(pod.pod_id)

    run.show = watch
    assert run.go().outcome == "finished"
    assert len(run.ledger.pods(RUN)) == 2 and run.ledger.pods(RUN, open_only=True) == []
    begins = [line for line in said if "begins after" in line]
    assert len(begins) == 2 and int(begins[1].split()[-1]) >= 1, begins
    assert [event["kind"] for event in run.ledger.events(RUN)] == ["started", "lost", "started"]


def test_a_pod_that_its_own_guard_ended_meanwhile_is_followed_by_no_other(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moola.pods.attaching.POLL_S", 0.2)
    run = stand_in.stand_in_run(tmp_path, [], env={"STAND_IN_PAUSE_S": "5"}, retries=1)

    def sleep_past_the_deadline(record: dict[str, Any]) -> None:
        if record["text"].startswith("begins"):
            monkeypatch.setattr(run, "observed", lambda: Observed(13 * 3600.0))
            run.provider.end(run.ledger.pods(RUN, open_only=True)[0].pod_id)

    run.show = sleep_past_the_deadline
    ended = run.go()
    assert (ended.outcome, ended.pod_ended) == ("deadline", True) and "hours are over" in ended.why
    assert len(run.ledger.pods(RUN)) == 1 and run.ledger.pods(RUN, open_only=True) == []


@pytest.mark.slow
def test_a_pod_that_dies_too_often_is_told(stand_in: ModuleType, tmp_path: Path) -> None:
    run = stand_in.stand_in_run(tmp_path, [], env={"STAND_IN_PAUSE_S": "5"})

    def kill(record: dict[str, Any]) -> None:
        if record["text"].startswith("begins"):
            run.provider.end(run.ledger.pods(RUN, open_only=True)[0].pod_id)

    run.show = kill
    with pytest.raises(PodLostError):
        run.go()
    assert run.ledger.pods(RUN, open_only=True) == []
    assert not (tmp_path / "artifacts" / "results").exists()


def test_results_that_are_not_what_the_run_wrote_are_never_published(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    run = stand_in.stand_in_run(tmp_path, said)
    show = run.show

    def spoil(record: dict[str, Any]) -> None:
        show(record)
        if record["text"] == "the job is finished":
            [project] = (tmp_path / "artifacts/runpod_results/local_pods").glob("*/runs/*/project")
            (project / "artifacts/oof/supervised" / stand_in.STAGE / "oof.parquet").write_text("other")

    run.show = spoil
    with pytest.raises(StorageError, match="not what the run wrote"):
        run.go()
    assert not (tmp_path / "artifacts" / "results").exists()
    [pod] = run.ledger.pods(RUN, open_only=True)
    run.provider.end(pod.pod_id)


PLACES = (
    "before acquire",
    "before push",
    "after push",
    "before supervise",
    "after supervise",
    "before follow",
    "line step 2",
    "before pull",
    "mid pull",
    "after pull",
    "before publish",
    "mid publish",
    "after publish",
    "before end",
    "after end",
)
"""Where a client is killed, in the order in which it gets there."""


@pytest.mark.parametrize(
    "place",
    [pytest.param(place, marks=[] if place == "mid pull" else pytest.mark.slow) for place in PLACES],
)
def test_a_client_killed_anywhere_is_followed_by_one_that_goes_on(
    stand_in: ModuleType, tmp_path: Path, place: str
) -> None:
    client = [sys.executable, str(HERE / "killed_client.py"), str(tmp_path), place]
    done = subprocess.run(client, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    said: list[str] = []
    ended = stand_in.stand_in_run(tmp_path, said).go()
    assert ended.outcome == "finished", said
    assert results(tmp_path) == {"accuracy": 0.75}
    ledger = stand_in.ledger_of(tmp_path)
    assert ledger.pods(RUN, open_only=True) == []
    assert len(ledger.pods(RUN)) == 1
    assert list((tmp_path / "artifacts" / "runpod_results" / "local_pods").glob("[!.]*")) == []
    logs = list((tmp_path / "artifacts" / "runpod_results" / RUN / "logs").iterdir())
    numbers = [json.loads(line)["n"] for line in logs[0].read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)), "no line is lost and none is there twice"
