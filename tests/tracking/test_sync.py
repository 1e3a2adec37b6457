"""`moola track sync` sends what is left, and believes nothing that a pod wrote about where to send it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.cli import main
from moola.layout import artifacts_above, write_json, write_text
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

    there = ["track", "sync", "tracker=tensorboard", "tracker.tensorboard.folder=elsewhere"]
    assert main(there) == 0
    assert capsys.readouterr().out == f"{run.run_id}  tensorboard: 2 calls sent\n", "another place has none of it"
    assert len(events(Path("elsewhere"))) == 1
    assert main(there) == 0 == main(["track", "sync"])
    assert capsys.readouterr().out == f"{run.run_id}  tensorboard: nothing was left to send\n" * 2


@pytest.mark.parametrize("word", ["found", "searches/found", "artifacts/results/searches/found", None])
def test_a_search_is_told_the_rest_however_it_is_named(
    word: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts" / "results" / "searches" / "found"
    folder.mkdir(parents=True)
    journal = Journal(folder)
    config = {"tracker": {"tensorboard": {}}}
    journal.append("start", run=TrackedRun("found-0123", "found", folder, config, job="search"))
    journal.append("log_figures", series="search", step=0, figures={"best": 1.0}, time_s=0.0)
    journal.close()
    words = [] if word is None else [word]
    assert main(["track", "sync", *words, "--tracker", "tensorboard"]) == 0
    assert capsys.readouterr().out == "searches/found  tensorboard: 2 calls sent\n"
    assert len(events(Path("artifacts/logs/tensorboard"))) == 1
    assert {path.name for path in Path("artifacts").iterdir()} == {"results", "logs"}
    assert {path.name for path in Path("artifacts/results").iterdir()} == {"searches"}


def test_a_journal_may_name_files_of_all_artifacts_and_of_no_other_folder(tmp_path: Path) -> None:
    searches = tmp_path / "artifacts" / "results" / "searches"
    for folder in (searches / "found", searches.parent / "run-0123", searches):  # the last: a run of that name
        assert artifacts_above(folder) == tmp_path / "artifacts"
    assert artifacts_above(tmp_path / "home" / "searches" / "run-0123") == tmp_path / "home"


def test_a_position_that_is_damaged_is_none(run: TrackedRun, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("{", "[]", '{"delivered": 2}', '{"delivered": {"x": null}, "journal": 0}'):
        write_text(run.folder / "tracking" / "tensorboard.json", content)
        assert main(["track", "sync"]) == 0
        assert capsys.readouterr().out == f"{run.run_id}  tensorboard: 2 calls sent\n"


def test_lines_that_cannot_be_read_are_named(run: TrackedRun, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.folder / JOURNAL
    write_text(path, path.read_text() + '{"call": 3, bad/\n')
    assert main(["track", "sync"]) == 0
    told = capsys.readouterr()
    assert "2 calls sent" in told.out and f"{JOURNAL}: cannot be read, so nobody is told of line 3\n" in told.err


def test_what_cannot_be_sent_is_said(run: TrackedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "sync", run.run_id, "--tracker", "mlflow"]) == 3
    assert "has no tracker 'mlflow'" in capsys.readouterr().err
    assert main(["track", "sync", "--tracker", "mlflow"]) == 0, "no run that was named is without it"
    assert "no run in artifacts/results was to tell mlflow" in capsys.readouterr().out
    assert main(["track", "sync", "--artifacts", "nowhere"]) == 0
    assert "no run in nowhere/results was to tell a tracker" in capsys.readouterr().out
    for words, near in (
        (["sync", "--tracker", "mlfow"], "did you mean 'mlflow'?"),
        (["sync", "tracker=[wandb,mlfow]"], "did you mean 'mlflow'?"),
        (["sync", "tracker=mlflow", "tracker.mlflow.ur=x"], "did you mean 'tracker.mlflow.uri'?"),
        (["sync", "tracker=null"], "did you mean 'tracker=none'?"),
        (["snc"], "did you mean 'sync'?"),
    ):
        assert main(["track", *words]) == 2
        assert near in capsys.readouterr().err
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
    said = capsys.readouterr().err
    assert "came from a pod" in said and f"moola track sync {run.run_id} tracker=tensorboard" in said
    assert not events(Path("artifacts/logs/tensorboard"))
    assert main(["track", "sync", "tracker=tensorboard"]) == 0
    *_, start, rent, finish = read_calls(run.folder)
    assert rent.arguments == {"figures": {"pod/cost_usd": 0.4, "pod/hours": 1.0, "pod/pods": 1}}
    assert (start.method, finish.arguments) == ("start", {"status": "interrupted"}), "it was killed"
    capsys.readouterr()
    assert main(["track", "sync"]) == 0
    assert capsys.readouterr().out == f"{run.run_id}  tensorboard: nothing was left to send\n"


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
