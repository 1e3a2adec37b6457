"""`moola track sync` sends what is left, and believes nothing that a pod wrote about where to send it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.cli import main
from moola.layout import write_json, write_text
from moola.pipelines.rented import Rented, write_rented
from moola.tracking.journal import JOURNAL, Journal, read_calls
from moola.tracking.tracker import TrackedRun

POD = Rented("runpod", "p1", "A40", "EU", 0.4, 1, 3600.0, 0.4, 0.0, False, "b", None)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackedRun:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts" / "results" / "tiny-0123456789ab"
    write_json(folder / "manifest.json", {})
    config = {"name": "tiny", "tracker": {"tensorboard": {"folder": None}, "local": {}}}
    found = TrackedRun(folder.name, "tiny", folder, config)
    journal = Journal(folder)
    journal.append("start", run=found)
    journal.append("log_figures", series="s", step=1, figures={"x": 1.0}, time_s=0.0)
    journal.close()
    return found


def events(folder: Path) -> list[Path]:
    return list(folder.glob("*/*tfevents*"))


def test_all_runs_are_told_the_rest_once(run: TrackedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "sync"]) == 0
    assert capsys.readouterr().out == f"{run.run_id}  tensorboard: 2 calls sent\n"
    assert main(["track", "sync", run.run_id, "--tracker", "tensorboard"]) == 0
    assert capsys.readouterr().out == f"{run.run_id}  tensorboard: nothing was left to send\n"
    assert len(events(Path("artifacts/logs/tensorboard"))) == 1
    assert main(["track", "sync", "tracker=tensorboard", "tracker.tensorboard.folder=elsewhere"]) == 0


def test_what_cannot_be_sent_is_said(run: TrackedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "sync", "--tracker", "mlflow"]) == 3
    assert "has no tracker 'mlflow'" in capsys.readouterr().err
    assert main(["track", "sync", "tiny-01234567"]) == 3
    assert main(["track", "sync", "tracker.tensorboard.foldr=x", "tracker=tensorboard"]) == 2
    assert main(["track", "sync", "seeds=[0]"]) == 2
    assert "is no key of the section tracker" in capsys.readouterr().err
    (run.folder / JOURNAL).unlink()
    assert main(["track", "sync", run.run_id]) == 3
    assert "there is nothing to send" in capsys.readouterr().err


def test_a_run_from_a_pod_is_sent_where_its_owner_says(run: TrackedRun, capsys: pytest.CaptureFixture[str]) -> None:
    write_rented(run.folder, POD)
    assert main(["track", "sync"]) == 3
    assert "came from a pod" in capsys.readouterr().err and not events(Path("artifacts/logs/tensorboard"))
    assert main(["track", "sync", "tracker=tensorboard"]) == 0
    *_, last = read_calls(run.folder)
    assert last.arguments == {"figures": {"pod/cost_usd": 0.4, "pod/hours": 1.0, "pod/pods": 1}}


def test_a_journal_that_names_files_of_this_machine_sends_none_of_them(
    run: TrackedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path / "key.svg", "secret")
    (run.folder / "link.svg").symlink_to(tmp_path / "key.svg")
    with (run.folder / JOURNAL).open("a") as handle:
        for number, name in ((3, "../../../key.svg"), (4, str(tmp_path / "key.svg")), (5, "link.svg")):
            arguments = {"name": "a", "svg": name, "caption": ""}
            line = {"call": number, "time_s": 0.0, "method": "log_picture", "arguments": arguments, "files": {name: ""}}
            handle.write(json.dumps(line) + "\n")
        handle.write(json.dumps({"call": 6, "time_s": 0.0, "method": "__init__", "arguments": {"folder": "/"}}) + "\n")
    assert main(["track", "sync"]) == 0
    assert capsys.readouterr().err.count("is not below") == 3
    written = b"".join(path.read_bytes() for path in events(Path("artifacts/logs/tensorboard")))
    assert b"s/x" in written and b"pictures" not in written
