"""From chunks to a store: all or nothing, every row accounted for, the same however it came."""

from __future__ import annotations

import datetime
import gzip
import itertools
import json
import math
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.data.bar_store import BarStore
from moola.data.clock_channels import CLOCK_CHANNELS
from moola.data.ingestion import IngestSummary, ingest, validate
from moola.data.quality import QualityConfig
from moola.data.resampling import ResampleConfig, Resampler
from moola.data.sources import UNREAD, BarScan, Chunk, series_table
from moola.data.sources.files import Files
from moola.errors import ConfigError, DataError, StorageError
from moola.schemas import OHLC, TIMESTAMP

MINUTE = 60_000_000
QUARANTINE = QualityConfig(bad_rows="quarantine", max_bad_share=0.9)
SHARED = Path(__file__).parents[2] / "../shared/data"


def bars(series: Sequence[str | None], minutes: Sequence[int | None], closes: Sequence[float | None]) -> pl.DataFrame:
    """Candles that stand at one price."""
    close = pl.Series(closes, dtype=pl.Float64)
    time = (pl.Series(minutes, dtype=pl.Int64) * MINUTE).cast(TIMESTAMP)
    return pl.DataFrame({"series": pl.Series(series, dtype=pl.String), "timestamp": time, **dict.fromkeys(OHLC, close)})


GOOD = bars(["b"] * 4 + ["a"] * 3, [0, 1, 2, 5, 1, 2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])


def spoil(frame: pl.DataFrame, row: int, **cells: float | None) -> pl.DataFrame:
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in cells.items()
    )


BAD = spoil(spoil(spoil(GOOD, 1, close=math.nan), 2, high=0.5), 5, low=None)


def scan(frame: pl.DataFrame, cuts: Sequence[int] = (), series: pl.DataFrame | None = None) -> BarScan:
    edges = sorted([0, *cuts, len(frame)])
    chunks = (Chunk(frame[a:b], "prices.csv", 2 + a) for a, b in itertools.pairwise(edges))
    return BarScan(tuple(frame.columns[2:]), chunks, series=series)


def read_quarantine(folder: Path) -> pl.DataFrame:
    return pl.read_csv(folder / "quarantine.csv", infer_schema=False)


# --- all or nothing ---------------------------------------------------------------------------------------------------


def test_good_bars_are_stored_as_they_are(tmp_path: Path) -> None:
    summary = ingest(scan(GOOD), tmp_path)
    store = BarStore.open(tmp_path)
    assert summary == IngestSummary(7, 7, 0, 0, 7, 2, ())
    assert store.series == ("b", "a")
    np.testing.assert_array_equal(store.values, GOOD.select(OHLC).to_numpy())
    np.testing.assert_array_equal(store.timestamps, GOOD["timestamp"].to_physical().to_numpy())
    assert json.loads((tmp_path / "ingest.json").read_text())["rows_read"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bars.json",
        "ingest.json",
        "timestamps.npy",
        "values.npy",
    ]


def test_bad_rows_are_refused_with_every_reason_place_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 of 7 rows cannot be used") as caught:
        ingest(scan(BAD, [2, 4]), tmp_path / "store")
    assert caught.value.why.splitlines() == [
        "- low: is empty: 1 row",
        "    prices.csv:7 series 'a' 1970-01-01 00:02:00 UTC",
        "- high is below open or close: 1 row",
        "    prices.csv:4 series 'b' 1970-01-01 00:02:00 UTC open=3 high=0.5 close=3",
        "- close: is not a finite number: 1 row",
        "    prices.csv:3 series 'b' 1970-01-01 00:01:00 UTC close=nan",
    ]
    assert "moola data validate" in caught.value.way_out
    assert "data.quality.bad_rows=quarantine" in caught.value.way_out
    assert list((tmp_path / "store").iterdir()) == []


