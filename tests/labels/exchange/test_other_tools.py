"""cleanlab's table and Label Studio's tasks: out and back, and what cannot be taken is told."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.errors import DataError
from moola.labels.exchange import cleanlab_csv, label_studio

TABLE = pl.DataFrame(
    {
        "window_id": ["w1", "w0"],
        "given_label": ["1", "2"],
        "pred_label": ["2", "2"],
        "prob_1": [0.25, 0.1],
        "prob_2": [0.75, 0.9],
        "label_quality": [0.25, 0.9],
        "is_label_issue": [True, False],
    }
)


def test_a_table_in_cleanlabs_layout_comes_back_as_it_went_and_flags_are_notes(tmp_path: Path) -> None:
    path = tmp_path / "label_issues.csv"
    cleanlab_csv.write(path, TABLE.with_columns(rank=1))
    assert path.read_text().splitlines()[0] == ",".join(TABLE.columns)
    assert cleanlab_csv.read_table(path).equals(TABLE)
    (note,) = cleanlab_csv.read(path)
    assert (note.decision, note.window_id, note.label, note.annotator) == ("note", "w1", None, "cleanlab")
    assert note.note == "doubtful: 2 would fit, label quality 0.250"
    path.write_text(path.read_text().replace("true", "True").replace("false", "False"))  # as pandas writes it
    assert cleanlab_csv.read_table(path).equals(TABLE)


def test_a_table_of_another_layout_is_refused_with_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "label_issues.csv"
    TABLE.drop("label_quality").with_columns(pred_label=pl.lit("3")).write_csv(path)
    with pytest.raises(DataError, match="window_id, given_label, pred_label, prob_CLASS") as caught:
        cleanlab_csv.read_table(path)
    assert "'label_quality': is missing" in caught.value.why and "'pred_label': isin" in caught.value.why


def annotated(task: dict[str, Any], choice: str | None, **changes: Any) -> dict[str, Any]:
    """A task as Label Studio exports it once somebody answered."""
    chosen = {"from_name": "label", "to_name": "bars", "type": "choices", "value": {"choices": [choice]}}
    annotation = {
        "result": [chosen] if choice else [],
        "was_cancelled": False,
        "created_at": "2026-01-02T03:04:05.513742Z",
        "lead_time": 4.288,
        "completed_by": {"id": 7, "email": "ann@example.com"},
    }
    return {**task, "id": 1, "annotations": [{**annotation, **changes}]}


@pytest.fixture
def tasks(tmp_path: Path) -> list[dict[str, Any]]:
    table = TABLE.with_columns(close=pl.Series([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    label_studio.write(tmp_path / "tasks.json", table, ("close",), ("1", "2"))
    return json.loads((tmp_path / "tasks.json").read_text())


def test_tasks_hold_the_bars_and_what_the_models_say(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    assert [task["data"]["window_id"] for task in tasks] == ["w1", "w0"]
    assert tasks[0]["data"]["bars"] == {"close": [1.0, 2.0, 3.0]} and tasks[0]["data"]["given_label"] == "1"
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == 0.75 and prediction["result"][0]["value"] == {"choices": ["2"]}
    view = ElementTree.parse(tmp_path / "tasks.xml").getroot()
    names = {one.get("name") for one in view.iter() if one.get("name")}
    assert {prediction["result"][0][key] for key in ("from_name", "to_name")} <= names
    assert [one.get("value") for one in view.iter("Choice")] == ["1", "2"]
    assert [one.get("column") for one in view.iter("Channel")] == ["close"]


def test_answers_become_events_of_who_gave_them(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    marked = {"type": "timeserieslabels", "value": {"start": 0.2, "end": 1.9, "timeserieslabels": ["span"]}}
    relabelled = annotated(tasks[0], "2")
    relabelled["annotations"][0]["result"].append(marked)
    answers = [relabelled, annotated(tasks[1], "2"), annotated(tasks[1], None, was_cancelled=True, completed_by=3)]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(answers))
    first, second, third = label_studio.read(path, ("1", "2"))
    assert (first.decision, first.given, first.label, first.start, first.end) == ("relabel", "1", "2", 0, 2)
    assert (first.annotator, first.seconds, first.source) == ("ann@example.com", 4.288, "import:export.json")
    assert (second.decision, second.label) == ("accept", "2")
    assert (third.decision, third.annotator) == ("skip", "label_studio_3")


def test_answers_that_cannot_be_taken_are_told_in_one_go(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    nameless = annotated({"data": {}}, "1")
    path = tmp_path / "export.json"
    path.write_text(json.dumps([annotated(tasks[0], "up"), annotated(tasks[1], None), nameless]))
    with pytest.raises(DataError) as caught:
        label_studio.read(path, ("1", "2"))
    assert "1 choices that are no class: w1: 'up'; known: 1, 2" in caught.value.why
    assert "1 annotations without just one choice: w0: none" in caught.value.why
    assert "1 tasks without a window_id: task 1" in caught.value.why
    path.write_text("{}")
    with pytest.raises(DataError, match="it holds no list of tasks"):
        label_studio.read(path)
