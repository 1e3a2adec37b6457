"""Files of decisions: what was imported before changes nothing when it comes again, grown, copied or better told."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.cli import main
from moola.errors import DataError
from moola.labels.batch_files import write_batch
from moola.labels.events import LabelEvent, LabelLog
from moola.labels.exchange import cleanlab_csv
from moola.labels.exchange.batch_json import read
from moola.labels.folding import fold, in_effect
from moola.labels.imports import completing, read_decisions, recognise

HEAD = "window_id,corrected_label,corrected_start,corrected_end\n"


def test_a_grown_file_adds_its_new_rows_and_later_decisions_hold(tmp_path: Path) -> None:
    path, log = tmp_path / "corrections.csv", LabelLog(tmp_path / "events.jsonl")
    path.write_text(HEAD + "w_1,up,2,4\nw_2,down,,\n")
    log.append(*read_decisions(path, "corrections", "ada"))
    log.append(LabelEvent(decision="relabel", window_id="w_1", annotator="ada", label="flat"))
    path.write_text(HEAD + "w_3,up,,\nw_1,up,2.0,4.0\nw_2,down,,\n")  # pandas writes whole numbers so beside gaps
    log.append(*read_decisions(path, "corrections", "ada"))
    events = log.read().events
    assert [event.window_id for event in events] == ["w_1", "w_2", "w_1", "w_3"]
    assert fold(events)["w_1"].label == "flat"
    log.append(*read_decisions(path, "corrections", "bob"))  # another person says the same
    assert fold(log.read().events)["w_2"].annotators == {"ada": "down", "bob": "down"}


def test_the_last_row_about_a_window_counts_also_where_it_says_what_an_earlier_one_said(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(HEAD + "w,up,,\nw,down,,\nw,up,,\n")
    events = [*read_decisions(path, "corrections", "ada"), *read_decisions(path, "corrections", "ada")]
    assert len({event.event_id for event in events}) == 3
    assert fold(events[:3])["w"].label == "up"


def test_a_copy_of_label_issues_has_the_same_notes(tmp_path: Path) -> None:
    row = {"window_id": ["w"], "given_label": ["a"], "pred_label": ["b"], "prob_a": [0.1], "prob_b": [0.9]}
    path = tmp_path / "label_issues.csv"
    cleanlab_csv.write(path, pl.DataFrame({**row, "label_quality": [0.1], "is_label_issue": [True]}))
    copy = Path(shutil.copy(path, tmp_path / "copy.csv"))
    os.utime(copy, (0, 0))
    assert [event.event_id for event in cleanlab_csv.read(copy)] == [
        event.event_id for event in cleanlab_csv.read(path)
    ]


def test_an_import_that_says_which_bars_completes_one_that_did_not_and_overrides_nobody() -> None:
    def told(name: str, at: int, **fields: Any) -> LabelEvent:
        said = {"decision": "relabel", "window_id": name, "annotator": "ada", "label": "up", "source": "import:x"}
        return LabelEvent(event_id=f"id_{name}", at=f"2026-01-0{at}T00:00:00Z", **{**said, **fields})

    old = [told("w", 1, note="odd"), told("v", 1), told("u", 1)]
    since = [
        LabelEvent(decision="skip", window_id="v", annotator="ada", at="2026-01-02T00:00:00Z"),
        LabelEvent(decision="undo", window_id="u", annotator="ada", undoes="id_u", at="2026-01-02T00:00:00Z"),
    ]
    again = [dataclasses.replace(one, window_digest="d" * 16, series="s", at="2026-01-03T00:00:00Z") for one in old]
    log = [*old, *since]
    log += [event for event in completing(again, log) if event.event_id not in {one.event_id for one in log}]
    states = fold(log)
    assert (states["w"].window_digest, states["w"].series, states["w"].notes) == ("d" * 16, "s", ("odd",))
    assert states["v"].decision == "skip" and "u" not in states
    assert completing(again, log) == again and completing(old, log) == old  # whichever comes next changes nothing
    mended = next(event for event in in_effect(log) if event.window_id == "w")
    undo = LabelEvent(decision="undo", window_id="w", annotator="ada", undoes=mended.event_id)
    assert "w" not in fold([*log, undo])


@pytest.mark.parametrize("zone", [(10, 30), (30, 75)])
def test_a_template_that_was_filled_in_is_recognised_and_read_by_its_own_zone(
    tmp_path: Path, zone: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_batch(tmp_path, "batch_0001", pl.DataFrame({"window_id": ["w_1", "w_2"]}), {}, zone)
    path = tmp_path / "batch_0001.json"
    content = json.loads(path.read_text())
    span = {"type": "up", "start_bar": zone[0], "end_bar": zone[1] - 1, "quality": "A"}
    said = {"window_quality": "B", "timestamp": "2026-01-02T03:04:05Z", "annotator_id": "ann"}
    content["annotations"][0] |= {**said, "expansions": [span]}
    path.write_text(json.dumps(content))
    assert recognise(path) == "candlesticks"
    assert main(["labels", "import", str(path), "--log", str(tmp_path / "log.jsonl"), "--annotator", "a"]) == 0
    assert "candlesticks: 1 events, 0 of them in the log already\nnew: 1 relabel" in capsys.readouterr().out
    del content["zone"]
    path.write_text(json.dumps(content))
    (event,) = read_decisions(path, "candlesticks", "a", zone=zone)
    assert (event.label, event.start, event.end) == ("up", zone[0], zone[1] - 1)
    path.write_text(json.dumps({**content, "zone": "all"}))
    with pytest.raises(DataError, match="its zone is 'all'"):
        read(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "it is empty"),
        ("window_id;corrected_label\nw;up\n", "its cells are separated by ';'"),
        ("window,label\nw,up\n", "its columns are window, label; "),
        ("[1]", "its keys are those of no JSON"),
    ],
)
def test_what_a_file_holds_in_place_of_decisions_is_told(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "fixes.csv"
    path.write_text(content)
    with pytest.raises(DataError, match="no file of decisions that moola knows") as caught:
        recognise(path)
    assert told in caught.value.why
    if "columns" in told:
        assert "- corrections: window_id, corrected_label" in caught.value.why
    with pytest.raises(DataError, match=r"empty|separated by ';'|'corrected_label' is missing"):
        read_decisions(path, "corrections", "ada")


def test_of_several_spans_the_best_counts_and_the_others_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spans = [{"type": "up", "start_bar": 31 + bar, "end_bar": 40, "quality": "A"} for bar in range(2)]
    said = {"window_id": "w", "window_quality": "B", "timestamp": "2026-01-02T03:04:05Z", "annotator_id": "ann"}
    path, log = tmp_path / "batch.json", tmp_path / "log.jsonl"
    path.write_text(json.dumps([{**said, "expansions": spans}]))
    assert main(["labels", "import", str(path), "--log", str(log), "--annotator", "a"]) == 0
    (event,) = LabelLog(log).read().events
    assert (event.start, event.note) == (31, "grade B; also marked: up 32 to 40 (A)")
    assert "of several spans in a window" in capsys.readouterr().err
