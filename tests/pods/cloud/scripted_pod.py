"""A pod's own side in this process: what its helper and its supervisor answer, moment by moment as a test writes it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fake_runpod import FakeClock

from moola.pods import attending, checkpoints, fetching, running, starting
from moola.pods.publishing import Published
from moola.pods.session import PodShell, RunOnPod
from moola.pods.wire import Answer, ConnectionLostError

Script = Callable[["ScriptedPod"], None]


class ScriptedPod:
    """One machine: every look at its log is a moment, at which the test's script says what happens.

    Attributes:
        pod_id: the lender's id.
        files: JSON files of the run folder by name.
        moments: looks so far.
        is_away: nobody answers.
        heeds: its supervisor does what it is asked.
        name, host: of the run, and the machine, where that takes several.
    """

    host: ScriptedHost | None

    def __init__(self, pod_id: str, script: Script, clock: FakeClock) -> None:
        self.pod_id, self.script, self.clock = pod_id, script, clock
        self.files: dict[str, Any] = {}
        self.log = b""
        self.name, self.host = "", None
        self.moments, self.spawned, self.is_away, self.heeds, self.is_supervised = 0, 0, False, True, True

    def say(self, text: str, step: str = "job") -> None:
        record = {"n": self.log.count(b"\n") + 1, "at": "2026-11-22T01:00:00Z", "step": step, "text": text}
        self.log += json.dumps(record).encode() + b"\n"

    def finish(self, outcome: str = "finished") -> None:
        self.files["status.json"] |= {"phase": "waiting", "outcome": outcome, "why": ""}

    def request(self, action: str, arguments: Mapping[str, Any], **_: Any) -> Answer:
        if self.is_away:
            raise ConnectionLostError("the connection is lost", "cut")
        return Answer(getattr(self, f"_{action}")(**arguments), self.clock.now(), 0.0)

    def describe(self) -> str:
        return self.pod_id

    def close(self) -> None:
        pass

    def shell(self) -> PodShell | None:
        facts = {"python": "3.12", "cores": 8, "memory_bytes": 1e10, "free_bytes": 1e11}
        return None if self.is_away else PodShell(self, "/pod", "python3", facts, 0.0)  # type: ignore[arg-type]

    def _read_json(self, root: str, path: str) -> Any:
        return {"value": self.files.get(path.rpartition("/")[2])}

    def _write_json(self, root: str, values: Mapping[str, Any]) -> Any:
        for path, value in values.items():
            name = path.rpartition("/")[2]
            self.files[name] = value
            if name == "stop.json" and self.heeds:
                self.finish("stopped")
        return {}

    def _spawn(self, argv: Sequence[str] = (), **_: Any) -> Any:
        if "-c" in argv:  # the guard before the supervisor
            return {}
        self.spawned += 1
        self.is_supervised = True
        if "status.json" not in self.files or self.files["status.json"]["outcome"]:
            armed = {"armed": True, "because": "its own key may"}
            attempt = self.files["job.json"]["attempt"]
            state = {"attempt": attempt, "phase": "running", "outcome": None, "why": "", "step": "job", "steps": {}}
            self.files["status.json"] = {**state, "armed": armed, "supervisor_pid": 7, "at": "now"}
        return {}

    def _remove_run(self, **_: Any) -> Any:
        self.files.clear()
        return {"left": []}

    def _signal(self, **_: Any) -> Any:
        return {"sent": True}

    def _stat_pid(self, **_: Any) -> Any:
        return {"alive": self.is_supervised}

    def _tail(self, offset: int, wait_s: float, **_: Any) -> Any:
        self.moments += 1
        self.clock.sleep(wait_s)
        self.script(self)
        if self.is_away:
            raise ConnectionLostError("the connection is lost", "cut")
        lines = self.log[offset:].decode().splitlines()
        return {"lines": lines, "offset": len(self.log), "size": len(self.log)}


class ScriptedHost:
    """One machine that a sweep rents: its keeper, and the points beside it, each with files and moments of its own.

    Attributes:
        pod_id: the lender's id.
        runs: what is on it, by run.
        is_away: nobody answers.
    """

    def __init__(self, pod_id: str, script: Script, clock: FakeClock, keeper: Script) -> None:
        self.pod_id, self.script, self.clock, self.keeper = pod_id, script, clock, keeper
        self.runs: dict[str, ScriptedPod] = {}
        self.is_away = False

    def run(self, name: str) -> ScriptedPod:
        if name not in self.runs:
            is_keeper = re.search(r"-pod\d+$", name) is not None
            pod = (ScriptedKeeper if is_keeper else ScriptedPod)(
                self.pod_id, self.keeper if is_keeper else self.script, self.clock
            )
            pod.name, pod.host = name, self
            self.runs[name] = pod
        return self.runs[name]

    def request(self, action: str, arguments: Mapping[str, Any], **_: Any) -> Answer:
        if self.is_away:
            raise ConnectionLostError("the connection is lost", "cut")
        told = json.dumps([arguments.get("path"), list(arguments.get("values", {})), arguments.get("cwd"), arguments])
        found = re.search(r"runs/([A-Za-z0-9-]+)", told)
        name = found[1] if found else arguments.get("run") or next(iter(self.runs), "none")
        return self.run(name).request(action, arguments)

    def describe(self) -> str:
        return self.pod_id

    def close(self) -> None:
        pass

    def shell(self) -> PodShell | None:
        facts = {"python": "3.12", "cores": 8, "memory_bytes": 1e10, "free_bytes": 1e11}
        return None if self.is_away else PodShell(self, "/pod", "python3", facts, 0.0)  # type: ignore[arg-type]

    def ends(self, why: str = "its pod has to end") -> None:
        """Its guard speaks: the keeper and all points end with their checkpoints."""
        for pod in list(self.runs.values()):
            if pod.files.get("status.json", {}).get("outcome", "") is None:
                is_keeper = isinstance(pod, ScriptedKeeper)
                pod.finish("deadline" if is_keeper else "stopped")
                pod.files["status.json"]["why"] = "2 of 2 hours are over" if is_keeper else why


class ScriptedKeeper(ScriptedPod):
    """The run that rented it; its moments take no time of the test's clock, for points have theirs."""

    def _tail(self, offset: int, wait_s: float, **more: Any) -> Any:
        time.sleep(0.005)
        return super()._tail(offset, 0.0, **more)


