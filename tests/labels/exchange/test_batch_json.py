"""Annotation batches: what is in them becomes events, all that is wrong is told at once, nobody wins a conflict."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.errors import DataError
from moola.labels.exchange.batch_json import read, read_annotations
from moola.labels.exchange.batch_merging import merge
from moola.labels.folding import fold
from moola.layout import read_json

CLASSES = ("consolidation", "retracement")


def span(kind: str = "retracement", start: int = 35, end: int = 50, quality: str = "A") -> dict[str, Any]:
    return {"type": kind, "start_bar": start, "end_bar": end, "quality": quality}


def said(window_id: str, *spans: dict[str, Any], **changes: Any) -> dict[str, Any]:
    good = {"window_id": window_id, "annotation_version": 1, "window_quality": "B", "expansions": list(spans)}
    return {**good, "notes": "", "timestamp": "2026-01-02T03:04:05Z", "annotator_id": "ann", **changes}


def batch(folder: Path, *annotations: dict[str, Any], name: str = "batch.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"batch": 1, "annotations": annotations}))
    return path


def test_annotations_become_events(tmp_path: Path) -> None:
    path = batch(
        tmp_path,
        said("1_exp_1", span("consolidation", quality="C"), span("retracement", 40, 74, "A"), notes="late"),
        said("2_exp_1", window_quality="D", timestamp="2026-01-02T05:04:05+02:00"),
        said("3_exp_1"),
        said("4_exp_1", window_quality=None),
    )
    labelled, rejected, noted = read(path, classes=CLASSES)
    assert (labelled.decision, labelled.label, labelled.start, labelled.end) == ("relabel", "retracement", 40, 74)
    assert (
        labelled.note == "grade B: late; also marked: consolidation 35 to 50 (C)"
        and labelled.source == "import:batch.json"
    )
    assert (rejected.decision, rejected.window_id, rejected.at[:19]) == ("blacklist", "2_exp_1", "2026-01-02T03:04:05")
    assert noted.decision == "note" and "nothing marked" in noted.note
    assert fold([labelled, *read(path)])["1_exp_1"].label == "retracement"
    assert [event.event_id for event in read(path)] == [event.event_id for event in read(path)]


def test_all_that_is_wrong_is_told_in_one_go(tmp_path: Path) -> None:
    bad = batch(
        tmp_path,
        said("w1", span("retracment")),
        said("w2", span(start=29), span(start=60, end=60), span(end=75)),
        said("w3", window_quality="E"),
        said("w4", timestamp="yesterday"),
        said("w5", span("consolidation"), span("retracement")),
        {**said("w6"), "anotator": "x"},
        said("w7"),
        said("w7"),
    )
    torn = tmp_path / "torn.json"
    torn.write_text("[")
    with pytest.raises(DataError) as caught:
        read_annotations([bad, torn, tmp_path / "none.json"], classes=CLASSES)
    why = caught.value.why
    assert "batch.json: 1 spans of a kind that is no class: w1: retracment" in why and "'retracement'" in why
    assert "3 spans that are not two bars inside [30, 74]" in why
    assert "w3: 'E'" in why and "w4: 'yesterday'" in why
    assert "1 windows whose best spans are of several kinds: w5: consolidation, retracement" in why
    assert "w6: 'anotator'; did you mean 'annotator_id'" in why
    assert "torn.json: it is no JSON" in why and "none.json: it cannot be read" in why


def test_one_person_twice_with_one_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 annotations given twice: w7 by ann, version 1"):
        read(batch(tmp_path, said("w7"), said("w7")))


def test_merging_keeps_the_latest_of_each_person_and_decides_no_conflict(tmp_path: Path) -> None:
    first = batch(
        tmp_path,
        said("same", span()),
        said("label", span()),
        said("span", span(start=35)),
        said("rejected", window_quality="D"),
        said("changed", span()),
        said("bad", window_quality="D"),
        name="a.json",
    )
    second = batch(
        tmp_path,
        said("same", span(start=37), annotator_id="bob", window_quality="A"),
        said("label", span("consolidation"), annotator_id="bob"),
        said("span", span(start=39), annotator_id="bob"),
        said("rejected", span(), annotator_id="bob"),
        said("changed", span("consolidation"), annotation_version=2),
        name="b.json",
    )
    merged = merge(read_annotations([first, second]))
    assert dict(merged.conflicts.select("window_id", "over").iter_rows()) == {
        "label": "label",
        "rejected": "rejected",
        "span": "span",
    }
    assert {one.window_id: (one.label, one.annotator) for one in merged.merged} == {
        "bad": (None, "ann"),
        "changed": ("consolidation", "ann"),
        "same": ("retracement", "bob"),
    }
    merged.write(tmp_path / "out")
    assert read_json(tmp_path / "out" / "merged.json")["zone"] == [30, 75]
    index = pl.read_csv(tmp_path / "out" / "master_index.csv")
    assert len(index) == 11
    assert sorted(index.filter(pl.col("window_id") == "changed")["status"]) == ["merged", "superseded"]
    assert index.filter(pl.col("window_id") == "bad")["status"].to_list() == ["rejected"]
    again = merge(read_annotations([tmp_path / "out" / "merged.json"]))
    assert [(one.window_id, one.spans) for one in again.merged] == [(one.window_id, one.spans) for one in merged.merged]


def test_the_script_says_who_differs_about_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = batch(tmp_path, said("w", span()), said("w", span("consolidation"), annotator_id="bob"))
    script = Path(__file__).parents[3] / "scripts" / "data" / "merge_candlesticks_annotations.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr().out.splitlines()
    assert ended.value.code == 3 and told[-1] == str(tmp_path / "out")
    assert told[0].startswith("w: they differ about the label: ann: retracement 35 to 50 (grade B); bob: consolidation")
