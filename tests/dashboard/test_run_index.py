"""The index says what the folders say, whatever happens to them, to it, and at the same time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.dashboard.run_index import RunIndex
from moola.testing.run_folders import write_run_folder, write_run_folders

GIVEN = "finetuned/given/balanced_accuracy"
_STEP = st.tuples(
    st.sampled_from(
        ["finished", "running", "failed", "torn", "foreign", "gone", "no index", "half index", "new index"]
    ),
    st.integers(0, 2),
)


def _do(action: str, place: int, results: Path, path: Path) -> None:
    folder = results / f"run-{place}"
    if action == "no index":
        path.unlink(missing_ok=True)
    elif action == "half index":
        path.write_bytes(b"SQLite format 3\0 and then nothing of it" * 40)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        if action in ("finished", "running", "failed"):
            write_run_folder(results, folder.name, status=action, number=place)
        elif action == "torn":
            write_run_folder(results, folder.name)
            (folder / "manifest.json").write_text('{"run_id": "run')
        elif action == "foreign":
            folder.mkdir(parents=True)


def _all(index: RunIndex) -> tuple[Any, ...]:
    return index.entries, index.figures(GIVEN), index.settings("encoder.hidden")


@settings(max_examples=8)
@given(st.lists(_STEP, min_size=1, max_size=6))
def test_an_index_that_was_kept_says_what_a_new_one_would(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        results, path = Path(place, "artifacts", "results"), Path(place, "artifacts", "metadata", "runs.sqlite")
        kept = RunIndex(results, path)
        for action, number in steps:
            if action in ("no index", "half index", "new index"):
                kept.close()
            _do(action, number, results, path) if action != "new index" else None
            if action in ("no index", "half index", "new index"):
                kept = RunIndex(results, path)
            kept.refresh()
            fresh = RunIndex(results, None)
            fresh.refresh()
            assert _all(kept) == _all(fresh)
            assert not kept.refresh(), "nothing has changed"
            fresh.close()
        kept.close()


def test_what_was_read_is_not_read_again(results: Path, index_of: Callable[..., RunIndex]) -> None:
    write_run_folders(results, 3)
    index_of()
    for path in results.glob("*/metrics.json"):
        path.unlink()
    assert len(index_of().figures("finetuned/test/log_loss")) == 3
    (results / "many-000000000001" / "manifest.json").touch()
    index = index_of()
    assert index.entries["many-000000000001"].why == "metrics.json is missing"
    assert len(index.figures("finetuned/test/log_loss")) == 2


def test_an_index_is_kept_from_the_first_run_on(results: Path, index_of: Callable[..., RunIndex]) -> None:
    index, path = index_of(), results.parent / "metadata" / "runs.sqlite"
    assert not path.parent.exists()
    write_run_folders(results, 1)
    assert index.refresh() and path.is_file() and len(index.entries) == 1


def test_a_pipe_in_place_of_a_manifest_holds_nobody_up(results: Path, index_of: Callable[..., RunIndex]) -> None:
    for name in ("manifest.json", "config.yaml", "metrics.json"):
        path = write_run_folder(results, name.partition(".")[0]) / name
        path.unlink()
        os.mkfifo(path)
    found = index_of().entries
    assert {entry.status for entry in found.values()} == {"broken"}
    assert all("it is no file" in entry.why for entry in found.values())


def test_every_kind_of_folder_is_told_and_breaks_nothing(results: Path, index_of: Callable[..., RunIndex]) -> None:
    for status in ("finished", "failed", "interrupted"):
        write_run_folder(results, status, status=status)
    (write_run_folder(results, "list") / "manifest.json").write_text("[]")
    (write_run_folder(results, "deep") / "manifest.json").write_text("[" * 100_000)
    (write_run_folder(results, "yaml") / "config.yaml").write_text("a: [")
    (write_run_folder(results, "figures") / "metrics.json").write_text('[{"model": 1}]')
    write_run_folder(results, "status", status="fine")
    (results / "empty").mkdir()
    (results / "link").symlink_to("nowhere")
    (results / "file").write_text("")
    for name, page in (("compare-a-b", "compare.html"), ("bench-x", "bench.json")):
        (results / name).mkdir()
        (results / name / page).write_text("")
    (results / "sweeps").mkdir()
    found = {name: entry.status for name, entry in index_of().entries.items()}
    broken = dict.fromkeys(("list", "deep", "yaml", "figures", "status"), "broken")
    assert found == {
        "finished": "finished",
        "failed": "failed",
        "interrupted": "interrupted",
        "empty": "foreign",
        **broken,
    }
    assert "encoder.hidden" in index_of().keys("setting")


_HOLDER = """
import fcntl, sys, time
handle = open(sys.argv[1], "w")
fcntl.flock(handle, fcntl.LOCK_EX)
print("has it", flush=True)
time.sleep(60)
"""


def test_a_run_whose_process_was_killed_has_stopped(results: Path, index_of: Callable[..., RunIndex]) -> None:
    folder = write_run_folder(results, "run-1", status="running")
    write_run_folder(results, "on-pod", status="running")
    (results / "on-pod" / "pod.json").write_text(json.dumps({"under_way": True, "cost_usd": 1.25}))
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(folder / ".lock")], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    index = index_of()
    assert index.entries["run-1"].status == "running"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert index.refresh()
    assert index.entries["run-1"].status == "stopped" and "killed" in index.entries["run-1"].why
    assert (index.entries["on-pod"].status, index.entries["on-pod"].cost_usd) == ("running", 1.25)
    (results / "on-pod" / "pod.json").write_text(json.dumps({"under_way": False, "cost_usd": 2.5}))
    assert index.refresh()
    assert (index.entries["on-pod"].status, index.entries["on-pod"].cost_usd) == ("stopped", 2.5)


def test_a_run_that_has_only_begun_is_read_until_it_has_a_configuration(
    results: Path, index_of: Callable[..., RunIndex]
) -> None:
    (results / "early").mkdir(parents=True)
    (results / "early" / ".lock").touch()
    index = index_of()
    assert index.entries["early"].status == "stopped"
    shutil.rmtree(results / "early")
    config = (write_run_folder(results, "early", status="running", files={}) / "config.yaml").read_text()
    (results / "early" / "config.yaml").unlink()
    index.refresh()
    assert not index.settings("encoder.hidden")
    (results / "early" / "config.yaml").write_text(config)
    manifest = json.loads((results / "early" / "manifest.json").read_text())
    (results / "early" / "manifest.json").write_text(json.dumps(manifest | {"files": {"config.yaml": "0"}}))
    index.refresh()
    assert index.settings("encoder.hidden") == {"early": 8}


def test_several_may_use_the_file_at_once(results: Path, index_of: Callable[..., RunIndex]) -> None:
    write_run_folders(results, 60)
    path = results.parent / "metadata" / "runs.sqlite"

    def use(number: int) -> int:
        index = RunIndex(results, path)
        for _ in range(3):
            index.refresh()
            if number == 0:
                (results / "many-000000000000" / "manifest.json").touch()
        found = len(index.entries), len(index.figures(GIVEN)), len(index.settings("encoder.hidden"))
        index.close()
        return found[0] if len(set(found)) == 1 else -1

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(use, range(4))) == {60}
    assert len(index_of().entries) == 60


def test_an_index_that_cannot_be_written_is_kept_in_memory(results: Path, index_of: Callable[..., RunIndex]) -> None:
    write_run_folders(results, 2)
    (results.parent / "metadata").write_text("a file stands where the folder belongs")
    assert len(index_of().entries) == 2


def test_an_index_that_is_torn_under_way_is_made_again(results: Path, index_of: Callable[..., RunIndex]) -> None:
    write_run_folders(results, 3)
    index = index_of()
    path = results.parent / "metadata" / "runs.sqlite"
    with path.open("r+b") as handle:
        handle.truncate(5000)
        handle.seek(100)
        handle.write(os.urandom(4000))
    write_run_folder(results, "later")
    index.refresh()
    assert len(index.entries) == 4 and len(index.figures(GIVEN)) == 4


def test_the_first_reading_of_many_is_announced(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moola.dashboard.run_index._AT_ONCE", 3)
    write_run_folders(results, 7)
    told: list[int] = []
    index = RunIndex(results, None, told.append)
    assert index.refresh() and not index.refresh()
    assert told == [7] and len(index.figures(GIVEN)) == 7
    index.close()
