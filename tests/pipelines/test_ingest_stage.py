"""What of the section ``data`` belongs to the source, and what to the stage that reads it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moola.config import RunConfig
from moola.data.bar_store import BarStore
from moola.data.calendars import SessionCalendar
from moola.data.quality import QualityConfig
from moola.data.resampling import ResampleConfig
from moola.errors import ConfigError
from moola.pipelines.stages.ingest import Ingest
from moola.testing import check_stage

INDICES = {"source": "arch_indices", "window": {"length": 105}}


def stage(**data: Any) -> Ingest:
    return Ingest.from_config(cast("RunConfig", SimpleNamespace(data={**INDICES, **data})), {})


def test_what_is_not_said_stays_as_it_is() -> None:
    plain = stage()
    assert (plain.quality, plain.calendar, plain.resample, plain.clock_timezone) == (QualityConfig(), None, None, None)
    assert plain == stage(quality=None, calendar=None, resample=None, clock_timezone=None)


def test_what_is_said_is_not_given_to_the_source() -> None:
    said = stage(
        quality={"bad_rows": "quarantine"},
        calendar={"timezone": "America/New_York"},
        resample={"every": "1h"},
        clock_timezone="America/New_York",
        symbols=["sp500"],
    )
    assert said.quality == QualityConfig(bad_rows="quarantine")
    assert said.calendar == SessionCalendar(timezone="America/New_York")
    assert said.resample == ResampleConfig("1h")
    assert said.clock_timezone == "America/New_York"
    assert said.source == stage(symbols=["sp500"]).source != stage().source


def test_every_problem_of_the_section_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        stage(symbols=["dax"], quality={"bad_row": "drop"}, calendar={"open": "9"}, resample={"every": "x"})
    assert {problem.split(":")[0] for problem in caught.value.problems} == {
        "data.symbols[0]",
        "data.quality.bad_row",
        "data.calendar.open",
        "data.resample.every",
    }


@pytest.mark.parametrize(("zone", "told"), [("Mars", "'Mars' is not a timezone"), (5, "5 must be text")])
def test_a_zone_that_is_none_is_told_by_its_key(zone: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.clock_timezone: {told}"):
        stage(clock_timezone=zone)


def test_the_stage_keeps_the_suite_of_stages_and_leaves_a_store(tmp_path: Path) -> None:
    artifact = check_stage(stage(symbols=["sp500"], clock_timezone="America/New_York"), {}, tmp_path)
    assert sorted(artifact.manifest["files"]) == ["bars.json", "ingest.json", "timestamps.npy", "values.npy"]
    store = BarStore.open(artifact.folder)
    store.verify()
    assert (store.n_bars, store.channels[-1]) == (5_031, "day_of_week")
