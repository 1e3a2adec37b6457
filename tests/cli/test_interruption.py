"""kill -9, Ctrl-C and SIGTERM anywhere: the same command goes on, and the figures are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from moola.pipelines.events import read_events

STAGES = [
    *("ingest", "windows", "splits", "pretrain", "probe", "sentinels"),
    *("oof", "stack", "label_efficiency", "label_issues", "evaluate", "report"),
]
LONG = ("trainer.pretrain.epochs=12",)


def run_folder(folder: Path) -> Path:
    (found,) = folder.glob("artifacts/results/*")
    return found


def metrics(folder: Path) -> bytes:
    return (run_folder(folder) / "metrics.json").read_bytes()


def attempts(folder: Path) -> list[list[dict]]:
    """The events of each attempt."""
    found: list[list[dict]] = []
    for event in read_events(run_folder(folder) / "events.jsonl"):
        if event["event"] == "run_started":
            found.append([])
        found[-1].append(event)
    return found


def stages_of(events: list[dict], kind: str) -> list[str]:
    return [event["stage"] for event in events if event["event"] == kind]


def epochs_of(events: list[dict]) -> list[int]:
    return [event["done"] for event in events if event["event"] == "progress" and event["stage"] == "pretrain"]


def assert_nothing_left(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.name.endswith((".part", ".building"))]


@pytest.mark.slow
def test_kill_9_after_every_stage_and_the_same_command_goes_one_stage_further_each_time(
    make_moola, extension, tmp_path, finished, tiny
):
    moola = make_moola(tmp_path, [extension])
    words = ["run", *tiny, "+stage.hooks.kill_after_building.priority=1"]
    for number in range(len(STAGES)):
        assert moola(*words).code == -signal.SIGKILL
        manifest = json.loads((run_folder(tmp_path) / "manifest.json").read_text())
        assert manifest["status"] == "running"
        assert manifest["attempts"] == number + 1
    done = moola(*words)
    assert done.code == 0, done.err
    for number, events in enumerate(attempts(tmp_path)):
        assert stages_of(events, "stage_reused") == STAGES[:number]
        assert stages_of(events, "stage_finished") == STAGES[number : number + 1]
    assert metrics(tmp_path) == (finished.run_folder / "metrics.json").read_bytes()
    assert_nothing_left(tmp_path)


@pytest.fixture(scope="session")
def long_metrics(make_moola, tiny) -> bytes:
    """What an undisturbed run with long pretraining comes to."""
    return (make_moola()("run", *tiny, *LONG).run_folder / "metrics.json").read_bytes()


def test_kill_9_inside_pretraining_and_it_goes_on_from_the_next_epoch(moola, wait_for_event, tiny, long_metrics):
    words = ["run", *tiny, *LONG]
    killed = moola.start(*words)
    wait_for_event(killed, event="progress", stage="pretrain", done=3)
    killed.process.kill()
    assert killed.wait().code == -signal.SIGKILL
    done = moola(*words)
    assert done.code == 0, done.err
    first, second = attempts(moola.folder)
    last, resumed = epochs_of(first)[-1], epochs_of(second)
    assert epochs_of(first) == list(range(1, last + 1))
    assert last >= 3
    assert resumed == list(range(resumed[0], 13))
    assert last <= resumed[0] <= last + 1  # the state of an epoch is saved just after the epoch is told
    assert stages_of(second, "stage_reused") == STAGES[:3]
    assert metrics(moola.folder) == long_metrics
    assert_nothing_left(moola.folder)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupting_pretraining_and_predictions_keeps_what_is_done_and_says_so(
    moola, wait_for_event, tiny, long_metrics, number
):
    words = ["run", *tiny, *LONG]
    for attempt, (stage, done) in enumerate([("pretrain", 2), ("oof", 2)], start=1):
        command = moola.start(*words)
        wait_for_event(command, event="progress", stage=stage, done=done)
        os.kill(command.process.pid, number)
        command.wait()
        assert command.code == 130, command.err
        assert "interrupted: everything finished is kept, the same command goes on from there" in command.err
        assert "Traceback" not in command.err
        manifest = json.loads((run_folder(moola.folder) / "manifest.json").read_text())
        assert (manifest["status"], manifest["error"]) == ("interrupted", "Ctrl-C or a signal")
        assert manifest["attempts"] == attempt
        assert manifest["finished"]
        assert attempts(moola.folder)[-1][-1]["event"] == "run_interrupted"
        assert stages_of(attempts(moola.folder)[-1], "stage_failed") == [stage]
    units = {path: path.stat().st_mtime_ns for path in moola.folder.glob("artifacts/oof/units/*.safetensors")}
    assert len(units) >= 2
    assert moola(*words).code == 0
    assert units.items() <= {path: path.stat().st_mtime_ns for path in next(iter(units)).parent.iterdir()}.items()
    assert json.loads((run_folder(moola.folder) / "manifest.json").read_text())["status"] == "finished"
    second, third = attempts(moola.folder)[1:]
    assert epochs_of(second)[0] > 1
    assert stages_of(third, "stage_reused") == STAGES[:6]
    assert metrics(moola.folder) == long_metrics
    assert_nothing_left(moola.folder)
