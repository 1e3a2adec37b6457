"""Whole runs whose pod dies, fills up or is unguarded for a while: what is kept of them, and what goes on from it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from until import wait_for

from moola.layout import read_json
from moola.pods import starting, watchdog
from moola.pods.runpod_provider import RunpodProvider

HERE = Path(__file__).parent
RUN = "demo-0123456789ab"
LONG = {"STAND_IN_STEPS": "400", "STAND_IN_PAUSE_S": "0.1"}
pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path, str], Path]]:
    """Mounts disks of so many bytes; what works on them is killed in the end."""
    mounted: list[Path] = []

    def mount(place: Path, size: str) -> Path:
        place.mkdir(parents=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
        if os.geteuid() or subprocess.run(words, capture_output=True).returncode:
            pytest.skip("only an administrator can mount a small disk")
        mounted.append(place)
        return place

    yield mount
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and str(tmp_path) in " ".join(process.info["cmdline"] or []):
            process.kill()
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def steps_kept(mount: Path) -> int:
    """Of the stand-in for training, in the state on a volume."""
    home = mount / "moola" / RUN
    if not (home / "state.json").exists():
        return 0
    files = json.loads((home / "state.json").read_text())["files"]
    state = next((entry for path, entry in files.items() if path.endswith("resume/state.json")), None)
    return json.loads((home / "objects" / state["sha256"]).read_text())["done"] if state else 0


def begins(said: list[str]) -> list[int]:
    return [int(line.split()[-1]) for line in said if "begins after step" in line]


def test_a_run_goes_on_from_what_a_folder_of_the_host_kept(stand_in: ModuleType, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    wish = {"mount": str(mount), "checkpoint_every_min": 0.005}
    first = stand_in.stand_in_run(tmp_path / "here", [], env=LONG, **wish)
    assert first.go(detach=True).outcome == "detached"
    wait_for(lambda: steps_kept(mount) >= 3)
    [pod] = first.ledger.pods(RUN, open_only=True)
    first.provider.end(pod.pod_id)
    kept = steps_kept(mount)
    said: list[str] = []
    again = stand_in.stand_in_run(tmp_path / "here", said, env={**LONG, "STAND_IN_STEPS": str(kept + 2)}, **wish)
    assert again.go().outcome == "finished"
    assert begins(said) == [kept], said
    assert any(line.startswith("volume: ") and "every byte verified" in line for line in said)
    assert any("kept in " in line for line in said)
    [report] = [read_json(path) for path in (again.folder / "pods").glob("*.json")]
    assert report["status"]["kept"]["folder"] == f"{mount}/moola/{RUN}" and report["status"]["kept"]["error"] == ""


def test_a_newer_state_here_is_not_replaced_by_the_one_on_the_volume(stand_in: ModuleType, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    wish = {"mount": str(mount), "checkpoint_every_min": 60}
    first = stand_in.stand_in_run(tmp_path / "here", [], env=LONG, **wish)
    first.go(detach=True)
    record, pod = first.found()
    wait_for(lambda: (mount / "moola" / RUN / "state.json").exists())
    time.sleep(6.0)  # the age of a state is told every five seconds
    first.pull(record, pod)
    first.provider.end(record.pod_id)
    said: list[str] = []
    again = stand_in.stand_in_run(tmp_path / "here", said, env={**LONG, "STAND_IN_STEPS": "1"}, **wish)
    assert again.go().outcome == "finished"
    assert begins(said)[0] >= 10 and any("is not newer" in line for line in said)


def test_a_volume_that_is_not_there_is_told_before_anything_runs(stand_in: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    ended = stand_in.stand_in_run(tmp_path / "here", said, mount=str(tmp_path / "none")).go()
    assert (ended.outcome, ended.pod_ended) == ("failed", True) and "step volume" in ended.why
    assert any("no volume is mounted at" in line for line in said) and not begins(said)


def test_a_disk_that_fills_up_under_the_training_is_told_and_nothing_looks_finished(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[Path, str], Path]
) -> None:
    fills = stand_in.JOB.replace('json.dumps({"done": step})', 'json.dumps({"done": step, "x": "x" * 300_000 * step})')
    assert fills != stand_in.JOB
    monkeypatch.setitem(stand_in._FILES, "moola/__main__.py", fills)
    here = tmp_path / "here"
    pods = small_disk(here / "artifacts" / "runpod_results" / "local_pods", "6m")
    said: list[str] = []
    run = stand_in.stand_in_run(here, said, env={"STAND_IN_STEPS": "40", "STAND_IN_PAUSE_S": "0.01"})
    ended = run.go()
    assert (ended.outcome, ended.published, ended.pod_ended) == ("failed", None, True)
    assert "its disk is full" in ended.why and "pod.disk_gb" in ended.why
    assert any("No space left on device" in line for line in said)
    assert not (here / "artifacts" / "results").exists() and list(pods.iterdir()) == []
    assert run.ledger.pods(RUN, open_only=True) == []
    [state] = (run.folder / "checkpoint" / "files").rglob("state.json")
    done = json.loads(state.read_text())["done"]
    subprocess.run(["mount", "-o", "remount,size=60m", str(pods)], check=True)
    again: list[str] = []
    larger = stand_in.stand_in_run(here, again, env={"STAND_IN_STEPS": str(done + 1)})
    assert larger.go().outcome == "finished" and begins(again) == [done] and done >= 2


def test_a_rented_pod_that_vanishes_leaves_its_state_on_the_volume(
    stand_in: ModuleType,
    account: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_disk: Callable[[Path, str], Path],
) -> None:
    volume = small_disk(tmp_path / "workspace", "50m")
    monkeypatch.setattr("moola.pods.settings.VOLUME_PATH", str(volume))
    roots = iter(("pod0", "pod1"))
    monkeypatch.setattr(RunpodProvider, "root", str(tmp_path / next(roots)))
    wish = {"provider": "runpod", "network_volume": "vol1", "checkpoint_every_min": 0.005}
    guarded: list[bool] = []
    push = starting.push

    def watched(*arguments: Any, **more: Any) -> Any:
        guarded.append(bool(watchdogs(tmp_path)))
        return push(*arguments, **more)

    monkeypatch.setattr(starting, "push", watched)
    monkeypatch.setattr("moola.pods.session.SILENCE_S", 8.0)
    first = stand_in.stand_in_run(tmp_path / "here", [], env=LONG, **wish)
    first.go(detach=True)
    assert guarded == [True], "somebody watches over the pod before its supervisor does"
    wait_for(lambda: steps_kept(volume) >= 3)
    assert watchdogs(tmp_path), "it stays beside the supervisor"
    [pod] = account.pods.values()
    assert pod.body["dataCenterIds"] == [account.volumes["vol1"]]
    pod.ended_at = account.clock.now()
    pod.sshd.close()
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path / "pod0") in " ".join(process.info["cmdline"] or []):
            process.kill()
    kept = steps_kept(volume)
    monkeypatch.setattr(RunpodProvider, "root", str(tmp_path / next(roots)))
    said: list[str] = []
    env = {**LONG, "STAND_IN_STEPS": str(kept + 2)}
    again = stand_in.stand_in_run(tmp_path / "here", said, env=env, **wish)
    assert again.go().outcome == "finished"
    assert begins(said) == [kept] and account.billing() == []


def watchdogs(folder: Path) -> list[int]:
    """Processes that watch over a pod below a folder."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if (words := process.info["cmdline"])
        and watchdog._PROGRAM in words
        and any(str(folder) in word for word in words)
    ]
