"""Real runs with ``tracker=wandb`` and neither key, network nor terminal; some are killed, or their W&B service is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb_file
from fake_wandb import KEY, FakeWandb

from moola.tracking.journal import read_calls
from moola.tracking.wandb_sync import send

pytestmark = pytest.mark.slow
PANELS = ("tables/leaderboard", "tables/oof", "tables/confusion", "tables/calibration", "tables/label_issues")
PANELS += ("pictures/reconstructions", "pictures/confusion", "pages/report")


@pytest.fixture
def start(tmp_path: Path, tiny: tuple[str, ...]) -> Callable[..., subprocess.Popen[str]]:
    """Starts a run in a folder of its own, with nothing of the user's around it."""
    (tmp_path / "home").mkdir()
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ
    }

    def begin(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "moola", "run", *tiny, "tracker=wandb", *words],
            cwd=tmp_path,
            env={**kept, "HOME": str(tmp_path / "home")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return begin


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[[], Path]:
    return lambda: next((path.parent for path in tmp_path.glob("artifacts/results/*/tracking.jsonl")), tmp_path)


def finished(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    return out


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < until and process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def points(folder: Path) -> list[tuple[str, int]]:
    calls = [call for call in read_calls(folder) if call.method == "log_figures"]
    return [(call.arguments["series"], call.arguments["step"]) for call in calls]


def trained(folder: Path) -> list[tuple[str, int]]:
    """Points of training; when the machine is looked at is no matter of the run."""
    return [point for point in points(folder) if point[0] != "system"]


def rows(history: list[dict[str, Any]]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for row in history:
        found += [(key.removesuffix("/step"), int(value)) for key, value in row.items() if key.endswith("/step")]
    return found


def services(process: subprocess.Popen[str]) -> Iterator[psutil.Process]:
    for child in psutil.Process(process.pid).children(recursive=True):
        if "wandb-core" in " ".join(child.cmdline()):
            yield child


def test_a_run_without_key_network_or_terminal(
    start: Callable[..., Any], run_folder: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished(start())
    folder = run_folder()
    assert len([line for line in out.splitlines() if "wandb" in line.casefold() and "waiting" not in line]) == 1, out
    found = wandb_file.read(folder)
    assert rows(found.history) == points(folder)
    keys = {key.removesuffix("/path") for row in found.history for key in row}
    assert keys >= set(PANELS)
    series = {name.split("/")[0] for name, _ in points(folder)}
    assert series >= {"pretrain", "probe"}
    assert {one.type for one in found.artifacts} >= {"encoder", "oof", "report", "labels"}
    assert any(name.endswith("/test/balanced_accuracy/low") for name in found.summary)
    assert not [path for path in (tmp_path / "home").rglob("*") if "wandb" in path.name], "nothing of the user's"
    fake = FakeWandb()
    try:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        sent = send(folder, {"base_url": fake.url})
        assert sent.left_out == () and send(folder, {"base_url": fake.url}).calls == 0
        there = fake.runs[folder.name]
        assert rows(there.history) == points(folder) and there.exit_code == 0
        assert {key for row in there.history for key in row} >= set(PANELS)
        kinds = {fake.artifacts[id_]["kind"] for id_ in there.logged}
        assert kinds >= {"encoder", "oof", "report", "labels"} and there.used
        assert fake.faults == []
    finally:
        fake.close()


def test_a_service_and_then_the_run_are_killed_and_the_same_run_goes_on(
    start: Callable[..., Any], run_folder: Callable[[], Path]
) -> None:
    more = ("trainer.pretrain.epochs=40", "trainer.pretrain.log_every_steps=1")
    first = start(*more)
    wait_until(lambda: len(trained(run_folder())) > 20 and any(services(first)), first)
    for service in list(services(first)):
        service.send_signal(signal.SIGKILL)
    log = run_folder() / "events.jsonl"
    wait_until(lambda: "the tracker 'wandb' cannot be told" in log.read_text(), first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    before = trained(run_folder())
    finished(start(*more))
    folder = run_folder()
    after = trained(folder)
    assert after[: len(before)] == before and len(set(after)) == len(after)
    steps = sorted(step for series, step in after if series == "pretrain/seed0")
    assert steps == list(range(1, steps[-1] + 1)), "none is lost"
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    found = wandb_file.read(folder)
    assert found.run.run_id == folder.name and rows(found.history) == points(folder)
