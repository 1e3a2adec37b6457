"""`moola labels issues` of a finished run: the head of the queue, the counts, and files for other tools."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.commands.label_commands.issues import main
from moola.errors import ConfigError, DataError, StorageError
from moola.layout import write_json


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """An artifacts folder with one run, as far as the command reads it."""
    run = tmp_path / "artifacts" / "results" / "market-1"
    run.mkdir(parents=True)
    said = {"given_label": ["1", "2", "2"], "pred_label": ["2", "1", "2"]}
    judged = {"label_quality": [0.1, 0.2, 0.9], "is_label_issue": [True, False, False]}
    ids = ["w1", "w0", "w2"]
    chances = {"prob_1": [0.1, 0.8, 0.1], "prob_2": [0.9, 0.2, 0.9]}
    pl.DataFrame({"window_id": ids, **said, **chances, **judged}).write_csv(run / "label_issues.csv")
    reasons = ["issue", "", "outlier"]
    queue = {"window_id": ids, "rank": [1, 2, 3], "priority": [3, 0, 1], "reason": reasons, **said, **judged}
    agreement = {"agreement": [1.0, 0.5, 1.0], "near_duplicate_of": ["w9", None, None]}
    pl.DataFrame({**queue, **agreement}).write_csv(run / "review_queue.csv")
    told = {"models": {"random_forest": 0.75, "minirocket": 0.25}, "left_out": {}, "judged": 3, "flagged": 1}
    priorities = {"3": 1, "2": 0, "1": 1, "0": 1}
    write_json(run / "consensus.json", {**told, "flagged_interval": [0.2, 2.4], "priorities": priorities})
    write_json(run / "manifest.json", {"run_id": "market-1", "status": "finished", "stages": []})
    return tmp_path / "artifacts"


def test_a_person_sees_the_head_of_the_queue_and_who_judged(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["market-1", "--artifacts", str(artifacts), "--head", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "3", "w1", "1", "2", "0.100", "100%", "issue"]
    assert lines[2].split() == ["2", "0", "w0", "2", "1", "0.200", "50%", "-"]
    assert lines[4].startswith("1 of 3 labels are flagged (95 % interval 0 to 2); 1 of priority 3")
    assert lines[5] == "judged by random_forest 75%, minirocket 25%"
    assert lines[-1] == str(artifacts / "results" / "market-1")


def test_a_program_gets_json_and_cleanlab_its_table_in_the_order_of_review(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "issues.csv"
    assert main(["market-1", "--artifacts", str(artifacts), "--json", "--to", str(out), "--first", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["window_id"] for row in told["queue"]] == ["w1", "w0", "w2"]
    assert told["flagged"] == 1 and Path(told["files"]["review_queue.csv"]).is_file()
    lines = out.read_text().splitlines()
    assert lines[0] == "window_id,given_label,pred_label,prob_1,prob_2,label_quality,is_label_issue"
    assert [line.split(",")[0] for line in lines[1:]] == ["w1", "w0"]


def test_what_cannot_be_shown_is_told_with_the_way_out(artifacts: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'market-1'"):
        main(["market-2", "--artifacts", str(artifacts)])
    with pytest.raises(ConfigError, match="name one run, or give overrides"):
        main(["market-1", "seeds=[0]", "--artifacts", str(artifacts)])
    with pytest.raises(ConfigError, match=r"--head: -1[\s\S]*--first: says how many"):
        main(["market-1", "--head", "-1", "--first", "3"])
    queue = artifacts / "results" / "market-1" / "review_queue.csv"
    for content in ("a,b\n", "", "window_id,rank\nw1,first,second,third\n"):
        queue.write_text(content)
        with pytest.raises(StorageError, match=r"review_queue\.csv is no review queue") as caught:
            main(["market-1", "--artifacts", str(artifacts)])
        assert caught.value.way_out
    queue.unlink()
    with pytest.raises(StorageError, match=r"it has no review_queue\.csv"):
        main(["market-1", "--artifacts", str(artifacts)])
    with pytest.raises(StorageError, match=r"there is no finished run with review_queue\.csv"):
        main(["--artifacts", str(artifacts)])


def test_without_words_it_is_the_last_run_that_has_a_queue(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = artifacts / "results" / "market-2"
    later.mkdir()
    for run, day in ((artifacts / "results" / "market-1", 1), (later, 2)):
        write_json(run / "manifest.json", {"run_id": run.name, "status": "finished", "finished": f"2026-01-0{day}"})
    assert main(["--artifacts", str(artifacts)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(artifacts / "results" / "market-1")


def test_the_way_out_of_a_run_without_a_queue_works(finished: Any, make_moola: Any, tiny: tuple[str, ...]) -> None:
    moola = make_moola(finished.folder)
    short = moola("windows", *tiny).run_folder
    refused = moola("labels", "issues", str(short))
    assert refused.code == 4 and "does not say which labels are doubtful" in refused.err
    words = shlex.split(refused.err.rpartition("-> moola ")[2])
    done = moola(*words, "--head", "1")
    assert done.code == 0, done.err
    assert (done.run_folder / "review_queue.csv").is_file()
