"""Label Studio's tasks (https://labelstud.io/guide/task_format): windows go out as series, choices come back.

The series has no time column, so that Label Studio counts bars and the ends of a marked span are bars of the window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import polars as pl

from moola.data.sources.problems import Problems, refuse
from moola.errors import did_you_mean
from moola.labels.events import LabelEvent
from moola.labels.exchange import imported, read_json_file, utc
from moola.layout import write_json, write_text

_TOLD = ("given_label", "label_quality", "priority", "reason", "rank")
"""Columns that an annotator sees beside the series, where the table has them."""


def labeling_config(classes: Sequence[str], channels: Sequence[str]) -> str:
    """The labeling interface of a project for such tasks: one choice a window, and at most one marked span."""
    choices = "".join(f"\n    <Choice value={quoteattr(name)}/>" for name in classes)
    lines = "".join(f"\n    <Channel column={quoteattr(name)}/>" for name in channels)
    return f"""\
<View>
  <Header value="$window_id"/>
  <TimeSeriesLabels name="span" toName="bars">
    <Label value="span"/>
  </TimeSeriesLabels>
  <TimeSeries name="bars" valueType="json" value="$bars">{lines}
  </TimeSeries>
  <Choices name="label" toName="bars" choice="single" required="true">{choices}
  </Choices>
</View>
"""


def write(path: Path, table: pl.DataFrame, channels: Sequence[str], classes: Sequence[str]) -> None:
    """Write tasks, and the labeling interface beside them as ``.xml``.

    Args:
        path: the JSON file, replaced if it is there.
        table: ``window_id``, the channels as lists of numbers [n_bars], and where they are known ``pred_label`` with
            ``prob_*`` (which become a prediction), ``given_label``, ``label_quality``, ``priority``, ``reason``.
        channels: columns that hold the bars.
        classes: choices, in order.
    """
    write_json(path, [_task(row, channels) for row in table.iter_rows(named=True)])
    write_text(path.with_suffix(".xml"), labeling_config(classes, channels))


def _task(row: Mapping[str, Any], channels: Sequence[str]) -> dict[str, Any]:
    told = {name: row[name] for name in _TOLD if row.get(name) is not None}
    data = {"window_id": row["window_id"], **told, "bars": {name: row[name] for name in channels}}
    if row.get("pred_label") is None:
        return {"data": data}
    choice = {"from_name": "label", "to_name": "bars", "type": "choices", "value": {"choices": [row["pred_label"]]}}
    prediction = {"model_version": "moola", "score": row.get(f"prob_{row['pred_label']}"), "result": [choice]}
    return {"data": data, "predictions": [prediction]}


def read(path: Path, classes: Sequence[str] | None = None) -> list[LabelEvent]:
    """Every annotation of every task as an event; the choice that was given already is an ``accept``.

    A cancelled annotation is a ``skip``. Predictions are nobody's decision and are not read.

    Args:
        path: Label Studio's JSON export.
        classes: labels there may be; None: any.

    Raises:
        DataError: it is none, or something in it cannot be an event; all in one go.
    """
    problems = Problems()
    tasks = read_json_file(path, problems)
    if not problems and not (isinstance(tasks, list) and all(isinstance(task, dict) for task in tasks)):
        problems.say("it holds no list of tasks", "export the project as JSON (not JSON-MIN)")
    events = [] if problems else [event for task in tasks for event in _events(path, task, classes, problems)]
    refuse(f"the annotations in {path} cannot be used", problems)
    return events


def _events(
    path: Path, task: Mapping[str, Any], classes: Sequence[str] | None, problems: Problems
) -> Iterator[LabelEvent]:
    data, place = task.get("data") or {}, f"task {task.get('id', '?')}"
    window_id = data.get("window_id")
    if not isinstance(window_id, str) or not window_id:
        problems.count("tasks without a window_id", place, "tasks need data.window_id, as moola writes them")
        return
    for annotation in task.get("annotations") or ():
        found = _event(path, window_id, data.get("given_label"), annotation, classes, problems)
        if found is not None:
            yield found


def _event(
    path: Path,
    window_id: str,
    given: str | None,
    annotation: Mapping[str, Any],
    classes: Sequence[str] | None,
    problems: Problems,
) -> LabelEvent | None:
    at = utc(annotation.get("updated_at") or annotation.get("created_at"))
    if at is None:
        problems.count("annotations without a time", window_id, "export created_at with them")
        return None
    who = _annotator(annotation.get("completed_by"))
    common = {"given": given, "seconds": annotation.get("lead_time")}
    if annotation.get("was_cancelled"):
        return imported(path, "skip", window_id, who, at, **common)
    results = annotation.get("result") or []
    chosen = [name for one in results if one.get("type") == "choices" for name in one["value"]["choices"]]
    spans = [one["value"] for one in results if one.get("type") == "timeserieslabels"]
    if len(chosen) != 1:
        told = f"{window_id}: {', '.join(chosen) or 'none'}"
        problems.count("annotations without just one choice", told, "let the annotator choose one class")
        return None
    if classes is not None and chosen[0] not in classes:
        told = f"{window_id}: '{chosen[0]}'; {did_you_mean(chosen[0], classes)}"
        problems.count("choices that are no class", told, "mend them, or name these classes too")
        return None
    span = _span(window_id, spans, problems)
    if span is None:
        return None
    decision = "accept" if chosen[0] == given else "relabel"
    return imported(path, decision, window_id, who, at, label=chosen[0], **span, **common)


def _span(window_id: str, spans: Sequence[Mapping[str, Any]], problems: Problems) -> dict[str, int] | None:
    """Keys ``start`` and ``end``, none where nothing was marked; None where it cannot be used, which is told."""
    if not spans:
        return {}
    if len(spans) > 1:
        problems.count("annotations with several spans", window_id, "keep one span a window")
        return None
    start, end = round(float(spans[0]["start"])), round(float(spans[0]["end"]))
    if not 0 <= start < end:
        problems.count("spans that hold no bars", f"{window_id}: {start} to {end}", "mark two bars or more")
        return None
    return {"start": start, "end": end}


def _annotator(who: Any) -> str:
    """A name from what Label Studio tells: an id, or an object with an email."""
    if isinstance(who, Mapping):
        return str(who.get("email") or who.get("username") or who.get("id") or "label_studio")
    return "label_studio" if who is None else f"label_studio_{who}"
