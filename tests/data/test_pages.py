"""The pages of the data commands: whatever names hold, nothing is loaded, and what is too much is summed up."""

from __future__ import annotations

import dataclasses
import datetime
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore
from moola.data.calendars import SessionCalendar
from moola.data.description import Intake, describe_data
from moola.data.drift import DriftConfig, Sample, measure_drift
from moola.data.findings import Finding
from moola.data.ingestion import ValidationReport
from moola.data.pages import draw_series, elapsed, moment, render_description, render_drift, render_validation
from moola.data.window_index import WindowConfig, WindowIndex
from moola.drawing import TimeSpan

EVIL = "<script>alert('a')</script>&\"x"
MINUTE = 60_000_000
NEW_YEAR = 1_704_067_200_000_000


def assert_is_whole(page: str) -> None:
    """One document that runs nothing and loads nothing."""
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert not re.search(r"<script|<link(?! rel=\"icon\" href=\"data:,\")|<img|@import|url\(|https?://|src=", page)
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r"<style>.*?</style>", "", page, flags=re.S))


def store(n_series: int = 1, n: int = 60, names: tuple[str, ...] = (), independent: bool = False) -> BarStore:
    generator = np.random.default_rng(0)
    times = np.arange(n) * (1 if independent else MINUTE) + (0 if independent else NEW_YEAR)
    values = generator.normal(size=(n_series * n, 1)).cumsum(axis=0).astype(np.float32)
    nothing = (None,) * n_series
    names = names or tuple(f"s{i:04d}" for i in range(n_series))
    offsets = n * np.arange(n_series + 1)
    return BarStore(values, np.tile(times, n_series), offsets, names, nothing, nothing, ("x",), independent)


def description(bars: BarStore, spans: bool = False, labels: tuple[str | None, ...] = (None,), **words) -> str:
    windows = WindowIndex.build(bars, WindowConfig(length=None if bars.independent else 10))
    table = windows.table(bars).with_columns(
        true_label=pl.Series([labels[i % len(labels)] for i in range(len(windows))], dtype=pl.String)
    )
    if spans:
        table = table.with_columns(span=pl.Series(["train"] * (len(table) - 1) + ["test"]))
    asked = (table["span"] if spans else None, words.pop("cal", None), words.pop("intake", None))
    found = describe_data(bars, windows, table["true_label"], *asked)
    return render_description(found, draw_series(bars), table, {"channels": ", ".join(bars.channels)}, **words)


def report(findings: tuple[Finding, ...] = (), series: tuple[str, ...] = ("a",), **changes) -> ValidationReport:
    rows = [
        {
            "series": name,
            "rows": 10,
            "kept": 9 if findings else 10,
            "first_time": datetime.datetime(2024, 1, 1, 9, 30, tzinfo=datetime.UTC),
            "last_time": datetime.datetime(2024, 1, 1, 9, 39, tzinfo=datetime.UTC),
            "median_step_s": 60.0,
            "longest_gap_s": 60.0,
            "x_min": -1.5,
            "x_max": 2.0,
        }
        for name in series
    ]
    bad = Path("quarantine.csv") if findings else None
    whole = ValidationReport(
        10 * len(series),
        10 * len(series) - (len(series) if bad else 0),
        findings,
        pl.DataFrame(rows),
        ("x",),
        False,
        bad,
    )
    return dataclasses.replace(whole, **changes)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "0.25 s"),
        (59, "59 s"),
        (60, "1 min"),
        (134, "2 min 14 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (7 * 86_400, "7 d"),
        (2 * 86_400 + 3 * 3600 + 60, "2 d 3 h"),
    ],
)
def test_time_between_bars_is_told_in_its_two_largest_units(seconds, words):
    assert elapsed(seconds) == words


def test_a_moment_shows_no_more_than_there_is():
    assert moment("2024-01-05T10:31:00Z", daily=False) == "2024-01-05 10:31"
    assert moment("2024-01-05T10:31:07Z", daily=False) == "2024-01-05 10:31:07"
    assert moment("2024-01-05T00:00:00Z", daily=True) == "2024-01-05"
    assert moment(None, daily=True) == "–"


