"""What keeps a rented pod of a sweep for its points, and lets go of it when nobody is there."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from until import wait_for

import moola
from moola.pods.keeper import CLIENT, ENDS, LEAST_IDLE_S, Keeper
from moola.pods.run_files import read_object
from moola.pods.step_process import start_ticks
from moola.pods.watchdog import SILENCE_S

SOURCE = str(Path(moola.__file__).parents[1])
ALIVE = {"supervisor_pid": os.getpid(), "supervisor_ticks": str(start_ticks(os.getpid()))}
DEAD = {**ALIVE, "supervisor_ticks": "17"}


class OverError(Exception):
    """The test has seen enough."""


class Pod:
    """A pod with a run that keeps it, and a clock that goes on while nothing happens."""

    def __init__(self, root: Path, grace_min: float = 10.0) -> None:
        self.runs, self.at, self.until, self.hangs = root / "runs", 0.0, 1e5, False
        self.folder, self.revived = self.runs / "sweep-pod0", []
        self.revived: list[str]
        self.folder.mkdir(parents=True)
        (self.folder / "job.json").write_text(json.dumps({"attempt": 3, "guards": {"grace_min": grace_min}}))
        self.keeper = Keeper(self.folder, self.wait, lambda: self.at, lambda folder: self.revived.append(folder.name))

    def wait(self, seconds: float) -> None:
        self.at += seconds
        if not self.hangs:
            for path in self.runs.glob("*/status.json"):
                os.utime(path, (self.at, self.at))
        self.moment()
        if self.at > self.until or (self.folder / "stop.json").is_file():
            raise OverError

    def moment(self) -> None:
        """What happens meanwhile; a test's own."""

    def say(self, point: str, **status: Any) -> None:
        (self.runs / point).mkdir(exist_ok=True)
        (self.runs / point / "status.json").write_text(json.dumps({"attempt": 1, "outcome": None, **status}))

    def keep(self, seconds: float = 1e5) -> float:
        """Seconds until it asked its supervisor to end the pod."""
        self.until = self.at + seconds
        with pytest.raises(OverError):
            self.keeper.run()
        return self.at

    @property
    def has_let_go(self) -> bool:
        asked = [read_object(self.folder / name) for name in ("pulled.json", "stop.json")]
        return all(one.get("attempt") == 3 and "no point was at work" in one["why"] for one in asked)


@pytest.mark.parametrize(("grace_min", "seconds"), [(10.0, 600.0), (0.0, LEAST_IDLE_S)])
def test_a_pod_that_nobody_is_on_is_let_go_after_the_grace(tmp_path: Path, grace_min: float, seconds: float) -> None:
    pod = Pod(tmp_path, grace_min)
    assert seconds <= pod.keep() <= seconds + 5 and pod.has_let_go


