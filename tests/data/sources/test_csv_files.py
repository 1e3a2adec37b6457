"""CSV files: what is read, and what each kind of broken file is told."""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore, save_bars
from moola.data.sources.csv_files import CsvFiles
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError
from moola.testing import check_source

HEADER = "timestamp,open,high,low,close"
GOOD = ("2024-01-01 00:00:00,10,12,9,11", "2024-01-01 00:01:00,11,13,10,12", "2024-01-01 00:02:00,12,14,11,13")
REPOSITORY = Path(__file__).resolve().parents[3]
MIRROR = Path(os.environ.get("MOOLA_DATA_MIRROR", REPOSITORY.parent / "shared" / "data"))


def write(path: Path, *rows: str, header: str = HEADER) -> CsvFiles:
    path.write_text("\n".join([header, *rows]) + "\n")
    return CsvFiles(str(path))


def refused(source: CsvFiles) -> DataError:
    with pytest.raises(DataError) as caught:
        source.load()
    assert caught.value.way_out
    return caught.value


def test_a_file_is_one_series_named_after_it(tmp_path: Path) -> None:
    source = write(tmp_path / "eurusd.csv", *GOOD)
    check_source(source)
    bars = source.load()
    assert bars.channels == ("open", "high", "low", "close")
    assert bars.series.rows() == [("eurusd", None, None)]
    assert not bars.independent
    assert bars.frame["close"].to_list() == [11.0, 12.0, 13.0]
    assert bars.frame["timestamp"].dt.to_string("%FT%T%:z").to_list()[0] == "2024-01-01T00:00:00+00:00"


def test_a_glob_is_one_series_a_file_in_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", *GOOD[:2])
    write(tmp_path / "a.csv", *GOOD)
    (tmp_path / "notes.txt").write_text("no bars")
    source = CsvFiles(str(tmp_path / "*.csv"))
    check_source(source)
    assert source.load().frame["series"].to_list() == ["a", "a", "a", "b", "b"]


def test_a_file_keeps_the_dots_in_its_name(tmp_path: Path) -> None:
    write(tmp_path / "btc.2022-01.csv", *GOOD)
    assert write(tmp_path / "btc.2022-02.csv", *GOOD).load().series["series"].to_list() == ["btc.2022-02"]
    assert CsvFiles(str(tmp_path / "btc*")).load().series["series"].to_list() == ["btc.2022-01", "btc.2022-02"]


def test_two_files_of_one_name_do_not_become_one_series(tmp_path: Path) -> None:
    for folder, rows in (("nq", GOOD[:1]), ("es", GOOD[1:])):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "bars.csv", *rows)
    error = refused(CsvFiles(str(tmp_path / "*" / "bars.csv")))
    assert (error.what, error.why) == ("two files would become one series", "- bars")


def test_a_gzip_file_is_read_like_any_other(tmp_path: Path) -> None:
    plain = write(tmp_path / "x.csv", *GOOD)
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "x.csv").read_bytes()))
    assert CsvFiles(str(packed)).load().frame.equals(plain.load().frame)


def test_a_symbol_column_tells_series_apart_also_where_they_alternate(tmp_path: Path) -> None:
    rows = [f"2024-01-0{day},{name},{day}" for day in (1, 2, 3) for name in ("nq", "es")]
    write(tmp_path / "all.csv", *rows, header="timestamp,symbol,price")
    source = CsvFiles(str(tmp_path / "all.csv"), channels=("price",), symbol="symbol")
    check_source(source)
    assert source.load().frame.select("series", "price").rows() == [
        ("es", 1.0),
        ("es", 2.0),
        ("es", 3.0),
        ("nq", 1.0),
        ("nq", 2.0),
        ("nq", 3.0),
    ]


def test_channels_are_kept_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "5,2024-01-01,7,x", header="a,when,b,more")
    bars = CsvFiles(str(tmp_path / "x.csv"), timestamp="when", channels=("b", "a")).load()
    assert bars.frame.columns == ["series", "timestamp", "b", "a"]
    assert bars.frame.row(0)[2:] == (7.0, 5.0)