class Scripted:
    """All machines of an account, and what is brought from them.

    Attributes:
        pods: by the lender's id.
        hosts: those that take several runs, where `lends` says so.
        script: of the next ones.
        keeper: of what keeps them for points.
        published: run ids whose results came, in order.
        states: how often working state came.
    """

    def __init__(self, clock: FakeClock, monkeypatch: Any) -> None:
        self.clock = clock
        self.pods: dict[str, ScriptedPod] = {}
        self.script: Script = lambda pod: pod.finish()
        self.hosts: dict[str, ScriptedHost] = {}
        self.lends, self.lock = False, threading.Lock()
        self.keeper: Script = lambda pod: None
        self.published: list[str] = []
        self.states = 0
        report = SimpleNamespace(took_s=0.0, files=1, bytes=1, sent_bytes=1, sent_objects=1, data=())
        monkeypatch.setattr(running, "open_shell", self.open_shell)
        monkeypatch.setattr(starting, "push", lambda *_, **__: report)
        monkeypatch.setattr(fetching, "pull_results", self.pull_results)
        monkeypatch.setattr(fetching, "publish_results", lambda *_, **__: Published(Path("there")))
        monkeypatch.setattr(attending, "write_rented", lambda *_: None)
        for owner in (fetching, checkpoints):
            monkeypatch.setattr(owner, "pull_checkpoint", self.pull_checkpoint)

    def open_shell(self, target: Any, **_: Any) -> PodShell | None:
        if self.lends:
            with self.lock:
                if target.alias not in self.hosts:
                    self.hosts[target.alias] = ScriptedHost(target.alias, self.script, self.clock, self.keeper)
            return self.hosts[target.alias].shell()
        pod = self.pods.setdefault(target.alias, ScriptedPod(target.alias, self.script, self.clock))
        return pod.shell()

    def pull_results(self, pod: RunOnPod, staging: Path, rooms: Any = None) -> Path:
        pod.status()
        staging.mkdir(parents=True, exist_ok=True)
        self.published.append(pod.run)
        return staging

    def pull_checkpoint(self, pod: RunOnPod, folder: Path) -> int:
        pod.status()
        self.states += 1
        return 1
