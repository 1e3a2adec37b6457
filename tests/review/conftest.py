"""A small queue over bars that a test can foresee, its server, and Debian's Chromium."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.labels.events import LabelEvent, LabelLog, window_digest
from moola.labels.neighbours import Neighbours
from moola.review.app import create_app
from moola.review.decisions import Decision
from moola.review.journal import Journal
from moola.review.neighbours import LabelledSpace, shape_vectors
from moola.review.opinions import Opinions
from moola.review.queue import ReviewQueue
from moola.review.session import ReviewMaterial, ReviewSession
from moola.review.windows import ShownWindows
from moola.web.serving import PageServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

N, LENGTH, ZONE = 30, 40, (10, 30)
CLASSES = ("consolidation", "retracement")
TOKEN = "a-token-of-a-test"
_EXPECTED = re.compile("ERR_|status of (409|412|422|503)")
"""Of what a browser says about the network, that which a test brings about."""


def material_of(
    n: int = N, *, channels: tuple[str, ...] = ("open", "high", "low", "close", "volume")
) -> ReviewMaterial:
    """`n` windows that do not overlap, of a random walk; every third is an issue, every fifth split."""
    rng = np.random.default_rng(0)
    close = 100 + rng.normal(size=n * LENGTH).cumsum()
    open_ = np.append(close[0], close[:-1])
    spread = rng.uniform(0.1, 1.0, len(close))
    candles = [open_, np.maximum(open_, close) + spread, np.minimum(open_, close) - spread, close]
    values = np.stack([*candles, rng.uniform(1e6, 2e6, len(close))], axis=1)[:, : len(channels)].astype(np.float32)
    times = 1_700_000_000_000_000 + 60_000_000 * np.arange(len(close))
    store = BarStore(values, times, np.array([0, len(close)]), ("nq",), (None,), (None,), channels, independent=False)
    starts = np.arange(n) * LENGTH
    index = WindowIndex(starts, LENGTH, ZONE[1], ZONE, np.array([0]))
    numbers = np.arange(n)
    given = np.array(CLASSES)[numbers % 2]
    table = pl.DataFrame(
        {
            "window_id": [f"w{i:03d}" for i in numbers],
            "row": numbers,
            "given_label": given,
            "pred_label": np.array(CLASSES)[(numbers + (numbers % 3 == 0)) % 2],
            "label_quality": np.linspace(0.05, 0.95, n),
            "is_label_issue": numbers % 3 == 0,
            "priority": np.where(numbers % 3 == 0, 3, 0),
            "reason": np.where(numbers % 3 == 0, "issue", ""),
            "agreement": np.where(numbers % 5 == 0, 0.6, 1.0),
            "near_duplicate_of": ["w001" if i == 0 else None for i in numbers],
        }
    )
    queue = ReviewQueue(table)
    said = rng.dirichlet([1, 1], size=(n, 3)).astype(np.float32)
    vectors = shape_vectors(index.gather(values, numbers))
    ids = table["window_id"].to_list()
    space = LabelledSpace(vectors, starts, LENGTH, Neighbours.open(vectors, ids), "by shape")
    opinions = Opinions(("finetuned", "minirocket", "stack"), CLASSES, said)
    windows = ShownWindows(store, index, ids)
    return ReviewMaterial("test run", "run-1", CLASSES, windows, queue, opinions, space)


def decision_of(session: ReviewSession, window: str, number: int = 0, said: str = "accept", **more: Any) -> Decision:
    """What the page of a window would send."""
    name = hashlib.sha256(f"{session.journal.annotator}{number}".encode()).hexdigest()[:32]
    row, blind = session.row(session.material.queue.positions[window]), session.is_blind(window)
    shown: dict[str, Any] = {"given": None if blind else row.given_label, "blind": blind}
    shown["window_digest"] = window_digest(session.material.windows.bars(row.row))
    return Decision(**{"event_id": name, "window_id": window, "decision": said, **shown, **more})


@pytest.fixture
def decision() -> Callable[..., Decision]:
    """`decision_of`."""
    return decision_of


@pytest.fixture(scope="session")
def material() -> ReviewMaterial:
    return material_of()


@pytest.fixture
def session_of(material: ReviewMaterial, tmp_path: Path) -> Callable[..., ReviewSession]:
    """A session over the log of the test; `changed` replaces parts of the material."""

    def build(annotator: str = "ana", blind: float = 0.0, **changed: Any) -> ReviewSession:
        log = LabelLog(tmp_path / "events.jsonl")
        return ReviewSession(dataclasses.replace(material, **changed), Journal(log, annotator), blind)

    return build


@pytest.fixture
def serve(session_of: Callable[..., ReviewSession]) -> Iterator[Callable[..., SimpleNamespace]]:
    """Real servers, each in a thread: ``url``, ``log``, ``stop()``, ``port``."""
    running: list[Callable[[], None]] = []

    def start(port: int = 0, **options: Any) -> SimpleNamespace:
        session = session_of(**options)
        server = PageServer(create_app(session), "review", port=port, token=TOKEN)
        thread = threading.Thread(target=server.serve)
        thread.start()

        def stop() -> None:
            server.stop()
            thread.join(30)

        running.append(stop)
        return SimpleNamespace(url=server.url, port=server.port, stop=stop, log=session.journal.log, session=session)

    yield start
    for stop in running:
        stop()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that never met moola; at the end no page may have complained or asked another machine for anything."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    complaints: list[str] = []
    hosts: set[str] = set()
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", lambda said: None if _EXPECTED.search(said.text) else complaints.append(said.text))
    context.on("request", lambda request: hosts.add(request.url.split("/")[2].partition(":")[0]))
    yield context
    context.close()
    assert complaints == []
    assert hosts <= {"127.0.0.1", ""}


class Reviewer:
    """Somebody at the keyboard."""

    def __init__(self, page: Page, server: SimpleNamespace, query: str = "") -> None:
        self.page, self.server = page, server
        page.goto(server.url + query)
        page.wait_for_selector("article")

    @property
    def window(self) -> str | None:
        return self.page.evaluate("document.querySelector('article').dataset.window ?? null")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def until(self, script: str) -> None:
        """Wait until an expression is true in the page; not by the browser's own means, which its CSP forbids."""
        pause = "await new Promise((go) => setTimeout(go, 10))"
        loop = f"for (let i = 0; i < 1500; i++) {{ if ({script}) return true; {pause} }}"
        assert self.page.evaluate(f"async () => {{ {loop} }}"), f"never true: {script}"

    def at(self, window: str) -> None:
        self.until(f"document.querySelector('#window:not(.leaving)')?.dataset.window === '{window}'")

    def ask_again(self) -> None:
        """What the page does every few seconds, now."""
        self.page.evaluate("again()")

    def logged(self, n: int) -> list[LabelEvent]:
        """The log, as soon as it holds `n` events."""
        events = list(self.server.log.read().events)
        for _ in range(750):
            if len(events) >= n:
                break
            time.sleep(0.02)
            events = list(self.server.log.read().events)
        assert len(events) == n
        return events


@pytest.fixture
def reviewer(context: BrowserContext) -> Callable[..., Reviewer]:
    """Opens a tab and the first page."""
    return lambda server, query="": Reviewer(context.new_page(), server, query)
