"""A reviewer's whole way: doubtful labels, decisions by keyboard in a real browser, a version, the run on it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.labels.events import LabelLog
from moola.pipelines.run_artifacts import open_artifacts

pytestmark = pytest.mark.slow
N_DECISIONS = 20


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of Debian's browser."""
    page = chromium.new_page()
    yield page
    page.close()


def decide(page: Any, truth: dict[str, str]) -> list[str]:
    """Give the queue's first windows their true label by its digit; names of the windows."""
    seen: list[str] = []
    for _ in range(N_DECISIONS):
        article = page.locator("#window:not(.leaving)")
        seen.append(article.get_attribute("data-window"))
        page.keyboard.press(page.locator(f"[data-act=label][data-label='{truth[seen[-1]]}']").get_attribute("data-key"))
        page.locator(f"#window:not(.leaving):not([data-window='{seen[-1]}'])").wait_for()
    return seen


def test_twenty_decisions_by_keyboard_change_what_the_next_run_learns_from(
    finished: Any, make_moola: Any, tiny: tuple[str, ...], page: Any, tmp_path: Path
) -> None:
    moola, run, log = make_moola(finished.folder), finished.run_folder, tmp_path / "events.jsonl"
    labels = pl.read_parquet(open_artifacts(run)["splits"].path("labels.parquet"))
    served = moola.start("review", run.name, "--annotator", "ana", "--log", str(log), "--port", "0")
    deadline = time.monotonic() + 60
    while not (address := re.search(r"http://\S+", served.out)):
        assert time.monotonic() < deadline, served.err
        time.sleep(0.05)
    page.goto(address[0])
    seen = decide(page, dict(labels.select("window_id", "true_label").iter_rows()))
    page.locator("#decided", has_text=f"{N_DECISIONS} of {len(labels)}").wait_for()
    os.kill(served.process.pid, signal.SIGINT)
    assert served.wait().code == 0, served.err

    queue = pl.read_csv(run / "review_queue.csv").sort("rank")["window_id"].to_list()
    events = LabelLog(log).read().events
    assert [event.window_id for event in events] == seen == queue[:N_DECISIONS]
    planted = set(labels.filter("planted")["window_id"])
    assert {event.window_id for event in events if event.decision == "relabel"} == planted & set(seen)

    export = moola("labels", "export", run.name, "--log", str(log), "--data", str(tmp_path))
    assert export.code == 0, export.err
    after = moola("run", *tiny, f"task.corrections={export.out.splitlines()[-1]}")
    assert after.code == 0, after.err
    report = moola("labels", "report", run.name, after.run_folder.name, "--json")
    assert report.code == 0, report.err
    told = json.loads(report.out)
    assert told["planted"]["restored"] == len(planted & set(seen)) and told["planted"]["spoiled"] == 0
    judged = {(pair["split"], pair["a"]) for pair in told["figures"]["pairs"] if pair["figure_a"] and pair["figure_b"]}
    assert {("test", "logistic_regression"), ("oof", "logistic_regression")} <= judged
