"""A pod whose client, and then whose supervisor, falls silent for good."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from until import wait_for

from moola.pods import watchdog
from moola.pods.pod_end import PodEnd
from moola.pods.run_files import read_object
from moola.pods.step_process import start_ticks
from moola.pods.watchdog import MOST_STARTS, watch, watchdog_argv


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the lender was asked for."""
    methods: list[str] = []
    monkeypatch.setattr(PodEnd, "_ask", lambda self, method, body=None: (methods.append(method), (204, {}))[1])
    return methods


class Pod:
    """A pod root, and a clock that goes on while nothing happens."""

    def __init__(self, root: Path) -> None:
        self.root, self.at = root, 0.0
        (root / "objects" / "partial").mkdir(parents=True)

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        assert self.at < 1e6, "it goes on and on"

    def guard(self) -> str:
        wish = {"root": str(self.root), "run": "demo", "attempt": 2, "silence_s": 900.0, "end": {"kind": "runpod"}}
        return watch(wish, monotonic=lambda: self.at, sleep=self.sleep)

    def say(self, **status: Any) -> None:
        """What a supervisor does every few seconds."""
        path = self.root / "runs" / "demo" / "status.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(status))
        os.utime(path, (self.at, self.at))


def test_a_pod_whose_client_fell_silent_is_ended(tmp_path: Path, asked: list[str]) -> None:
    pod = Pod(tmp_path)
    assert pod.guard() == "ended" and asked == ["DELETE"]
    assert 900 <= pod.at < 930


