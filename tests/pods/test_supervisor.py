"""The process that stays on a pod, as a process: what it runs, writes, survives and ends."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moola.pods import pod_end
from moola.pods.clock import Clock
from moola.pods.pod_end import PodEnd
from moola.pods.run_watch import EventWatch, GpuWatch
from moola.pods.step_process import LONGEST_LINE, LineLog, StepProcess, start_ticks
from moola.pods.supervisor import SELF, Supervisor

SOURCE = Path(__file__).parents[2] / "src"
PATIENCE_S = 20.0


def step(name: str, code: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "argv": [sys.executable, "-S", "-c", code], **more}


def impatient(meanwhile: Callable[[int], object]) -> Clock:
    """Seldom pauses, tells `meanwhile` for which time it does, and fails a test that waits for what never comes."""
    until, pauses = time.monotonic() + PATIENCE_S, itertools.count(1)

    def sleep(seconds: float) -> None:
        meanwhile(next(pauses))
        time.sleep(min(seconds, 0.01))

    def monotonic() -> float:
        at = time.monotonic()
        assert at < until, "it goes on and on"
        return at

    return Clock(sleep=sleep, monotonic=monotonic)


class Supervised:
    """A run folder and the supervisors that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[bytes]]()
        (folder / "project").mkdir(parents=True)

    def order(self, *steps: dict[str, Any], **job: Any) -> None:
        if steps:
            (self.folder / "job.json").write_text(json.dumps({"run": "demo-1", "steps": steps, **job}))

    def start(self, *steps: dict[str, Any], python: str = sys.executable, **job: Any) -> subprocess.Popen[bytes]:
        """As a process of its own, for what only a process can do or suffer."""
        self.order(*steps, **job)
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        environment.pop("COVERAGE_PROCESS_START", None)
        argv = [python, "-S", "-m", "moola.pods.supervisor", str(self.folder)]
        self.processes.append(subprocess.Popen(argv, env=environment, cwd="/"))
        return self.processes[-1]

    def run(self, *steps: dict[str, Any], meanwhile: Callable[[int], object] = lambda n: None, **job: Any) -> str:
        """In this process, to its end."""
        self.order(*steps, **job)
        return Supervisor(self.folder, impatient(meanwhile)).run()

    def ask(self, name: str, **more: Any) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps({"attempt": 1, **more}))

    @property
    def status(self) -> dict[str, Any]:
        path = self.folder / "status.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def lines(self) -> list[dict[str, Any]]:
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def texts(self) -> list[str]:
        """What the steps said; the supervisor's own words aside."""
        return [line["text"] for line in self.lines if line["step"] != SELF]

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{self.status} {self.texts}"
            time.sleep(0.02)


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    found = Supervised(tmp_path / "run")
    yield found
    for process in found.processes:
        process.kill()
        process.wait()
    if found.status.get("pid") and start_ticks(found.status["pid"]) == found.status["pid_ticks"]:
        os.killpg(found.status["pid"], signal.SIGKILL)


def test_steps_run_in_order_and_every_line_they_say_has_a_number(supervised: Supervised) -> None:
    told = step("first", "import sys; print('out'); print('err', file=sys.stderr)", env={"PYTHONUNBUFFERED": "1"})
    second = step("second", "import os; print(os.getcwd(), os.environ['A'])", env={"A": "a b;$c"})
    assert supervised.start(told, second).wait(PATIENCE_S) == 0
    assert [line["n"] for line in supervised.lines] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in supervised.lines] == ["first", "first", SELF, "second", SELF, SELF]
    assert supervised.texts == ["out", "err", f"{supervised.folder / 'project'} a b;$c"]
    status = supervised.status
    assert (status["phase"], status["outcome"], status["log_lines"]) == ("over", "finished", 6)
    assert {name: record["exit_code"] for name, record in status["steps"].items()} == {"first": 0, "second": 0}


