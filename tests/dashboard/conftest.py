"""Run folders, logs that grow as those of runs do, a real server over them, and Debian's Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from moola.dashboard.run_index import RunIndex
from moola.testing.run_folders import write_run_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

TOKEN = "a-token-of-a-test"
LIVE = "live-00000000000a"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where run folders lie."""
    return tmp_path / "artifacts" / "results"


@pytest.fixture
def index_of(results: Path) -> Iterator[Callable[..., RunIndex]]:
    """Indices over `results`: in the usual file, or wherever a test says; up to date."""
    opened: list[RunIndex] = []

    def build(path: Path | None = results.parent / "metadata" / "runs.sqlite", **options: Any) -> RunIndex:
        index = RunIndex(results, path, **options)
        opened.append(index)
        index.refresh()
        return index

    yield build
    for index in opened:
        index.close()


class Training:
    """A run that goes on: it holds its lock, and appends to its log what a run would."""

    def __init__(self, results: Path, name: str = LIVE) -> None:
        from moola.layout import lock_at_once

        self.folder = write_run_folder(results, name, status="running")
        self._lock = (self.folder / ".lock").open("w")
        assert lock_at_once(self._lock)
        self._log = (self.folder / "events.jsonl").open("a", buffering=1)
        self.say("run_started", run_id=name, folder=str(self.folder), target="run")
        self.say("stage_started", stage="pretrain", number=1, total=3)

    def say(self, event: str, **fields: Any) -> None:
        record = {"time": "2026-01-01T00:00:00.000Z", "event": event, **fields}
        self._log.write(json.dumps(record) + "\n")

    def step(self, number: int, loss: float, seed: int = 0) -> None:
        self.say("steps", stage="pretrain", seed=seed, step=number, steps=1, epoch=1, loss=loss, lr={"group0": 0.1})

    def end(self) -> None:
        """As a process that is killed ends."""
        self._lock.close()
        self._log.close()


@pytest.fixture
def training(results: Path) -> Iterator[Callable[..., Training]]:
    """Makes a `Training`."""
    begun: list[Training] = []

    def begin(name: str = LIVE) -> Training:
        begun.append(Training(results, name))
        return begun[-1]

    yield begin
    for one in begun:
        one.end()


@pytest.fixture
def serve(results: Path) -> Iterator[Callable[..., SimpleNamespace]]:
    """Real servers, each in a thread: ``url``, ``port``, ``stop()`` and how long the stop took."""
    from moola.dashboard.app import create_app
    from moola.dashboard.live_pages import Viewers
    from moola.web.serving import PageServer

    running: list[Callable[[], float]] = []

    def start(port: int = 0) -> SimpleNamespace:
        viewers = Viewers(tick_s=0.05)
        app = create_app(results.parent, viewers)
        server = PageServer(app, "dash", port=port, token=TOKEN, ending=viewers.end)
        thread = threading.Thread(target=server.serve)
        thread.start()

        def stop() -> float:
            began = time.monotonic()
            server.stop()
            thread.join(30)
            assert not thread.is_alive()
            return time.monotonic() - began

        running.append(stop)
        return SimpleNamespace(url=server.url, port=server.port, stop=stop, base=server.url.partition("/?")[0])

    yield start
    for stop in running:
        stop()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages in a browser that never met moola; at the end none may have complained or asked another machine."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    hosts: set[str] = set()

    def build(
        server: SimpleNamespace, path: str = "/", width: int = 1280, scheme: Any = "light", token: str = TOKEN
    ) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": 720}, color_scheme=scheme)
        contexts.append(context)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda said: None if "ERR_" in said.text else complaints.append(said.text))
        context.on("request", lambda request: hosts.add(request.url.split("/")[2].partition(":")[0]))
        page = context.new_page()
        page.goto(f"{server.base}{path}{'&' if '?' in path else '?'}token={token}")
        return page

    yield build
    for context in contexts:
        context.close()
    assert complaints == []
    assert hosts <= {"127.0.0.1", ""}


@pytest.fixture
def moola_process(results: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `moola` beside the test, over the same folders."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "moola", *words]
        place = results.parent.parent
        running.append(
            subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits until an expression is true in a page; not by the browser's own means, which its CSP forbids."""

    def wait(page: Page, script: str, patience_s: int = 15) -> None:
        pause = "await new Promise((go) => setTimeout(go, 10))"
        loop = f"for (let i = 0; i < {100 * patience_s}; i++) {{ if ({script}) return true; {pause} }}"
        assert page.evaluate(f"async () => {{ {loop} }}"), f"never true: {script}"

    return wait