def test_a_point_at_work_keeps_it_for_hours_and_the_grace_begins_when_the_last_has_ended(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.say("demo-1", phase="running", **ALIVE)
    pod.say("demo-2", phase="over", outcome="stopped", **DEAD)
    (pod.runs / ".gone-1").mkdir()

    def end() -> None:
        if pod.at >= 5_000:
            pod.say("demo-1", phase="over", outcome="stopped", **ALIVE)

    pod.moment = end
    assert 5_600 <= pod.keep() <= 5_610 and pod.has_let_go


@pytest.mark.parametrize("outcome", ["finished", "failed"])
def test_what_a_point_left_waits_for_its_pull_though_no_client_is_heard_of(tmp_path: Path, outcome: str) -> None:
    """Deadline and budget are the limit, as for a run on a pod of its own: its supervisor guards these."""
    pod = Pod(tmp_path)
    pod.say("demo-1", phase="over", outcome=outcome, **DEAD)

    def pull() -> None:
        if pod.at >= 5_000:
            (pod.runs / "demo-1" / "pulled.json").write_text(json.dumps({"attempt": 1, "outcome": outcome}))

    pod.moment = pull
    assert 5_600 <= pod.keep() <= 5_610 and pod.has_let_go


def test_a_client_that_is_heard_of_keeps_it(tmp_path: Path) -> None:
    """It may pack the next point, or bring what the last one left."""
    pod = Pod(tmp_path)

    def write() -> None:
        if pod.at < 5000:
            (pod.folder / CLIENT).write_text("{}")
            os.utime(pod.folder / CLIENT, (pod.at // 30, pod.at // 30))

    pod.moment = write
    assert 5580 <= pod.keep() <= 5610


def test_sigterm_is_passed_on_to_points_at_work_and_to_no_other(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.say("demo-1", phase="running", **ALIVE)
    pod.say("demo-2", phase="over", outcome="finished", **ALIVE)
    pod.say("demo-3", phase="running", **DEAD)
    pod.keeper.is_asked = True

    def end() -> None:
        asked = read_object(pod.runs / "demo-1/stop.json")
        assert asked == {"attempt": 1, "why": ENDS}
        if pod.at > 20:
            pod.say("demo-1", phase="over", outcome="stopped", **ALIVE)

    pod.moment = end
    assert pod.keeper.run() == 0 and pod.at > 20
    assert not (pod.runs / "demo-2/stop.json").exists() and not (pod.folder / "stop.json").exists()
    assert pod.revived == []


def test_a_point_whose_supervisor_was_killed_gets_another_and_not_for_ever(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.say("demo-1", phase="running", **DEAD)
    assert pod.keep() < 2000 and pod.has_let_go
    assert pod.revived == ["demo-1"] * 5


def test_a_point_whose_supervisor_hangs_keeps_no_pod(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    (pod.runs / "a file").touch()
    pod.say("demo-1", phase="running", **ALIVE)
    pod.hangs = True
    assert SILENCE_S + 600 <= pod.keep() <= SILENCE_S + 610 and pod.has_let_go


@pytest.mark.parametrize("which", ["pid", "supervisor_pid"])
def test_points_go_on_where_their_keeper_or_its_supervisor_is_killed(tmp_path: Path, which: str) -> None:
    keeper, point = tmp_path / "runs/sweep-pod0", tmp_path / "runs/demo-1"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCE}
    argv = [sys.executable, "-m", "moola.pods.keeper", str(keeper)]
    step = {"name": "job", "argv": argv, "env": {}, "restarts": 1}
    job = {"run": "sweep-pod0", "attempt": 1, "steps": [step], "end": {"kind": "none"}, "keeps": True}
    begun = [begin(keeper, job, environment)]
    (point / "project").mkdir(parents=True)
    (point / "status.json").write_text(json.dumps({"attempt": 1, "outcome": None, "phase": "running", **ALIVE}))
    before = read_object(keeper / "status.json")
    time.sleep(1.0)  # it looks after points
    os.kill(before[which], signal.SIGKILL)
    if which == "supervisor_pid":
        begun[0].wait()
        begun.append(begin(keeper, None, environment))
    wait_for(lambda: read_object(keeper / "status.json").get("pid") not in (None, before["pid"]), within_s=20)
    assert read_object(keeper / "status.json")["outcome"] is None and not (point / "stop.json").exists()
    (point / "status.json").write_text("{}")
    os.kill(begun[-1].pid, signal.SIGTERM)
    begun[-1].wait(20)
    assert read_object(keeper / "status.json")["outcome"] == "stopped"


POINT = """
import signal, sys, time, pathlib
def end(*_):
    time.sleep(1)
    pathlib.Path("checkpoint").write_text("whole")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("begins", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("guards", "why"),
    [
        pytest.param({"max_hours": 5 / 3600, "checkpoint_s": 10.0}, "deadline", marks=pytest.mark.slow),
        ({"grace_min": 0.0}, "stopped"),
    ],
)
def test_points_write_their_checkpoints_before_the_pod_ends_itself(
    tmp_path: Path, api: tuple[str, list[Any]], guards: dict[str, float], why: str
) -> None:
    """Real supervisors, a real keeper, a real job; nobody is there. By the deadline, and because it idles."""
    url, seen = api
    keeper, point = tmp_path / "runs/sweep-pod0", tmp_path / "runs/demo-1"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCE, "RUNPOD_API_KEY": "pod-key"}
    step = {"name": "job", "argv": [sys.executable, "-m", "moola.pods.keeper", str(keeper)], "env": {}}
    end = {"kind": "runpod", "api": url, "pod": "p1"}
    job = {"run": "sweep-pod0", "attempt": 1, "steps": [step], "end": end, "least_idle_s": 2.0}
    begun = [begin(keeper, {**job, "guards": {"grace_min": 0.0, **guards}}, environment)]
    if why == "deadline":
        step = {"name": "job", "argv": [sys.executable, "-c", POINT], "env": {}, "guarded": True}
        begun += [begin(point, {"run": "demo-1", "attempt": 1, "steps": [step], "end": {"kind": "none"}}, environment)]
    began = time.monotonic()
    wait_for(lambda: ("DELETE", "/v2/pods/p1") in seen, within_s=30)
    assert wait_for(lambda: read_object(keeper / "status.json").get("outcome")) == why
    if why == "deadline":
        assert (point / "project/checkpoint").read_text() == "whole" and time.monotonic() - began < 12
        status = read_object(point / "status.json")
        assert (status["outcome"], status["why"]) == ("stopped", ENDS)
    for process in begun:
        process.wait(20)


def begin(folder: Path, job: dict[str, Any] | None, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    if job is not None:
        (folder / "project").mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(job))
    argv = [sys.executable, "-m", "moola.pods.supervisor", str(folder)]
    process = subprocess.Popen(argv, env=environment, start_new_session=True)
    wait_for(lambda: read_object(folder / "status.json").get("step"))
    return process


@pytest.fixture
def api() -> Iterator[tuple[str, list[Any]]]:
    seen: list[Any] = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            seen.append((self.command, self.path))
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