def test_a_step_that_fails_is_the_last_and_is_run_again_by_the_next_supervisor(supervised: Supervised) -> None:
    fails = step("fails", "import pathlib, sys; sys.exit(0 if pathlib.Path('mended').exists() else 3)")
    first, last = step("first", "print('once')"), step("last", "print('last')")
    assert supervised.run(first, fails, last) == "failed"
    assert "exit code 3" in supervised.status["why"]
    (supervised.folder / "project" / "mended").touch()
    assert supervised.run() == "finished"
    assert supervised.texts == ["once", "last"], "what was done is not done again"
    numbers = [line["n"] for line in supervised.lines]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_step_that_was_changed_is_run_again(supervised: Supervised) -> None:
    supervised.run(step("only", "print('one')"))
    supervised.run(step("only", "print('two')"))
    assert supervised.texts == ["one", "two"]


def test_a_program_that_is_not_there_is_a_failed_step(supervised: Supervised) -> None:
    assert supervised.run({"name": "only", "argv": ["no-such-program-here"]}) == "failed"
    assert supervised.texts == ["no-such-program-here: No such file or directory"]


def test_the_second_supervisor_of_a_run_leaves_it_to_the_first(supervised: Supervised) -> None:
    supervised.start(step("only", "import time; print('begun'); time.sleep(60)"))
    supervised.wait_for(lambda: supervised.texts)
    assert supervised.start().wait(PATIENCE_S) == 0
    assert supervised.texts == ["begun"]


def test_a_supervisor_after_one_that_was_killed_ends_its_step_and_goes_on(supervised: Supervised) -> None:
    code = """
import os, pathlib, sys, time
mark = pathlib.Path("pid")
if mark.exists():
    sys.exit(print("again"))
mark.write_text(str(os.getpid()))
print("begun")
time.sleep(60)
"""
    first = supervised.start(step("done", "print('done')"), step("job", code))
    supervised.wait_for(lambda: "begun" in supervised.texts and supervised.status.get("step") == "job")
    first.kill()
    first.wait()
    orphan = int((supervised.folder / "project" / "pid").read_text())
    assert start_ticks(orphan) is not None, "the step outlives its supervisor"
    assert supervised.run() == "finished"
    assert supervised.texts == ["done", "begun", "again"]
    assert start_ticks(orphan) is None


def test_stop_gives_the_job_time_for_its_checkpoint(supervised: Supervised) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("kept") or 130))
print("begun")
time.sleep(60)
"""
    process = supervised.start(step("job", code), step("never", "print('never')"))
    supervised.wait_for(lambda: supervised.texts)
    supervised.ask("stop", attempt=7, why="for another attempt")
    time.sleep(0.25)
    assert process.poll() is None, "what is asked of another attempt is not for this one"
    supervised.ask("stop", why="moola pod stop")
    assert process.wait(PATIENCE_S) == 1
    assert supervised.texts == ["begun", "kept"]
    assert (supervised.status["outcome"], supervised.status["why"]) == ("stopped", "moola pod stop")


def test_a_job_that_does_not_end_by_itself_is_killed_with_all_its_processes(supervised: Supervised) -> None:
    code = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid)
time.sleep(60)
"""
    process = supervised.start(step("job", code), guards={"checkpoint_s": 0.2})
    supervised.wait_for(lambda: supervised.texts)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 1
    child = Path(f"/proc/{supervised.texts[0]}/stat")
    supervised.wait_for(lambda: not child.exists() or child.read_text().split()[2] == "Z")
    assert "SIGTERM" in supervised.status["why"]


def test_a_background_process_that_holds_the_output_does_not_hold_up_the_job(supervised: Supervised) -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print('x')"
    assert supervised.run(step("job", code)) == "finished"
    assert supervised.texts == ["x"]


@pytest.mark.parametrize(
    ("guards", "code", "guard"),
    [
        ({"max_hours": 0.00005}, "import time; time.sleep(60)", "deadline"),
        ({"budget": 0.002, "price_per_h": 40.0}, "import time; time.sleep(60)", "budget"),
        ({"stalled_min": 0.004}, "import time; print('x'); time.sleep(60)", "stalled"),
        (
            {},
            "import pathlib, time; f = pathlib.Path('artifacts/results/r'); f.mkdir(parents=True);"
            '(f / \'events.jsonl\').write_text(\'{"stage": "pretrain", "loss": NaN}\\n\'); time.sleep(60)',
            "nan_loss",
        ),
    ],
)
def test_each_guard_ends_a_real_job(supervised: Supervised, guards: dict[str, Any], code: str, guard: str) -> None:
    assert supervised.run(step("job", code, guarded=True), guards={"checkpoint_s": 5, **guards}) == guard
    assert supervised.status["outcome"] == guard
    assert supervised.status["why"]


