"""A pod's own side in this process: what its helper and its supervisor answer, moment by moment as a test writes it."""

from __future__ import annotations

import json
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
    """

    def __init__(self, pod_id: str, script: Script, clock: FakeClock) -> None:
        self.pod_id, self.script, self.clock = pod_id, script, clock
        self.files: dict[str, Any] = {}
        self.log = b""
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


class Scripted:
    """All machines of an account, and what is brought from them.

    Attributes:
        pods: by the lender's id.
        script: of the next ones.
        published: run ids whose results came, in order.
        states: how often working state came.
    """

    def __init__(self, clock: FakeClock, monkeypatch: Any) -> None:
        self.clock = clock
        self.pods: dict[str, ScriptedPod] = {}
        self.script: Script = lambda pod: pod.finish()
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
