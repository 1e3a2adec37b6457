"""A run's trackers are told everything, and nothing of theirs ends it."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from moola.config import RunConfig, config_folder, from_omegaconf
from moola.errors import ConfigError
from moola.layout import write_json, write_text
from moola.pipelines.assembly import assemble
from moola.pipelines.events import EventLog, read_events
from moola.pipelines.system_figures import SystemMeter, gpu_figures, sampling
from moola.pipelines.tracked import tracked
from moola.pipelines.tracked_results import results_told
from moola.pipelines.tracker_feed import TrackerFeed, points
from moola.tracking.journal import JOURNAL, Journal, read_calls
from moola.tracking.tracker import TRACKERS, TrackedRun, Tracker


def composed(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return from_omegaconf(compose("config", list(overrides)))


class Deaf(Tracker):
    """Takes nothing."""

    def start(self, run: TrackedRun) -> None:
        raise ConnectionError("nobody there")


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """With a tracker that is away, and is not waited for."""
    from dataclasses import dataclass

    @dataclass
    class Away(Deaf):
        wait_s: float = 0.05

    monkeypatch.setitem(TRACKERS._registered, "away", Away)
    return composed("tracker=none", "+tracker.away.wait_s=0.05")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "results" / "tiny-0123456789ab"
    found.mkdir(parents=True)
    write_json(found / "manifest.json", {"seconds": 2.0, "attempts": 1})
    return found


def test_a_tracker_changes_no_run_and_no_stage() -> None:
    told = [composed(), composed("tracker=none"), composed("tracker=[mlflow,tensorboard]"), composed("tracker=mlflow")]
    assert [sorted(config.tracker) for config in told] == [["local"], ["local"], ["mlflow", "tensorboard"], ["mlflow"]]
    first, *others = (assemble(config).stages for config in told)
    assert all(stages == first for stages in others), "of which run ids and keys are made"


def test_a_wrong_section_is_told_with_everything_else() -> None:
    config = composed("+tracker.tensorbord.folder=x", "stage.skip=[prob]", "+tracker.local.systm=1")
    with pytest.raises(ConfigError) as caught:
        assemble(config)
    told = "\n".join(caught.value.problems)
    assert "did you mean 'tensorboard'?" in told and "tracker.local.systm" in told and "'prob'" in told


def test_points_of_events() -> None:
    def of(**event: Any) -> list[tuple[str, int, dict[str, float]]]:
        return list(points({"time": "", **event}, 61.4))

    steps = of(event="steps", stage="pretrain", seed=1, step=9, steps=3, epoch=2, loss=0.5, parts={"a": 0.25}, why="x")
    assert steps == [("pretrain/seed1", 9, {"loss": 0.5, "parts/a": 0.25})]
    assert of(event="epoch", stage="finetune", seed=0, member=0, epoch=3, loss=1) == [
        ("finetune/seed0/epochs", 3, {"loss": 1.0})
    ]
    assert (
        of(event="epoch", stage="finetune", seed=0, member=2, epoch=3, loss=1)[0][0] == "finetune/seed0/member2/epochs"
    )
    assert of(event="epoch", stage="probe", seed=0, epoch=3, linear_balanced_accuracy=0.5) == [], "its file tells it"
    assert of(event="system", cpu_percent=90.0) == [("system", 61, {"cpu_percent": 90.0})]
    assert of(event="progress", stage="oof", done=4, total=9, what="fit", seconds=0.5) == [("oof", 4, {"seconds": 0.5})]
    assert of(event="progress", stage="pretrain", done=4, total=9, what="", loss=0.5) == []
    assert of(event="stage_started", stage="oof", number=1, total=2) == []


def test_steps_of_the_machine_leave_pauses_out_and_never_go_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr("moola.pipelines.tracker_feed.time", clock)
    run = TrackedRun(folder.name, "tiny", folder, {}, None, "run")
    for _ in range(2):
        journal, events = Journal(folder), EventLog(folder / "events.jsonl")
        TrackerFeed(journal, run, events).begin()
        for _ in range(2):
            now[0] += 10
            events.emit("system", cpu_percent=50.0)
        journal.close()
        now[0] += 3600
    steps = [call.arguments["step"] for call in read_calls(folder) if call.method == "log_figures"]
    assert steps == [10, 20, 30, 40]


def test_a_run_goes_on_without_its_tracker_and_says_how_the_rest_is_sent(config: RunConfig, folder: Path) -> None:
    events = EventLog(folder / "events.jsonl")
    begun = time.monotonic()
    with tracked(config, folder.name, folder, None, events):
        events.emit("steps", stage="pretrain", seed=0, step=1, loss=0.5)
    assert time.monotonic() - begun < 5
    found = read_events(folder / "events.jsonl")
    assert Counter(event["event"] for event in found)["tracker_failed"] == 1
    [left] = [event for event in found if event["event"] == "tracker_left"]
    assert left["calls"] == 4 and f"moola track sync {folder} --tracker away" in left["message"]
    assert [call.method for call in read_calls(folder)] == ["start", "log_figures", "log_summary", "finish"]


def test_a_run_that_fails_or_is_interrupted_is_told_so(config: RunConfig, folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("MOOLA_TRACKERS", "journal")
    monkeypatch.setenv("MOOLA_SWEEP", "grid-1")
    for error, status in ((ValueError, "failed"), (KeyboardInterrupt, "interrupted")):
        with pytest.raises(error), tracked(config, folder.name, folder, "oof", EventLog()):
            raise error
        *_, last = read_calls(folder)
        assert last.arguments == {"status": status}
    start = next(read_calls(folder))
    assert start.arguments["group"] == "grid-1" and start.arguments["job"] == "oof"
    assert not (folder / "tracking").exists(), "with MOOLA_TRACKERS=journal nobody is told"


def test_a_full_disk_ends_the_tracking_alone_and_is_said_once(config: RunConfig, folder: Path) -> None:
    told: list[str] = []
    events = EventLog()  # whose own file would be refused, too
    events.listen(lambda event: told.append(event["event"]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        with tracked(config, folder.name, folder, None, events):
            for step in range(200):
                events.emit("steps", stage="pretrain", seed=0, step=step, loss=0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / JOURNAL).stat().st_size == 6000
    assert Counter(told)["tracker_failed"] <= 2, "once for the disk, once for the tracker that is away"
    assert Counter(told)["steps"] == 200


def test_figures_of_the_machine_are_of_this_process_and_its_children(tmp_path: Path) -> None:
    meter = SystemMeter(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(64_000_000)\nprint(flush=True)\nwhile True: pass"], stdout=-1
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        before = time.monotonic()
        while time.monotonic() - before < 0.3:
            pass
        found = meter.read()
    finally:
        child.kill()
        child.communicate()
    own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    assert found["memory_mb"] > own + 60
    assert found["cpu_percent"] > 1
    assert found["disk_free_gb"] > 0


def test_figures_of_gpus_are_those_of_the_driver() -> None:
    class Driver:
        """Stands in for NVML: a GPU in use, and one that tells nothing."""

        def nvmlDeviceGetCount_v2(self, count: Any) -> int:
            count._obj.value = 2
            return 0

        def nvmlDeviceGetHandleByIndex_v2(self, number: int, device: Any) -> int:
            device._obj.value = number + 1
            return 0

        def nvmlDeviceGetUtilizationRates(self, device: ctypes.c_void_p, used: Any) -> int:
            used._obj.gpu = 87
            return 0 if device.value == 1 else 3

        def nvmlDeviceGetMemoryInfo(self, device: ctypes.c_void_p, memory: Any) -> int:
            memory._obj.used = 2_500_000_000
            return 0 if device.value == 1 else 3

    assert gpu_figures(Driver()) == {"gpu0_percent": 87.0, "gpu0_memory_mb": 2500.0}
    assert gpu_figures(None) == {}


def test_the_sampler_speaks_as_often_as_it_is_asked_and_at_the_end(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    events = EventLog()
    events.listen(told.append)
    with sampling(events, tmp_path, 0.05):
        time.sleep(0.2)
    assert 2 <= len(told) <= 6 and {event["event"] for event in told} == {"system"}
    told.clear()
    with sampling(events, tmp_path, None):
        pass
    assert told == []


def test_published_files_become_tables_pictures_pages_and_artifacts(tmp_path: Path) -> None:
    files = {
        "leaderboard.csv": "model,n,value\na,3,0.5\nb,,x\n007,-1,1e-05\n1_0,0,nan\n",
        "metrics.json": json.dumps(
            [{"model": "a", "split": "test", "metric": "f1", "value": 0.5, "low": 0.1, "high": None}]
        ),
        "per_class.json": json.dumps(
            {"classes": ["up", "down"], "splits": {"oof": {"a": {"confusion": [[3, 1], [0, 2]]}}}}
        ),
        "pictures/loss.svg": "<svg/>",
        "report.html": "<p>",
        "tables/costs.csv": "model,seconds\na,1.5\n",
    }
    for name, content in files.items():
        write_text(tmp_path / name, content)
    artifact: Any = SimpleNamespace(
        digest="d" * 64,
        manifest={"files": dict.fromkeys(files, ""), "inputs": {"bars": "b"}, "seconds": 1.0},
        path=lambda name: tmp_path / name,
    )
    stage: Any = SimpleNamespace(name="report", publishes=tuple(files), publishes_some=("pictures/*", "tables/*"))
    run = TrackedRun("tiny-1", "tiny", tmp_path, {})
    told = list(results_told(stage, artifact, run))
    tables = {arguments["name"]: arguments["rows"] for method, arguments in told if method == "log_table"}
    assert tables["leaderboard"] == [["a", 3, 0.5], ["b", None, "x"], ["007", -1, 1e-05], ["1_0", 0, None]]
    assert tables["costs"] == [["a", 1.5]]
    assert ["oof", "a", "up", "down", 1] in tables["confusion"]
    others = {method: arguments for method, arguments in told if method != "log_table"}
    assert others["log_summary"]["figures"] == {"a/test/f1": 0.5, "a/test/f1/low": 0.1, "a/test/f1/high": None}
    assert others["log_picture"] == {"name": "pictures/loss", "svg": tmp_path / "pictures/loss.svg", "caption": "loss"}
    assert others["log_page"] == {"name": "report", "html": tmp_path / "report.html"}
    kept = others["log_artifact"]["artifact"]
    assert (kept.name, kept.kind, kept.files) == ("report-tiny", "report", (tmp_path / "report.html",))
    assert kept.made_from == {"bars": "b"} and kept.facts == {"run": "tiny-1", "seconds": 1.0}