def test_names_cannot_break_out_of_any_page():
    evil = Finding("unread", "error", 10, EVIL, (EVIL,))
    drifted = measure_drift(*(Sample({EVIL: np.arange(80.0) + i * 50}, np.arange(80) // 8) for i in (0, 1)))
    pages = [
        render_validation(report((evil,), (EVIL,)), EVIL),
        description(store(names=(EVIL,)), labels=(EVIL, "b"), no_split=EVIL),
        render_drift(drifted, DriftConfig(block_bars=8), EVIL, EVIL, {EVIL: EVIL}),
    ]
    for page in pages:
        assert_is_whole(page)
        assert "&lt;script&gt;alert(" in page


def test_a_page_without_findings_says_that_all_is_well():
    page = render_validation(report(), "bars.csv")
    assert_is_whole(page)
    assert "Every row is good" in page and "quarantine" not in page


def test_a_page_of_findings_names_each_with_its_places_and_how_many_more_there_are():
    found = (
        Finding("high_below_body", "error", 12, "high is below open or close", ("bars.csv:9", "bars.csv:10")),
        Finding("breaks_off", "error", 0, "bars.csv.gz breaks off", ()),
        Finding("jump", "warning", 1, "close: jumps", ("bars.csv:40",)),
    )
    page = render_validation(report(found), "bars.csv")
    assert_is_whole(page)
    assert page.count('<li class="alarm">') == 2 and page.count('<li class="note">') == 1
    assert "12 rows" in page and "and 10 more" in page and ": 0 rows" not in page
    assert "data.quality.bad_rows=quarantine" in page


def test_warnings_alone_are_no_failure():
    jump = Finding("jump", "warning", 1, "close: jumps", ("bars.csv:40",))
    page = render_validation(report((jump,), quarantine=None, kept=10), "bars.csv")
    assert "Every row can be used" in page


def test_a_source_without_rows_or_times_still_gets_a_page():
    nothing = report().series.clear()
    page = render_validation(report(rows=0, kept=0, series=nothing), "bars.csv")
    assert_is_whole(page)
    assert "There is no row" in page
    bare = report().series.with_columns(
        pl.lit(None, pl.Datetime("us", "UTC")).alias("first_time"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("last_time"),
        *(pl.lit(None, pl.Float64).alias(name) for name in ("median_step_s", "longest_gap_s", "x_min", "x_max")),
    )
    assert_is_whole(render_validation(dataclasses.replace(report(), series=bare), "bars.csv"))


def test_thousands_of_series_are_summed_up():
    names = tuple(f"s{i:04d}" for i in range(3000))
    page = render_validation(report(series=names), "bars.csv")
    assert "s0049" in page and "s0050" not in page and "and 2,950 more, in validation.json" in page
    page = description(store(3000, 12))
    assert_is_whole(page)
    assert "s0049" in page and "s0050" not in page and "and 2,950 more, in description.json" in page
    assert "3,000 series of 12 bars each" in page and len(page) < 200_000


def test_cases_have_no_columns_of_times():
    page = description(store(40, 12, independent=True))
    assert_is_whole(page)
    assert (
        "and 30 more" in page and "UTC" not in page and "gap" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    )


def test_why_there_is_no_split_stands_on_top():
    page = description(store(), no_split="no bar after 2030")
    assert page.index("no bar after 2030") < page.index("<h2>Series")


def test_label_counts_stand_under_their_span_with_shares_of_what_is_labelled():
    page = description(store(), spans=True, labels=("a", "a", "b", None))
    header = re.search(r"windows by label</th>(.*?)</tr>", page, re.S)
    assert header is not None and re.findall(r">(train|test|excluded|all)<", header[1]) == ["train", "test"]
    rows = re.findall(
        r"<tr><th>(a|b|unlabeled)</th><td class=\"num\">(\d+)(?:<br><span class=\"small\">(\d+) %)?", page
    )
    assert rows == [("a", "26", "68"), ("b", "12", "32"), ("unlabeled", "12", "")]


def test_sessions_have_a_section_where_there_is_a_calendar():
    page = description(store(), cal=SessionCalendar(open="00:10", close="00:40"))
    assert_is_whole(page)
    assert "1 session holds bars" in page
    assert "30 bars lie in no session" in page
    assert "<h2>Sessions" not in description(store())


def test_a_page_says_what_became_of_the_rows():
    calendar = SessionCalendar(open="00:00", close="12:00")
    left_out = Intake(186_348, 5, ((EVIL, 3), ("low is above open", 2)), 135_690, ("one footer: " + EVIL,), 60)
    page = description(store(), cal=calendar, intake=left_out)
    assert_is_whole(page)
    assert "186,348 rows were read, and 60 bars made of them" in page
    assert "made of them. 5 rows are bad and were left out" in page
    assert "beside the bars. 135,690 rows lie in no session and were left out." in page
    assert "one footer: &lt;script" in page and 'low is above open</th><td class="num">2<' in page
    assert "0 bars lie in no session" not in page
    page = description(store(), cal=calendar, intake=Intake(60, 0, (), 0, (), 60))
    assert_is_whole(page)
    assert "60 rows were read, and 60 bars made of them; none was left out." in page
    assert "0 bars lie in no session" in page
    assert "<h2>Rows" not in description(store())


def test_a_page_says_how_many_windows_share_no_bar():
    assert "At most 6 of them share no bar" in description(store())
    assert "No two of them share a bar" in description(store(n=10))


def test_look_alikes_across_the_border_are_told_on_top():
    bars = store(n=60)
    values = np.array(bars.values)
    values[50:60] = values[5:15]
    page = description(dataclasses.replace(bars, values=values), spans=True)
    assert "look alike" in page and page.index("look alike") < page.index("<h2>Series")
    assert "s0000_0000050" in page and ">test</span>" in page


def test_a_pause_leaves_the_line_open_in_short_and_long_series():
    for n in (60, 6000):
        bars = store(n=n)
        times = np.array(bars.timestamps)
        times[n // 2 :] += n * MINUTE
        (svg,) = draw_series(dataclasses.replace(bars, timestamps=times))
        line = re.search(r'<path d="([^"]+)"', svg)
        assert line is not None and line[1].count("M") == 2
        (svg,) = draw_series(bars)
        line = re.search(r'<path d="([^"]+)"', svg)
        assert line is not None and line[1].count("M") == 1


def test_no_spike_of_a_long_series_is_lost():
    bars = store(n=20_000)
    values = np.zeros_like(bars.values)
    values[12_345] = 1000
    (svg,) = draw_series(dataclasses.replace(bars, values=values))
    assert "1\N{THIN SPACE}000" in svg or "1000" in svg
    line = re.search(r'<path d="([^"]+)"', svg)
    heights = {float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line[1])} if line else set()
    assert len(heights) == 2


def test_names_of_spans_never_overlap_and_stay_in_the_picture():
    bars = store(n=60)
    start, end = NEW_YEAR / 1e6, NEW_YEAR / 1e6 + 59 * 60
    spans = [TimeSpan(start, end - 60, "training span", "zone"), TimeSpan(end - 50, end, "sealed test", "after")]
    (svg,) = draw_series(bars, spans)
    places = re.findall(r'<text x="([\d.]+)" y="12" class="span-label"[^>]*>([^<]*)', svg)
    assert [words for _, words in places] == ["training span", "sealed test"]
    (first, name), (second, last) = places
    assert float(first) + 6 * len(name) < float(second) and float(second) + 6 * len(last) < 1036


def test_a_drift_page_says_what_moved_and_that_nothing_did():
    generator = np.random.default_rng(0)
    a, b = (Sample({"x": generator.normal(m, 1, 400)}, np.arange(400) // 20) for m in (0, 3))
    config = DriftConfig(block_bars=20)
    for samples, said in (((a, b), "its distributions are"), ((a, a), "No feature has moved")):
        page = render_drift(measure_drift(*samples, config), config, "before", "after", {})
        assert_is_whole(page)
        assert said in page