def test_an_idle_gpu_ends_a_job(supervised: Supervised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 0\necho 3\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    sleeps = step("job", "import time; time.sleep(60)", guarded=True)
    assert supervised.run(sleeps, guards={"idle_gpu_min": 0.0}) == "idle_gpu"


def test_the_time_of_earlier_pods_and_supervisors_counts(supervised: Supervised) -> None:
    sleeps = step("job", "import time; time.sleep(60)")
    limits = {"max_hours": 1, "checkpoint_s": 0}
    assert supervised.run(sleeps, guards=limits, billed_s=3600) == "deadline"
    (supervised.folder / "status.json").write_text(
        json.dumps({"attempt": 1, "at_s": time.time() - 3600, "billed_s": 1.0})
    )
    assert supervised.run(sleeps, guards=limits) == "deadline"


def test_a_step_over_its_time_has_failed(supervised: Supervised) -> None:
    assert supervised.run(step("environment", "import time; time.sleep(60)", limit_s=0.1)) == "failed"
    assert supervised.status["why"] == "step environment took longer than 0.1 s"


def test_it_runs_on_an_old_python(supervised: Supervised, tmp_path: Path) -> None:
    found = [*Path.home().glob(".pyenv/versions/3.8*/bin/python3.8"), *filter(None, [shutil.which("python3.8")])]
    if not found:
        pytest.skip("no Python 3.8 here")
    only = {"name": "only", "argv": ["/bin/echo", "x"], "guarded": True}
    (tmp_path / "mount").mkdir()
    volume = {"mount": str(tmp_path / "mount"), "run": "demo-1", "mounted": False, "every_s": 600, "limit_s": 60}
    assert supervised.start(only, python=str(found[0]), volume=volume).wait(PATIENCE_S) == 0
    assert supervised.texts == ["x"] and supervised.status["kept"]["error"] == ""
    assert (tmp_path / "mount/moola/demo-1/state.json").exists()
    told = {"mount": str(tmp_path / "mount"), "run": "demo-1", "mounted": False, "newer_than_s": -1.0}
    told["project"] = str(supervised.folder / "project")
    words = [str(found[0]), "-m", "moola.pods.volume", "restore", json.dumps(told)]
    assert "every byte verified" in subprocess.run(words, capture_output=True, text=True, check=True).stdout


class Api(http.server.BaseHTTPRequestHandler):
    """As much of the v2 API as a pod's own key meets."""

    may_change, name = True, "moola-x"
    requests: list[tuple[str, str, str]] = []  # noqa: RUF012
    agents: list[str | None] = []  # noqa: RUF012

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.requests.append((self.command, self.path, self.rfile.read(length).decode()))
        self.agents.append(self.headers["User-Agent"])
        known = self.headers["Authorization"] == "Bearer pod-key"
        allowed = known and (self.may_change or self.command == "GET")
        code = 401 if not known else 403 if not allowed else 204 if self.command == "DELETE" else 200
        content = b"" if code == 204 else json.dumps({"title": "no"} if code > 400 else {"name": self.name}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("RUNPOD_API_KEY", "pod-key")
    monkeypatch.setattr(Api, "requests", [])
    monkeypatch.setattr(Api, "agents", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v2"
        server.shutdown()
        thread.join()


def test_the_pod_ends_itself_when_its_client_stays_away(supervised: Supervised, api: str) -> None:
    end = {"kind": "runpod", "api": api, "pod": "p1"}
    guards = {"max_hours": 0.0001, "grace_min": 0.02, "checkpoint_s": 5}
    assert supervised.run(step("job", "import time; time.sleep(60)"), guards=guards, end=end) == "deadline"
    status = supervised.status
    assert (status["outcome"], status["phase"], status["not_ended"], status["pulled"]) == (
        "deadline",
        "over",
        "",
        False,
    )
    assert status["armed"]["armed"]
    assert methods() == ["GET", "PATCH", "DELETE"]
    assert Api.requests[1] == ("PATCH", "/v2/pods/p1", '{"name": "moola-x"}')


def methods() -> list[str]:
    return [method for method, _, _ in Api.requests]


def test_a_finished_pod_waits_for_the_pull_and_not_longer(supervised: Supervised, api: str) -> None:
    def pull(n: int) -> None:
        assert supervised.status["phase"] == "waiting" and "DELETE" not in methods()
        if n == 20:
            supervised.ask("pulled")

    end = {"kind": "runpod", "api": api, "pod": "p1"}
    assert supervised.run(step("job", "print('x')"), end=end, meanwhile=pull) == "finished"
    assert supervised.status["pulled"] and methods()[-1] == "DELETE"


def test_a_finished_pod_does_not_wait_past_its_deadline(supervised: Supervised, api: str) -> None:
    guards, end = {"max_hours": 0.0001, "grace_min": 0.005}, {"kind": "runpod", "api": api, "pod": "p"}
    assert supervised.run(step("job", "print('x')"), guards=guards, end=end) == "finished"
    assert Api.requests[-1][0] == "DELETE" and "deadline" in supervised.status["why"]


def test_the_state_is_on_the_volume_before_the_pod_ends_itself(
    supervised: Supervised, api: str, tmp_path: Path
) -> None:
    code = """
import pathlib, signal, sys, time
results = pathlib.Path("artifacts/results/r")
results.mkdir(parents=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit((results / "state.json").write_text("checkpoint") and 130))
(results / "events.jsonl").write_text('{"loss": NaN}\\n')
time.sleep(60)
"""
    (tmp_path / "mount").mkdir()
    volume = {"mount": str(tmp_path / "mount"), "run": "demo-1", "mounted": False, "every_s": 600, "limit_s": 60}
    guards = {"grace_min": 0, "checkpoint_s": 10}
    end = {"kind": "runpod", "api": api, "pod": "p1"}
    assert supervised.run(step("job", code, guarded=True), guards=guards, end=end, volume=volume) == "nan_loss"
    assert Api.requests[-1][0] == "DELETE"
    kept = supervised.status["kept"]
    assert (kept["folder"], kept["files"], kept["error"]) == (f"{tmp_path}/mount/moola/demo-1", 2, "")
    contents = [path.read_text() for path in (tmp_path / "mount/moola/demo-1/objects").iterdir()]
    assert "checkpoint" in contents


def test_a_volume_that_hangs_does_not_hold_up_the_end(supervised: Supervised, api: str, tmp_path: Path) -> None:
    (tmp_path / "mount/moola/demo-1").mkdir(parents=True)
    os.mkfifo(tmp_path / "mount/moola/demo-1/state.json")  # to open it waits for ever
    volume = {"mount": str(tmp_path / "mount"), "run": "demo-1", "mounted": False, "every_s": 600, "limit_s": 600}
    guards = {"max_hours": 0.0001, "grace_min": 0, "checkpoint_s": 0.2}
    end = {"kind": "runpod", "api": api, "pod": "p1"}
    sleeps = step("job", "import time; time.sleep(60)")
    began = time.monotonic()
    assert supervised.run(sleeps, guards=guards, end=end, volume=volume) == "deadline"
    assert Api.requests[-1][0] == "DELETE" and time.monotonic() - began < 10


def test_a_supervisor_whose_run_is_started_again_leaves_the_pod_to_the_client(supervised: Supervised, api: str) -> None:
    end = {"kind": "runpod", "api": api, "pod": "p1"}
    supervised.run(step("job", "print('x')"), end=end, meanwhile=lambda n: supervised.ask("restart"))
    assert "DELETE" not in methods() and supervised.status["phase"] == "over"


@pytest.mark.parametrize("while_it", ["works", "waits"])
def test_a_client_that_asks_to_stop_and_never_comes_back_leaves_no_pod(
    supervised: Supervised, api: str, while_it: str
) -> None:
    end, guards = {"kind": "runpod", "api": api, "pod": "p1"}, {"grace_min": 0.002, "checkpoint_s": 5}
    if while_it == "works":
        supervised.ask("stop", why="moola pod stop")
    job = step("job", "import time; time.sleep(60)" if while_it == "works" else "print('x')")
    supervised.run(job, end=end, guards=guards, meanwhile=lambda n: supervised.ask("stop", why="moola pod stop"))
    assert methods()[-1] == "DELETE" and "moola pod stop" in supervised.status["why"]


@pytest.mark.parametrize("code", ["print('x')", "import time; time.sleep(60)"], ids=["waits", "works"])
def test_a_supervisor_that_is_told_to_end_leaves_its_client_the_grace(
    supervised: Supervised, api: str, code: str
) -> None:
    """SIGTERM, as of somebody who looks around on the pod: what nobody pulled is not deleted at once."""
    end, guards = {"kind": "runpod", "api": api, "pod": "p1"}, {"grace_min": 60, "checkpoint_s": 5}
    supervised.order(step("job", code), end=end, guards=guards)
    at_work = Supervisor(supervised.folder, impatient(lambda n: supervised.ask("pulled") if n == 5 else None))
    if "sleep" in code:
        at_work.signal = signal.SIGTERM
    else:
        at_work.say = lambda line: setattr(at_work, "signal", signal.SIGTERM)
    at_work.run()
    assert methods()[-1] == "DELETE" and supervised.status["pulled"] is True
    assert "SIGTERM" in supervised.status["why"]


def test_an_answer_that_breaks_off_is_asked_for_again(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is an `OSError`: http.client raises errors of its own."""
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 204 \r\n\r\n"]
    answers.insert(1, b"HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\n{")
    monkeypatch.setenv("RUNPOD_API_KEY", "pod-key")
    n_asked = len(answers)

    def serve(server: socket.socket) -> None:
        for _ in range(n_asked):
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(answers.pop(0))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        end = PodEnd({"kind": "runpod", "api": f"http://127.0.0.1:{server.getsockname()[1]}/v2", "pod": "p1"})
        assert "IncompleteRead" in end.probe().because
        told: list[str] = []
        assert end.insist(lambda because, pause_s: told.append(because) is None) == ""
        thread.join()
    assert len(told) == 2 and not answers


def test_a_pod_without_a_name_is_given_none(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Api, "name", "")
    armed = PodEnd({"kind": "runpod", "api": api, "pod": "p1"}).probe()
    assert not armed.armed and "has no name" in armed.because and methods() == ["GET"]


def test_a_last_copy_is_told_of_as_long_as_it_is_under_way(supervised: Supervised, api: str, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    volume = {"mount": str(tmp_path / "mount"), "run": "demo-1", "mounted": False, "every_s": 600, "limit_s": 60}
    seen: list[bool] = []

    def look(n: int) -> None:
        seen.append(supervised.status["copying"])
        if not seen[-1]:
            supervised.ask("pulled")

    end = {"kind": "runpod", "api": api, "pod": "p1"}
    supervised.run(step("job", "print('x')"), end=end, volume=volume, meanwhile=look)
    assert seen[0] is True and seen[-1] is False and supervised.status["kept"]["at"]


def test_a_key_that_may_not_end_the_pod_is_told(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    end = PodEnd({"kind": "runpod", "api": api, "pod": "p1"})
    monkeypatch.setattr(Api, "may_change", False)
    assert end.probe().because == "the pod's own key may read the pod and not change it: HTTP 403: no"
    assert end.end() == "HTTP 403: no"
    monkeypatch.setenv("RUNPOD_API_KEY", "wrong")
    assert "may not read the pod: HTTP 401" in end.probe().because
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert not end.probe().armed
    unreachable = PodEnd({"kind": "runpod", "api": "http://127.0.0.1:9/v2", "pod": "p1"})
    monkeypatch.setenv("RUNPOD_API_KEY", "pod-key")
    assert "refused" in unreachable.probe().because
    assert PodEnd({"kind": "none", "because": "your own machine"}).probe().because == "your own machine"


def test_an_api_that_swallows_what_it_is_sent_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "pod-key")
    monkeypatch.setattr(pod_end, "_PROBE_S", 0.02)
    answers = threading.Event()
    monkeypatch.setattr(PodEnd, "_ask", lambda *_: (200 if answers.wait(10) else 0, {}))
    armed = PodEnd({"kind": "runpod", "api": "http://127.0.0.1:9/v2", "pod": "p1"}).probe()
    answers.set()
    assert not armed.armed and armed.because == "the API did not answer within 0.02 s"


def test_a_pod_asks_under_a_name_of_its_own(api: str) -> None:
    PodEnd({"kind": "runpod", "api": api, "pod": "p1"}).end()
    assert Api.agents == ["moola"], "what stands before the API refuses Python-urllib"


def test_a_log_goes_on_after_a_torn_line_and_cuts_long_ones(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    LineLog(path).write("a", "one\ntwo\r")
    with path.open("ab") as handle:
        handle.write(b'{"n": 3, "at')
    log = LineLog(path)
    assert log.n == 2
    log.write("b", "x" * (LONGEST_LINE + 1) + "\n\nend")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["n"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [len(record["text"]) for record in records] == [3, 3, LONGEST_LINE, 1, 0, 3]


def test_lines_of_any_bytes_and_of_any_length_arrive_whole(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "log.jsonl")
    code = (
        "import os; os.write(1, b'caf\\xc3\\xa9 \\xff\\x0b\\xe2\\x80\\xa8 same line\\n' + b'y' * 200000 + b'\\nno end')"
    )
    process = StepProcess(step("s", code), tmp_path, log)
    while process.pump(1.0)[1] is None:
        pass
    texts = [json.loads(line)["text"] for line in (tmp_path / "log.jsonl").read_bytes().split(b"\n") if line]
    assert texts[0] == "café \ufffd\x0b\u2028 same line"
    assert "".join(texts[1:-1]).replace("y", "") == "" and sum(map(len, texts[1:-1])) == 200000
    assert texts[-1] == "no end"


@pytest.fixture
def smaller_files() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process grow over so many bytes: what a full disk does, to this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_lines_and_says_how_many(tmp_path: Path, smaller_files: Callable[[int], None]) -> None:
    path = tmp_path / "log.jsonl"
    log = LineLog(path)
    log.write("a", "one")
    size = path.stat().st_size
    smaller_files(2 * size + 10)
    log.write("a", "two\nthree")
    smaller_files(resource.RLIM_INFINITY)
    log.write("a", "four")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["n"] for record in records] == list(range(1, len(records) + 1)), "no half line, no number twice"
    assert records[-1]["text"] == "four" and log.lost > 0


@pytest.mark.parametrize("after", ["", "os.makedirs(here); "])
def test_a_folder_that_was_deleted_is_why_a_step_failed(supervised: Supervised, after: str) -> None:
    """Also where the job made it again: what it finds missing then says nothing of the cause."""
    code = f"import os, shutil; here = os.getcwd(); shutil.rmtree(here); {after}open('x/y')"
    assert supervised.run(step("job", code)) == "failed"
    assert "exit code 1: its folder was deleted while it ran" in supervised.status["why"]


def test_a_disk_that_is_full_is_why_a_step_failed(supervised: Supervised) -> None:
    assert supervised.run(step("job", "import errno, os; raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))")) == (
        "failed"
    )
    assert "exit code 1: its disk is full" in supervised.status["why"] and "pod.disk_gb" in supervised.status["why"]
    assert not (supervised.folder / ".ballast").exists(), "the client needs room, too"


def test_events_of_before_are_not_news(tmp_path: Path) -> None:
    path = tmp_path / "r" / "events.jsonl"
    path.parent.mkdir()
    path.write_text('{"loss": NaN}\n')
    watch = EventWatch(tmp_path)
    assert not watch.look()
    with path.open("a") as handle:
        handle.write('{"loss": 1.0}\n[]\nno json\n{"loss": N')
    assert watch.look() and not watch.look()
    assert watch.bad_loss == ""
    with path.open("a") as handle:
        handle.write("aN}\n")
    assert watch.look() and watch.bad_loss == "training: loss is nan"


def test_a_tool_of_the_gpus_that_hangs_holds_up_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a wedged driver it outlives SIGKILL: it is never waited for, and never asked twice at a time."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(subprocess.Popen, "kill", lambda self: killed.append(self))
    watch, killed, began = GpuWatch(), list[Any](), time.monotonic()
    for at in range(0, 100):
        watch.look(float(at))
    assert time.monotonic() - began < 0.2 and watch.idle_s is None
    assert len({process.pid for process in killed}) == 1
    monkeypatch.undo()
    watch.stop()
    assert killed[0].returncode == -signal.SIGKILL


def test_where_no_gpu_can_be_asked_nothing_is_idle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    watch = GpuWatch()
    watch.look(0.0)
    watch.look(1000.0)
    assert watch.idle_s is None