@pytest.mark.parametrize(
    ("text", "timezone", "utc"),
    [
        ("2024-01-01 12:00:00", "UTC", "2024-01-01T12:00"),
        ("2024-01-01 12:00:00", "America/New_York", "2024-01-01T17:00"),
        ("2024-07-01 12:00:00", "America/New_York", "2024-07-01T16:00"),  # daylight saving
        ("2024-07-01 12:00:00", "EST", "2024-07-01T17:00"),  # never daylight saving
        ("2024-01-01T12:00:00+02:00", "America/New_York", "2024-01-01T10:00"),  # the time says it itself
        ("2024-01-01T12:00:00Z", "America/New_York", "2024-01-01T12:00"),
        ("2024-01-01", "UTC", "2024-01-01T00:00"),
    ],
)
def test_times_become_utc(tmp_path: Path, text: str, timezone: str, utc: str) -> None:
    write(tmp_path / "x.csv", f"{text},1,1,1,1")
    times = CsvFiles(str(tmp_path / "x.csv"), timezone=timezone).load().frame["timestamp"]
    assert times.dtype == pl.Datetime("us", "UTC")
    assert times.dt.to_string("%FT%H:%M").to_list() == [utc]


def test_the_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", *GOOD)
    source = CsvFiles(str(tmp_path / "*.csv"))
    before = source.fingerprint()
    (tmp_path / "a.csv").touch()
    assert source.fingerprint() == before
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    renamed = source.fingerprint()
    write(tmp_path / "b.csv", *GOOD[:2])
    assert len({before, renamed, source.fingerprint()}) == 3


def test_a_missing_file_is_told_with_the_near_name(tmp_path: Path) -> None:
    write(tmp_path / "eurusd.csv", *GOOD)
    error = refused(CsvFiles(str(tmp_path / "eurosd.csv")))
    assert "eurosd.csv" in error.what and error.why == "did you mean 'eurusd.csv'?"
    assert "there is no folder" in refused(CsvFiles(str(tmp_path / "none" / "x.csv"))).why
    with pytest.raises(DataError, match="no file matches"):
        CsvFiles(str(tmp_path / "eurosd.csv")).fingerprint()


def test_all_missing_columns_are_told_with_the_near_names(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", *GOOD, header="timestamp,open,hihg,low,Close")
    assert refused(CsvFiles(str(tmp_path / "x.csv"))).why.splitlines() == [
        "- column 'high' is missing; did you mean 'hihg'?",
        "- column 'close' is missing; did you mean 'Close'?",
    ]
    assert "column 'sym' is missing" in refused(CsvFiles(str(tmp_path / "x.csv"), channels=("low",), symbol="sym")).why


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("2024-01-01 00:03:00,abc,14,11,13", "column 'open': 1 rows, the first at row 3: 'abc'"),
        ("2024-01-01 00:03:00,,14,11,13", "column 'open': is not empty (1 rows; the first: 3)"),
        ("2024-01-01 00:03:00,NaN,14,11,13", "column 'open': is a finite number (1 rows; the first: 3)"),
        ("2024-01-01 00:03:00,12,inf,11,13", "column 'high': is a finite number (1 rows; the first: 3)"),
        ("2024-01-01 00:03:00,12,11,14,13", "high is at least open and close (1 rows; the first: 3)"),
        ("2024-01-01 00:03:00,12,11,14,13", "low is at most open and close (1 rows; the first: 3)"),
        ("2024-01-01 00:03:00,12,14,0,13", "prices are above 0 (1 rows; the first: 3)"),
        (",12,14,11,13", "column 'timestamp': is not empty (1 rows; the first: 3)"),
        ("2024-01-01 00:01:30,12,14,11,13", "the first is row 3 of series 'x' at 2024-01-01 00:01:30"),
        ("2024-01-01 00:02:00,12,14,11,13", "1 rows are not later than the row before; the first is row 3"),
        ("yesterday,12,14,11,13", "row 3: 'yesterday'"),
        ("2024-01-01 00:03:00,12,14", "column 'close': is not empty"),
        ("2024-01-01 00:03:00,12,14,11,13,1,2,3", "more fields"),
    ],
)
def test_a_broken_row_is_told_with_its_number(tmp_path: Path, row: str, told: str) -> None:
    assert told in refused(write(tmp_path / "x.csv", *GOOD, row)).why


