"""Trackers of real runs: a real MLflow server that is killed, runs that are killed, and a server that never answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from moola.pipelines.events import read_events
from moola.pipelines.tracker_feed import points
from moola.tracking.journal import read_calls

LONG = ("trainer.pretrain.epochs=12", "trainer.pretrain.log_every_steps=2")
Points = Counter[tuple[str, int]]
"""Series with the name of a figure, and step."""


class MLflowServer:
    """A real server on loopback over a SQLite file, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._process = folder, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self._process is not None:
            return
        words = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        words += ["--artifacts-destination", str(self.folder / "files")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words], env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        pytest.fail((self.folder / "server.log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def points(self, run_id: str) -> Points:
        """Of every metric of the one run with this id, as the server tells them."""
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        [run] = client.search_runs(ids, f"tags.`moola.run_id` = '{run_id}'")
        assert run.info.status == "FINISHED"
        histories = (client.get_metric_history(run.info.run_id, name) for name in run.data.metrics)
        return Counter((metric.key, metric.step) for history in histories for metric in history)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[MLflowServer]:
    server = MLflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.kill()


@pytest.fixture
def deaf_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def run_folder(folder: Path) -> Path:
    (found,) = folder.glob("artifacts/results/*")
    return found


def journaled(folder: Path) -> Points:
    calls = [call.arguments for call in read_calls(folder) if call.method == "log_figures"]
    return Counter((f"{call['series']}/{name}", call["step"]) for call in calls for name in call["figures"])


def in_events(folder: Path) -> set[tuple[str, int]]:
    """Points of pretraining that the log holds; one that goes on after a crash repeats some."""
    found = (point for event in read_events(folder / "events.jsonl") for point in points(event, 0.0))
    return {(f"{series}/{name}", step) for series, step, figures in found if series != "system" for name in figures}


def of_curves(found: Points) -> Points:
    return Counter(
        {place: count for place, count in found.items() if place[0].split("/")[0] in ("pretrain", "oof", "probe")}
    )


def in_tensorboard(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    [logs] = folder.glob("artifacts/logs/tensorboard/*")
    return Counter(
        (value.tag, event.step)
        for path in sorted(logs.glob("*tfevents*"))
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.HasField("simple_value") and not value.tag.startswith("summary/")
    )


def events(folder: Path, *names: str) -> list[dict]:
    return [event for event in read_events(run_folder(folder) / "events.jsonl") if event["event"] in names]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, for MLflow
def test_run_and_server_are_killed_and_no_point_is_lost_or_doubled(server, moola, wait_for_event, tiny):
    server.start()
    words = ["run", *tiny, *LONG, "tracker=[mlflow,tensorboard]", f"tracker.mlflow.uri={server.uri}"]
    words += ["tracker.mlflow.wait_s=1", "tracker.tensorboard.wait_s=60"]
    killed = moola.start(*words)
    wait_for_event(killed, event="progress", stage="pretrain", done=4)
    server.kill()
    killed.process.kill()
    assert killed.wait().code == -signal.SIGKILL
    done = moola(*words)
    folder = done.run_folder
    wanted = journaled(folder)
    assert set(wanted.values()) == {1} and in_events(folder) <= set(wanted)
    steps = sorted({step for name, step in wanted if name == "pretrain/seed0/loss"})
    assert steps == sorted(epoch + step for epoch in range(0, 60, 5) for step in (2, 4, 5)), "every two, and each epoch"
    assert in_tensorboard(moola.folder) == wanted
    assert f"moola track sync {folder} --tracker mlflow" in done.err
    assert events(moola.folder, "tracker_left")[0]["calls"] > 30
    refused = moola("track", "sync")
    assert refused.code == 5 and "cannot be told" in refused.err
    server.start()
    sent = moola("track", "sync", "--tracker", "mlflow")
    assert sent.code == 0 and f"{folder.name}  mlflow: " in sent.out and "calls sent" in sent.out
    assert "nothing was left to send" in moola("track", "sync", folder.name).out
    assert of_curves(server.points(folder.name)) == of_curves(wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, for MLflow
def test_a_server_that_is_killed_and_comes_back_misses_nothing(server, moola, wait_for_event, tiny):
    server.start()
    words = ["run", *tiny, *LONG, "trainer.pretrain.epochs=10", "tracker=[mlflow,local]"]
    under_way = moola.start(*words, f"tracker.mlflow.uri={server.uri}", "tracker.mlflow.wait_s=100")
    wait_for_event(under_way, event="progress", stage="pretrain", done=3)
    server.kill()
    failed = wait_for_event(under_way, event="tracker_failed")
    assert failed["tracker"] == "mlflow" and "moola track sync" in failed["way_out"]
    server.start()
    folder = under_way.wait().run_folder
    assert [event["event"] for event in events(moola.folder, "tracker_failed", "tracker_back")] == [
        "tracker_failed",
        "tracker_back",
    ]
    assert of_curves(server.points(folder.name)) == of_curves(journaled(folder))
    assert "is told again" in under_way.err


@pytest.mark.slow
def test_a_server_that_never_answers_holds_nobody(deaf_server, moola, finished, tiny):
    begun = time.monotonic()
    done = moola("run", *tiny, "tracker=mlflow", f"tracker.mlflow.uri={deaf_server}", "tracker.mlflow.wait_s=2")
    assert done.code == 0 and "calls to mlflow wait in" in done.err
    seconds = json.loads((done.run_folder / "manifest.json").read_text())["seconds"]
    assert time.monotonic() - begun < seconds + 15
    assert (done.run_folder / "metrics.json").read_bytes() == (finished.run_folder / "metrics.json").read_bytes()
    assert done.run_folder.name == finished.run_folder.name, "a tracker changes no run id"
