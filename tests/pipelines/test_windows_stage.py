"""What the stage `windows` writes is what later stages open, with labels or without any."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moola.config import RunConfig
from moola.data.bar_store import BarStore
from moola.data.bar_writer import BarWriter
from moola.data.calendars import SessionCalendar
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError
from moola.labels import WindowLabels
from moola.labels.unlabelled import Unlabelled
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import open_windows
from moola.pipelines.stages.pretrain import pretraining_windows
from moola.pipelines.stages.windows import Windows
from moola.pipelines.window_set import WindowSet

HOUR = 3_600_000_000
CONFIG = WindowConfig(length=4, visible=3, zone=(1, 3), horizon_bars=2)
OFFICE = SessionCalendar("UTC", "08:00", "18:00")


@dataclass(frozen=True)
class OneClass:
    """A labeller that knows one class."""

    def fingerprint(self) -> str:
        return ""

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        return WindowLabels(pl.Series(["up"] * len(windows)), ("up",), from_rule=False)


def artifact(stage: str, folder: Path) -> Artifact:
    return Artifact(stage, "key", "digest", folder, {"files": {path.name: "" for path in folder.iterdir()}})


@pytest.fixture
def bars(tmp_path: Path) -> Artifact:
    """Three days of hourly bars of one series."""
    folder = tmp_path / "bars"
    times = pl.Series("timestamp", np.arange(72) * HOUR).cast(pl.Datetime("us", "UTC"))
    with BarWriter(folder, ("x",)) as writer:
        writer.append(pl.DataFrame({"series": ["a"] * 72, "timestamp": times, "x": np.arange(72.0)}))
        writer.finish()
    return artifact("ingest", folder)


def run(stage: Windows, bars: Artifact) -> Artifact:
    folder = bars.folder.parent / "windows"
    folder.mkdir()
    stage.run({"bars": bars}, SimpleNamespace(folder=folder))  # type: ignore[arg-type]
    return artifact("windows", folder)


def test_windows_open_as_they_were_cut(bars: Artifact) -> None:
    opened, table, classes = open_windows(run(Windows(CONFIG, OFFICE, Unlabelled()), bars))
    built = WindowIndex.build(BarStore.open(bars.folder), CONFIG, OFFICE)
    assert built.starts.tolist() == [day * 24 + hour for day in range(3) for hour in range(8, 13)]
    for name in ("starts", "stretches"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(built, name))
    for name in ("length", "visible", "zone", "horizon_bars"):
        assert getattr(opened, name) == getattr(built, name)
    assert table["start"].to_list() == built.starts.tolist()
    assert classes == ()


def test_windows_may_have_no_label_at_all(bars: Artifact) -> None:
    windows = run(Windows(CONFIG, None, Unlabelled()), bars)
    head = json.loads(windows.path("labels.json").read_text())
    assert (head["classes"], head["counts"]) == ([], {"unlabeled": 67})
    assert open_windows(windows)[1]["true_label"].null_count() == 67


def test_one_class_is_refused_because_nothing_can_be_learnt_from_it(bars: Artifact) -> None:
    with pytest.raises(DataError, match="the labels know one class only"):
        run(Windows(CONFIG, None, OneClass()), bars)


def sections(data: dict[str, Any]) -> RunConfig:
    """A run of which only the sections of this stage are filled."""
    others = ("transform", "augment", "split", "encoder", "objective", "trainer", "model", "evaluation", "stage")
    return RunConfig("test", data, {"labels": "unlabelled"}, **{name: {} for name in others})


def test_the_calendar_is_read_from_the_data_and_may_be_left_out() -> None:
    window = {"length": 4, "max_gap": "8d"}
    calendar = {"timezone": "America/New_York", "open": "18:00", "close": "17:00", "days": ["sun", "mon"]}
    stage = Windows.from_config(sections({"window": window, "calendar": calendar}), {})
    assert stage.calendar == SessionCalendar("America/New_York", "18:00", "17:00", ("sun", "mon"))
    assert Windows.from_config(sections({"window": window, "calendar": None}), {}).calendar is None
    assert Windows.from_config(sections({"window": window}), {}).calendar is None


def test_problems_of_windows_and_calendar_are_said_together() -> None:
    data = {"window": {"length": 4, "max_gap_days": 8}, "calendar": {"timezone": "New York", "opens": "09:30"}}
    with pytest.raises(ConfigError) as caught:
        Windows.from_config(sections(data), {})
    text = str(caught.value)
    assert "data.window.max_gap_days: unknown key; did you mean 'max_gap'" in text
    assert "data.calendar.opens: unknown key; did you mean 'open'" in text
    assert "data.calendar.timezone: 'New York' is not a timezone" in text


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=3),
    pauses=st.lists(st.integers(1, 5), min_size=60, max_size=60),
    late=st.integers(0, 100),
    independent=st.booleans(),
    share=st.floats(0.05, 0.9),
)
def test_windows_that_pretrain_share_no_time_with_those_that_validate(
    lengths: list[int],
    pauses: list[int],
    late: int,
    independent: bool,
    share: float,
    store_of: Callable[..., BarStore],
) -> None:
    times = np.cumsum(pauses)
    store = store_of(times, *(times[:n] + late for n in lengths if n), independent=independent)
    windows = WindowIndex.build(store, WindowConfig(length=5, stride_bars=2, horizon_bars=1))
    spans = windows.spans(store)
    data = WindowSet(store, windows, pl.Series(["train"] * len(windows)))
    try:
        train, validation = pretraining_windows(data, share)
    except DataError:  # too short to be cut
        assume(False)
    first, last = spans[validation].first_step.min(), spans[train].last_step.max()
    assert last < first
    assert len(np.intersect1d(train, validation)) == 0
    between = (spans.last_step >= first) & (spans.first_step < first)
    assert len(train) + len(validation) + between.sum() == len(windows)  # none is left out without a reason