def test_every_broken_rule_is_told_at_once(tmp_path: Path) -> None:
    source = write(tmp_path / "x.csv", *GOOD, "2024-01-01 00:03:00,NaN,14,,13", "2024-01-01 00:04:00,-2,14,-3,13")
    why = refused(source).why
    assert "column 'open': is a finite number" in why
    assert "column 'low': is not empty" in why
    assert "prices are above 0" in why


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not a readable CSV file"),
        (HEADER.encode() + b"\n", "has a header and no rows"),
        (np.random.default_rng(0).bytes(5000), "is not a readable CSV file"),
        (b"\x1f\x8b\x08" + np.random.default_rng(0).bytes(500), "is not a readable CSV file"),
        (gzip.compress(("\n".join([HEADER, *GOOD * 50])).encode())[:60], "is not a readable CSV file"),
        (b"timestamp,open,high,low,close\n1704067200,1,1,1,1\n", "does not read as times"),
    ],
    ids=["empty", "header only", "junk", "junk gzip", "cut gzip", "seconds since 1970"],
)
def test_a_file_that_is_no_table_of_bars_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    assert told in refused(CsvFiles(str(tmp_path / "x.csv"))).what


def test_a_folder_that_matches_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    assert "is a folder" in refused(CsvFiles(str(tmp_path / "x.csv"))).what


def test_a_local_time_that_the_clock_jumped_over_is_told(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "2024-03-10 02:30:00,1,1,1,1")
    error = refused(CsvFiles(str(tmp_path / "x.csv"), timezone="America/New_York"))
    assert "do not exist in America/New_York" in error.what and "2024-03-10 02:30" in error.why


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "2024-01-01,1,2", "2024-01-02,3,4", header="timestamp,row,index")
    check_source(CsvFiles(str(tmp_path / "x.csv"), channels=("row", "index")))
    write(tmp_path / "x.csv", "2024-01-02,a,2", header="timestamp,row,index")
    assert "column 'row'" in refused(CsvFiles(str(tmp_path / "x.csv"), channels=("row", "index"))).why


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"channels": ()}, "channels: needs at least one"),
        ({"channels": ("open", "open")}, "channels: ['open', 'open'] holds one twice"),
        ({"channels": ("series", "open")}, "channels: ['series'] are names that moola gives"),
        ({"timezone": "Mars/Olympus"}, "timezone: 'Mars/Olympus' is none"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_read(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CsvFiles("x.csv", **options)
    assert caught.value.problems[0].startswith(problem)


MARKETS = {
    "6e_h4_futures_m1_2024-01.csv.gz": {"timestamp": "timestamp_utc"},
    "btc_perp_m1_2022-01.csv.gz": {},
    "eurusd_m1_2017H1.csv.gz": {"timestamp": "timestamp_est", "timezone": "EST"},
}


@pytest.mark.skipif(not (MIRROR / "README.md").is_file(), reason=f"no data mirror in {MIRROR}")
@pytest.mark.parametrize("name", MARKETS)
def test_a_real_market_of_minute_bars_is_read_whole(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = MARKETS[name]
    stated = next(line for line in (MIRROR / "README.md").read_text().splitlines() if line.startswith(f"| {name} "))
    rows = int(stated.split("|")[2].strip().replace(",", ""))
    bars = CsvFiles(str(MIRROR / name), **options).load()
    assert bars.frame.height == rows
    with gzip.open(MIRROR / name, "rb") as packed:
        lines = csv.reader(io.StringIO(packed.read(400).decode()))
        next(lines)
        assert [float(value) for value in next(lines)[1:5]] == list(bars.frame.row(0)[2:])
    save_bars(bars, tmp_path)
    store = BarStore.open(tmp_path)
    windows = WindowIndex.build(store, WindowConfig(length=105, max_gap_days=0.5))
    spans = store.timestamps[windows.starts + 104] - store.timestamps[windows.starts]
    assert len(windows) > 20_000 and spans.max() < 2 * 86_400_000_000


def test_dates_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    rows = "\n".join(f"01/{day:02d}/2023 00:00,1,2,1,1" for day in range(2, 12))
    (tmp_path / "us.csv").write_text("timestamp,open,high,low,close\n" + rows + "\n")
    with pytest.raises(DataError, match=r"01/02/2023 00:00' can be read in two ways|does not read as times"):
        CsvFiles(str(tmp_path / "us.csv")).load()