def test_bytes_that_arrive_put_it_off(tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod(tmp_path)
    part = tmp_path / "objects" / "partial" / "x.part"

    def sleep(seconds: float) -> None:
        pod.at += seconds
        if pod.at < 7200:
            with part.open("ab") as handle:
                handle.write(b"x")

    monkeypatch.setattr(pod, "sleep", sleep)
    assert pod.guard() == "ended"
    assert 7200 + 880 <= pod.at < 7200 + 930


def test_it_leaves_when_its_supervisor_or_a_later_one_has_done_all_and_not_after_an_earlier_one(
    tmp_path: Path, asked: list[str]
) -> None:
    pod = Pod(tmp_path)
    for status in ({"attempt": 2, "phase": "over"}, {"attempt": 3, "phase": "running"}):
        pod.say(**status)
        assert pod.guard() == "over" and asked == [] and pod.at == 0
    pod.say(attempt=1, phase="over")
    assert pod.guard() == "ended"
    (tmp_path / "runs/demo/status.json").write_text("half of")
    assert pod.guard() == "ended"


HERE = {
    "attempt": 2,
    "phase": "running",
    "supervisor_pid": os.getpid(),
    "supervisor_ticks": str(start_ticks(os.getpid())),
}
KILLED = {**HERE, "supervisor_ticks": "17"}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of the supervisors that were started anew."""
    found: list[Path] = []
    monkeypatch.setattr(watchdog, "supervise", found.append)
    return found


def test_a_supervisor_at_work_is_left_alone_for_days(
    tmp_path: Path, asked: list[str], starts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = Pod(tmp_path)

    def work(seconds: float) -> None:
        pod.at += 600
        pod.say(**HERE, at=pod.at) if pod.at < 2e5 else pod.say(attempt=2, phase="over")

    monkeypatch.setattr(pod, "sleep", work)
    pod.say(**HERE)
    assert pod.guard() == "over" and asked == [] and starts == []


def test_a_supervisor_that_was_killed_is_started_anew(
    tmp_path: Path, asked: list[str], starts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = Pod(tmp_path)

    def work(seconds: float) -> None:
        pod.at += seconds
        pod.say(**HERE, at=pod.at) if len(starts) == 1 and pod.at < 3000 else pod.say(attempt=2, phase="over")

    monkeypatch.setattr(pod, "sleep", work)
    pod.say(**KILLED)
    assert pod.guard() == "over" and asked == [] and starts == [tmp_path / "runs" / "demo"]


def test_a_machine_that_was_frozen_is_no_supervisor_that_hangs(
    tmp_path: Path, asked: list[str], starts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog is the first to wake, again and again."""
    pod = Pod(tmp_path)
    wakes = iter(range(100))

    def freeze(seconds: float) -> None:
        n = next(wakes)
        pod.at += 86400 if n % 10 == 0 else seconds
        if n % 10 == 9:
            pod.say(**HERE, at=pod.at)
        if n == 99:
            pod.say(attempt=2, phase="over")

    monkeypatch.setattr(pod, "sleep", freeze)
    pod.say(**HERE)
    assert pod.guard() == "over" and asked == []


def test_a_supervisor_that_hangs_ends_its_pod(tmp_path: Path, asked: list[str], starts: list[Path]) -> None:
    pod = Pod(tmp_path)
    pod.say(**HERE)
    assert pod.guard() == "ended" and asked == ["DELETE"] and starts == [] and 900 <= pod.at < 930


def test_a_supervisor_that_dies_each_time_ends_its_pod(
    tmp_path: Path, asked: list[str], starts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = Pod(tmp_path)
    monkeypatch.setattr(watchdog, "supervise", lambda folder: (starts.append(folder), pod.say(**KILLED, n=pod.at)))
    pod.say(**KILLED)
    assert pod.guard() == "ended" and len(starts) == MOST_STARTS


@pytest.mark.slow
def test_a_supervisor_killed_with_its_client_away_goes_on_and_one_that_is_stopped_ends_the_pod(
    tmp_path: Path, api: tuple[str, list[Any]]
) -> None:
    """SIGKILL, as where memory runs out, then SIGSTOP, as where a disk hangs; all of it real processes."""
    url, seen = api
    folder = tmp_path / "runs" / "demo"
    (folder / "project").mkdir(parents=True)
    end = {"kind": "runpod", "api": url, "pod": "p1"}
    steps = [{"name": "job", "argv": ["sleep", "600"]}]
    source = str(Path(watchdog.__file__).parents[2])
    job = {"run": "demo", "attempt": 1, "steps": steps, "end": end, "moola_path": source}
    (folder / "job.json").write_text(json.dumps(job))
    environment = {"PATH": os.environ["PATH"], "RUNPOD_API_KEY": "pod-key", "PYTHONPATH": source}
    wish = {"root": str(tmp_path), "run": "demo", "attempt": 1, "silence_s": 6.0, "end": end}
    first = subprocess.Popen([sys.executable, "-m", "moola.pods.supervisor", str(folder)], env=environment)
    with subprocess.Popen(watchdog_argv(sys.executable, wish), env=environment) as dog:
        one = wait_for(lambda: read_object(folder / "status.json").get("pid") and read_object(folder / "status.json"))
        first.kill()
        first.wait()
        other = wait_for(
            lambda: (now := read_object(folder / "status.json")).get("pid") not in (None, one["pid"]) and now
        )
        assert other["supervisor_pid"] != one["supervisor_pid"] and start_ticks(one["pid"]) is None and not dels(seen)
        os.kill(other["supervisor_pid"], signal.SIGSTOP)
        assert dog.wait(20) == 0 and dels(seen)
    os.kill(other["supervisor_pid"], signal.SIGKILL)
    os.killpg(other["pid"], signal.SIGKILL)


def dels(seen: list[Any]) -> list[Any]:
    return [one for one in seen if one[0] == "/v2/pods/p1"]


@pytest.fixture
def api() -> Iterator[tuple[str, list[Any]]]:
    seen: list[Any] = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v2", seen
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("python", [sys.executable, "python3.8"])
def test_it_needs_nothing_of_the_pod_but_python(
    tmp_path: Path, api: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    old = [*Path.home().glob(".pyenv/versions/3.8*/bin/python3.8"), *filter(None, [shutil.which(python)])]
    if not old:
        pytest.skip("no Python 3.8 here")
    found = python if python == sys.executable else str(old[0])
    url, seen = api
    wish = {"root": str(tmp_path), "run": "demo", "attempt": 1, "silence_s": 0.05}
    argv = watchdog_argv(found, {**wish, "end": {"kind": "runpod", "api": url, "pod": "p1"}})
    environment = {"PATH": os.environ["PATH"], "RUNPOD_API_KEY": "pod-key"}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert seen == [("/v2/pods/p1", "Bearer pod-key")]
    assert "pod-key" not in " ".join(argv)
