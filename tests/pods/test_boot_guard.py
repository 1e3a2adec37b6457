"""A pod between the first session and its supervisor: its client may fall silent for good."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moola.pods.boot_guard import boot_guard_argv, guard_boot
from moola.pods.pod_end import PodEnd


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

    def guard(self) -> str:
        wish = {"root": str(self.root), "run": "demo", "attempt": 2, "silence_s": 900.0, "end": {"kind": "runpod"}}
        return guard_boot(wish, monotonic=lambda: self.at, sleep=self.sleep)


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


def test_it_leaves_when_the_job_is_started_and_not_for_an_earlier_one(tmp_path: Path, asked: list[str]) -> None:
    pod = Pod(tmp_path)
    status = tmp_path / "runs" / "demo" / "status.json"
    status.parent.mkdir(parents=True)
    status.write_text(json.dumps({"attempt": 2}))
    assert pod.guard() == "started" and asked == [] and pod.at == 0
    status.write_text(json.dumps({"attempt": 1}))
    assert pod.guard() == "ended"
    status.write_text("half of")
    assert pod.guard() == "ended"


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
    argv = boot_guard_argv(found, {**wish, "end": {"kind": "runpod", "api": url, "pod": "p1"}})
    environment = {"PATH": os.environ["PATH"], "RUNPOD_API_KEY": "pod-key"}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert seen == [("/v2/pods/p1", "Bearer pod-key")]
    assert "pod-key" not in " ".join(argv)