def test_a_refused_source_leaves_an_older_store_as_it_was(tmp_path: Path) -> None:
    ingest(scan(GOOD), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for quality in (None, QualityConfig(bad_rows="quarantine", max_bad_share=0.1)):
        with pytest.raises(DataError):
            ingest(scan(BAD), tmp_path, quality)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_that_breaks_off_is_told_with_what_was_found_before(tmp_path: Path) -> None:
    def broken() -> Iterator[Chunk]:
        yield Chunk(BAD, "prices.csv", 2)
        raise DataError("prices.csv breaks off", "at byte 17", "fetch it again")

    with pytest.raises(DataError, match=r"prices\.csv breaks off") as caught:
        ingest(BarScan(OHLC, broken()), tmp_path / "store")
    assert caught.value.why.startswith("at byte 17\n- low: is empty: 1 row")
    assert caught.value.way_out == "fetch it again"
    assert list((tmp_path / "store").iterdir()) == []
    report = validate(BarScan(OHLC, broken()), None, tmp_path / "quarantine.csv")
    assert not report.passed
    assert report.findings[0].reason == "breaks_off"
    assert report.findings[0].examples == ("at byte 17",)
    assert (report.rows, report.kept, len(read_quarantine(tmp_path))) == (7, 4, 3)


_KILLED = """
import os, sys
from pathlib import Path
import polars as pl
from moola.data.ingestion import ingest
from moola.data.sources import BarScan, Chunk
frame = pl.read_parquet(sys.argv[2])
def chunks():
    yield Chunk(frame[:4], "x", 2)
    yield Chunk(frame[4:], "x", 6)
    os._exit(9)
ingest(BarScan(tuple(frame.columns[2:]), chunks()), Path(sys.argv[1]))
"""


def test_a_killed_ingest_leaves_nothing_that_opens(tmp_path: Path) -> None:
    GOOD.write_parquet(tmp_path / "bars.parquet")
    folder = tmp_path / "store"
    done = subprocess.run([sys.executable, "-c", _KILLED, str(folder), str(tmp_path / "bars.parquet")])
    assert done.returncode == 9
    with pytest.raises(StorageError):
        BarStore.open(folder)
    ingest(scan(GOOD), folder)
    BarStore.open(folder).verify()


@pytest.mark.parametrize("empty", [GOOD[:0], spoil(GOOD[:1], 0, close=math.nan)])
def test_a_source_without_a_good_bar_is_refused(tmp_path: Path, empty: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"there are no bars|cannot be used"):
        ingest(scan(empty), tmp_path)
    with pytest.raises(DataError, match=r"there are no bars|too many rows are bad"):
        ingest(scan(empty), tmp_path, QUARANTINE)


def test_a_series_that_was_announced_and_never_came_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 series have no bars") as caught:
        ingest(scan(GOOD, series=series_table(["b", "c", "a"])), tmp_path)
    assert caught.value.why == "- c"


# --- quarantine -------------------------------------------------------------------------------------------------------


def test_quarantined_rows_and_kept_rows_are_the_rows_that_were_read(tmp_path: Path) -> None:
    summary = ingest(scan(BAD, [3]), tmp_path, QUARANTINE)
    store, bad = BarStore.open(tmp_path), read_quarantine(tmp_path)
    assert (summary.rows_read, summary.rows_kept, summary.rows_quarantined) == (7, 4, 3)
    assert store.n_bars == summary.bars == 4
    assert bad.columns == ["place", "row", "reasons", "series", "timestamp", *OHLC]
    assert bad.select("place", "row", "reasons").rows() == [
        ("prices.csv", "3", "close: is not a finite number"),
        ("prices.csv", "4", "high is below open or close"),
        ("prices.csv", "7", "low: is empty"),
    ]
    kept = {(int(t) // MINUTE, float(v)) for t, v in zip(store.timestamps, store.values[:, 0], strict=True)}
    assert kept == {(0, 1.0), (5, 4.0), (1, 5.0), (3, 7.0)}
    told = json.loads((tmp_path / "ingest.json").read_text())
    assert {one["reason"]: one["rows"] for one in told["findings"]} == {
        "not_finite_close": 1,
        "high_below_body": 1,
        "empty": 1,
    }


def test_a_quarantine_of_nothing_is_no_file_and_an_old_one_goes(tmp_path: Path) -> None:
    ingest(scan(BAD), tmp_path, QUARANTINE)
    ingest(scan(GOOD), tmp_path, QUARANTINE)
    assert not (tmp_path / "quarantine.csv").exists()


def test_too_many_bad_rows_of_one_series_are_refused_even_in_quarantine(tmp_path: Path) -> None:
    mostly = spoil(spoil(GOOD, 4, close=math.nan), 5, close=math.nan)
    with pytest.raises(DataError, match="too many rows are bad") as caught:
        ingest(scan(mostly), tmp_path, QualityConfig(bad_rows="quarantine"))
    assert caught.value.why.splitlines()[0] == "- series 'a': 2 of 3 rows"
    assert "data.quality.max_bad_share=0.5" in caught.value.way_out
    gone = spoil(mostly, 6, close=math.nan)
    with pytest.raises(DataError, match="too many rows are bad"):
        ingest(scan(gone), tmp_path, QualityConfig(bad_rows="quarantine", max_bad_share=0.999))


def test_the_same_data_elsewhere_give_the_same_files(tmp_path: Path) -> None:
    for place in ("here.csv", "elsewhere.csv"):
        warned = bars(["a"] * 300, range(300), [1.0] * 300)
        summary = ingest(BarScan(OHLC, iter([Chunk(warned, place)])), tmp_path / place)
        assert [one.reason for one in summary.findings] == ["stuck"]
    for name in ("bars.json", "ingest.json", "values.npy", "timestamps.npy"):
        assert (tmp_path / "here.csv" / name).read_bytes() == (tmp_path / "elsewhere.csv" / name).read_bytes()


# --- cuts and alternation ---------------------------------------------------------------------------------------------

ROW = st.tuples(
    st.sampled_from("aaab"),
    st.sampled_from([1, 1, 1, 1, 0, -2, 700]),
    st.sampled_from([1.0, 1.5, 2.0, 2.5, math.nan, -1.0, None]),
)


def frame_of(rows: list[tuple[str, int, float | None]]) -> pl.DataFrame:
    clock = dict.fromkeys("ab", 0)
    minutes = []
    for name, step, _ in rows:
        clock[name] += step
        minutes.append(clock[name])
    return bars([name for name, _, _ in rows], minutes, [close for _, _, close in rows])


def outcome(one: BarScan, folder: Path, quality: QualityConfig = QUARANTINE) -> tuple[object, ...]:
    """Everything that an ingest leaves, or what it says when it refuses."""
    try:
        summary = ingest(one, folder, quality)
    except DataError as error:
        return (str(error),)
    store = BarStore.open(folder)
    store.verify()
    bad = sorted(read_quarantine(folder).rows()) if summary.rows_quarantined else []
    return (store.digest, (folder / "bars.json").read_bytes(), summary, bad)


@settings(max_examples=40)
@given(rows=st.lists(ROW, min_size=1, max_size=30), data=st.data())
def test_cuts_change_nothing_of_what_is_stored_found_or_said(
    rows: list[tuple[str, int, float | None]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame, folder = frame_of(rows), tmp_path_factory.mktemp("cuts")
    cuts = data.draw(st.sets(st.integers(0, len(frame)), max_size=6))
    quality = data.draw(st.sampled_from([QUARANTINE, QUARANTINE, QualityConfig()]))
    whole = outcome(scan(frame), folder / "whole", quality)
    assert whole == outcome(scan(frame, sorted(cuts)), folder / "cut", quality)


@settings(max_examples=40)
@given(rows=st.lists(ROW, min_size=1, max_size=30), data=st.data())
def test_how_series_alternate_changes_nothing_of_what_is_stored(
    rows: list[tuple[str, int, float | None]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame, folder = frame_of(rows), tmp_path_factory.mktemp("mixed")
    table = series_table(sorted(set(frame["series"])))
    own = {name: iter(np.flatnonzero(frame["series"].to_numpy() == name).tolist()) for name in "ab"}
    mixed = frame[[next(own[name]) for name in data.draw(st.permutations(frame["series"].to_list()))]]
    one = outcome(scan(frame, series=table), folder / "one")
    other = outcome(scan(mixed, [len(mixed) // 2], series=table), folder / "other")
    assert one[0] == other[0] or len(one) == len(other) == 1  # a refusal names other lines of the file


# --- resampling and clocks --------------------------------------------------------------------------------------------


def test_resampled_bars_are_stored_and_their_rows_counted(tmp_path: Path) -> None:
    frame = bars(["a"] * 60, range(60), [float(i + 1) for i in range(60)])
    plain = ingest(scan(frame, [7, 31]), tmp_path, None, Resampler(ResampleConfig("15m"), None, OHLC))
    store = BarStore.open(tmp_path)
    assert (plain.rows_kept, plain.bars, plain.outside_sessions) == (60, 4, 0)
    np.testing.assert_array_equal(store.values, [[1, 15, 1, 15], [16, 30, 16, 30], [31, 45, 31, 45], [46, 60, 46, 60]])


def test_clock_channels_tell_local_time_on_days_when_clocks_change(tmp_path: Path) -> None:
    zone = zoneinfo.ZoneInfo("America/New_York")
    start = datetime.datetime(2024, 11, 2, 20, tzinfo=datetime.UTC)  # clocks go back on the 3rd
    minutes = int(start.timestamp()) // 60 + np.arange(0, 48 * 60, 17)
    frame = bars(["a"] * len(minutes), minutes.tolist(), np.arange(1.0, len(minutes) + 1).tolist())
    ingest(scan(frame), tmp_path, None, None, "America/New_York")
    store = BarStore.open(tmp_path)
    assert store.channels == (*OHLC, *CLOCK_CHANNELS)
    local = [datetime.datetime.fromtimestamp(int(minute) * 60, zone) for minute in minutes]
    expected = [[time.hour * 60 + time.minute, time.weekday()] for time in local]
    np.testing.assert_array_equal(store.values[:, 4:], expected)
    np.testing.assert_array_equal(store.values[:, :4], frame.select(OHLC).to_numpy())


def test_clock_channels_that_cannot_be_are_refused(tmp_path: Path) -> None:
    cases = BarScan(OHLC, iter([]), independent=True)
    with pytest.raises(ConfigError, match=r"data\.clock_timezone: 'Mars' is not a timezone"):
        ingest(scan(GOOD), tmp_path, clock_timezone="Mars")
    with pytest.raises(ConfigError, match="these cases have no time"):
        ingest(cases, tmp_path, clock_timezone="UTC")
    with pytest.raises(ConfigError, match="minute_of_day"):
        ingest(scan(GOOD.rename({"open": "minute_of_day"})), tmp_path, clock_timezone="UTC")


# --- validation -------------------------------------------------------------------------------------------------------


def test_a_report_tells_every_series_by_its_good_rows(tmp_path: Path) -> None:
    frame = pl.concat([BAD, bars(["c"] * 2, [0, 1], [-1.0, -2.0]), bars([None], [0], [1.0])])
    report = validate(scan(frame, [2, 5]), None, tmp_path / "quarantine.csv")
    assert (report.rows, report.kept, report.passed) == (10, 4, False)
    assert report.quarantine == tmp_path / "quarantine.csv"
    assert len(read_quarantine(tmp_path)) == 6
    figures = report.series.select("series", "rows", "kept", "median_step_s", "longest_gap_s", "close_min", "close_max")
    assert figures.rows() == [
        ("b", 4, 2, 300.0, 300.0, 1.0, 4.0),
        ("a", 3, 2, 120.0, 120.0, 5.0, 7.0),
        ("c", 2, 0, None, None, None, None),
    ]
    assert report.series["first_time"].dt.epoch("s").to_list() == [0, 60, None]
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["series"][1]["last_time"] == "1970-01-01T00:03:00.000000Z"
    assert plain["bad"] == 6


@given(
    steps=st.lists(st.sampled_from([60, 60, 60, 61, 300, 86_400, 7_000_001]), min_size=1, max_size=60), data=st.data()
)
def test_the_median_step_is_known_to_half_a_percent_and_the_longest_gap_exactly(
    steps: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seconds = np.concatenate([[0], np.cumsum(steps)])
    frame = bars(["a"] * len(seconds), [0] * len(seconds), [1.0] * len(seconds)).with_columns(
        timestamp=pl.Series(seconds * 1_000_000).cast(TIMESTAMP)
    )
    cuts = data.draw(st.sets(st.integers(0, len(frame)), max_size=5))
    report = validate(scan(frame, sorted(cuts)), None, tmp_path_factory.getbasetemp() / "none.csv")
    (row,) = report.series.to_dicts()
    assert row["longest_gap_s"] == max(steps)
    assert row["median_step_s"] == pytest.approx(sorted(steps)[(len(steps) - 1) // 2], rel=0.005)


def test_unread_cells_reach_the_quarantine_with_what_stood_there(tmp_path: Path) -> None:
    unread = pl.DataFrame([(5, "Low", "1O1.5", "is not a number")], schema=UNREAD, orient="row")
    chunk = Chunk(spoil(GOOD, 5, low=None), "prices.csv", 2, unread)
    report = validate(BarScan(OHLC, iter([chunk])), None, tmp_path / "quarantine.csv")
    assert read_quarantine(tmp_path)["reasons"].to_list() == ["Low: is not a number ('1O1.5')"]
    assert report.findings[0].examples == ("prices.csv:7 series 'a' 1970-01-01 00:02:00 UTC Low='1O1.5'",)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("6e_h4_futures_m1_2024-01.csv.gz", {"timestamp": "timestamp_utc"}),
        ("btc_perp_m1_2022-01.csv.gz", {}),
        ("eurusd_m1_2017H1.csv.gz", {"timestamp": "timestamp_est", "timezone": "EST"}),
    ],
)
def test_real_bars_agree_with_an_independent_query(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside the repository")
    report = validate(Files(str(SHARED / name), **options).scan(), None, tmp_path / "quarantine.csv")
    with gzip.open(SHARED / name) as file:
        raw = pl.read_csv(file.read())
    time = pl.col(options.get("timestamp", "timestamp")).str.to_datetime(time_unit="us")
    steps = raw.select(time.diff().drop_nulls().dt.total_seconds()).to_series()
    (row,) = report.series.to_dicts()
    assert report.passed
    assert (report.rows, report.kept) == (raw.height, raw.height)
    assert (row["median_step_s"], row["longest_gap_s"]) == (steps.median(), steps.max())
    assert (row["low_min"], row["high_max"]) == (raw["low"].min(), raw["high"].max())
