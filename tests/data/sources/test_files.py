"""CSV and Parquet files: what is read and under which name; broken files are in test_bad_files.py."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore
from moola.data.ingestion import ingest
from moola.data.sources import BarScan
from moola.data.sources.files import Files, series_name
from moola.errors import ConfigError, DataError
from moola.testing import check_source

HEADER = "timestamp,open,high,low,close"
GOOD = ("2024-01-01 00:00:00,10,12,9,11", "2024-01-01 00:01:00,11,13,10,12", "2024-01-01 00:02:00,12,14,11,13")
REPOSITORY = Path(__file__).resolve().parents[3]
MIRROR = Path(os.environ.get("MOOLA_DATA_MIRROR", REPOSITORY.parent / "shared" / "data"))


def write(path: Path, *rows: str, header: str = HEADER) -> Files:
    path.write_text("\n".join([header, *rows]) + "\n")
    return Files(str(path))


def frame_of(source: Files) -> pl.DataFrame:
    """All rows, none of which may have an unread cell."""
    chunks = list(source.scan().chunks)
    assert all(chunk.unread.is_empty() for chunk in chunks)
    return pl.concat(chunk.frame for chunk in chunks)


def unread_of(scan: BarScan) -> list[tuple[Any, ...]]:
    """Line, column, value and reason of each unread cell."""
    return [(chunk.first_row + row, *rest) for chunk in scan.chunks for row, *rest in chunk.unread.iter_rows()]


def refused(source: Files) -> DataError:
    with pytest.raises(DataError) as caught:
        source.scan()
    assert caught.value.way_out
    return caught.value


def test_a_file_is_one_series_named_after_it(tmp_path: Path) -> None:
    source = write(tmp_path / "eurusd.csv", *GOOD)
    check_source(source)
    scan = source.scan()
    assert scan.channels == ("open", "high", "low", "close") and scan.series is None and not scan.independent
    (chunk,) = scan.chunks
    assert (chunk.place, chunk.first_row) == (str(tmp_path / "eurusd.csv"), 2)
    assert chunk.frame.schema == {
        "series": pl.String,
        "timestamp": pl.Datetime("us", "UTC"),
        **dict.fromkeys(scan.channels, pl.Float64),
    }
    assert chunk.frame["series"].to_list() == ["eurusd"] * 3
    assert chunk.frame["close"].to_list() == [11.0, 12.0, 13.0]
    assert chunk.frame["timestamp"][0] == datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def test_files_of_one_market_become_one_series_where_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / "2024-02.csv", *GOOD[2:])
    write(tmp_path / "2024-01.csv", *GOOD[:2])
    source = Files(str(tmp_path / "*.csv"), series="eurusd")
    check_source(source)
    assert frame_of(source)["series"].to_list() == ["eurusd"] * 3
    assert frame_of(source)["close"].to_list() == [11.0, 12.0, 13.0]
    with pytest.raises(ConfigError, match="series: files with a symbol column"):
        Files("x.csv", series="eurusd", symbol="name")


def test_a_glob_is_one_series_a_file_in_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", *GOOD[:2])
    write(tmp_path / "a.csv", *GOOD)
    (tmp_path / "notes.md").write_text("no bars")
    source = Files(str(tmp_path / "*.csv"))
    check_source(source)
    assert frame_of(source)["series"].to_list() == ["a", "a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("file", "series"),
    [
        *[(f"nq.{ending}", "nq") for ending in ("csv", "csv.gz", "txt", "TSV", "parquet", "pq")],
        *[("btc.2022-01.csv", "btc.2022-01"), ("btc.2022-01", "btc.2022-01"), ("es.gz", "es")],
    ],
)
def test_a_series_is_named_after_the_file_without_its_ending(file: str, series: str) -> None:
    assert series_name(Path("bars") / file) == series


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path: Path) -> None:
    assert frame_of(write(tmp_path / "bars[1].csv", *GOOD)).height == 3


def test_a_gzip_file_is_read_like_any_other(tmp_path: Path) -> None:
    plain = write(tmp_path / "x.csv", *GOOD)
    for name in ("x.csv.gz", "packed.csv"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "x.csv").read_bytes()))
        assert frame_of(Files(str(tmp_path / name))).drop("series").equals(frame_of(plain).drop("series"))


def test_a_symbol_column_tells_series_apart_also_where_they_alternate(tmp_path: Path) -> None:
    rows = [f"2024-01-0{day},{name},{day}" for day in (1, 2, 3) for name in (" nq", "es")]
    write(tmp_path / "all.csv", *rows, header="timestamp,symbol,price")
    source = Files(str(tmp_path / "all.csv"), channels=("price",), symbol="symbol")
    check_source(source)
    assert frame_of(source).select("series", "price").rows() == [
        (name, day) for day in (1.0, 2.0, 3.0) for name in ("nq", "es")
    ]


def test_channels_are_kept_in_the_order_that_is_asked_for_and_may_be_renamed(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "5,2024-01-01,7,x", header="a,when,b,more")
    frame = frame_of(Files(str(tmp_path / "x.csv"), timestamp="when", channels=("b", "a")))
    assert frame.columns == ["series", "timestamp", "b", "a"] and frame.row(0)[2:] == (7.0, 5.0)
    renamed = Files(str(tmp_path / "x.csv"), timestamp="when", channels=("close", "a"), columns={"close": "b"})
    check_source(renamed)
    assert frame_of(renamed).columns == ["series", "timestamp", "close", "a"] and frame_of(renamed)["close"][0] == 7.0


def test_a_column_may_be_time_and_channel_and_have_any_name(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "0,1,2", "60,3,4", header="row,index,literal")
    channels = ("literal", "row", "index")
    frame = frame_of(Files(str(tmp_path / "x.csv"), timestamp="row", time_format="epoch_s", channels=channels))
    assert frame.select(channels).rows() == [(2.0, 0.0, 1.0), (4.0, 60.0, 3.0)]
    assert frame["timestamp"].dt.epoch("s").to_list() == [0, 60]


@pytest.mark.parametrize(
    ("text", "timezone", "utc"),
    [
        ("2024-01-01 12:00:00", "UTC", "2024-01-01T12:00"),
        ("2024-01-01 12:00:00", "America/New_York", "2024-01-01T17:00"),
        ("2024-07-01 12:00:00", "America/New_York", "2024-07-01T16:00"),  # daylight saving
        ("2024-07-01 12:00:00", "EST", "2024-07-01T17:00"),  # never daylight saving
        ("2024-07-01 12:00:00", "-05:00", "2024-07-01T17:00"),
        ("2024-07-01 12:00:00", "Etc/GMT+5", "2024-07-01T17:00"),
        ("2024-01-01T12:00:00+02:00", "America/New_York", "2024-01-01T10:00"),  # the time says it itself
        ("2024-01-01T12:00:00Z", "America/New_York", "2024-01-01T12:00"),
    ],
)
def test_times_become_utc(tmp_path: Path, text: str, timezone: str, utc: str) -> None:
    write(tmp_path / "x.csv", f"{text},1,1,1,1")
    times = frame_of(Files(str(tmp_path / "x.csv"), timezone=timezone))["timestamp"]
    assert times.dt.to_string("%FT%H:%M").to_list() == [utc]


def test_a_file_without_a_header_is_read_under_the_names_given(tmp_path: Path) -> None:
    (tmp_path / "eurusd.csv").write_text(
        "20170102 020000;1.05155;1.05197;1.05155;1.05190;0\n\n20170102 020100;1;1;1;1;0"
    )
    source = Files(
        str(tmp_path / "eurusd.csv"),
        timezone="EST",
        separator="semicolon",
        time_format="%Y%m%d %H%M%S",
        header=False,
        column_names=("timestamp", "open", "high", "low", "close", "volume"),
    )
    check_source(source)
    assert [chunk.first_row for chunk in source.scan().chunks] == [1, 3]
    first = frame_of(source).row(0)
    assert first[1] == datetime.datetime(2017, 1, 2, 7, tzinfo=datetime.UTC) and first[2:4] == (1.05155, 1.05197)


@pytest.mark.parametrize(
    ("separator", "written"), [("semicolon", ";"), (";", ";"), ("tab", "\t"), ("pipe", "|"), (" ", " ")]
)
def test_fields_may_be_separated_otherwise(tmp_path: Path, separator: str, written: str) -> None:
    rows = [row.replace(" ", "T").replace(",", written) for row in GOOD]
    write(tmp_path / "x.csv", *rows, header=HEADER.replace(",", written))
    assert frame_of(Files(str(tmp_path / "x.csv"), separator=separator))["close"].to_list() == [11.0, 12.0, 13.0]


def test_decimal_commas_are_read_where_they_are_announced(tmp_path: Path) -> None:
    write(
        tmp_path / "x.csv",
        "2024-01-01;1,05;-,5;1e2;7",
        "2024-01-02;1.5;1,5,0;1.000,5;2",
        header=HEADER.replace(",", ";"),
    )
    (chunk,) = Files(str(tmp_path / "x.csv"), separator=";", decimal_comma=True).scan().chunks
    assert chunk.frame.row(0)[2:] == (1.05, -0.5, 100.0, 7.0)
    assert chunk.frame.row(1)[2:] == (None, None, None, 2.0)  # a point could mark thousands


@pytest.mark.parametrize("name", ["bom.csv", "crlf_and_blank_end.csv", "quoted.csv", "spaces.csv"])
def test_marks_line_ends_quotes_and_blanks_of_other_programs_change_nothing(name: str, tmp_path: Path) -> None:
    frame = frame_of(Files(str(REPOSITORY / "tests" / "data" / "bad" / name)))
    plain = frame_of(write(tmp_path / "x.csv", *(row.replace("2024-01-01 00:0", "2024-01-02 09:3") for row in GOOD)))
    assert frame.drop("series").equals(plain.drop("series").head(frame.height))


def test_numbers_are_read_as_python_reads_them_or_not_at_all(tmp_path: Path) -> None:
    cells = ["1e5", "+1.", ".5", "-0", "1E-3", "0.1234567890123456789", "1e-400", " 7 ", "NaN", "inf", "-Infinity"]
    refused = ["1_000", "0x10", "1,234.5", "1e400", "abc", "", "--1", "1.2.3", "１", "True", "1 000", "1d5"]
    rows = [f'2024-01-01,"{cell}"' for cell in (*cells, *refused)]
    write(tmp_path / "x.csv", *rows, header="timestamp,value")
    (chunk,) = Files(str(tmp_path / "x.csv"), channels=("value",)).scan().chunks
    np.testing.assert_array_equal(chunk.frame["value"].to_numpy()[: len(cells)], [float(cell) for cell in cells])
    assert chunk.frame["value"][len(cells) :].is_null().all()
    assert chunk.unread["value"].to_list() == [cell or None for cell in refused]
    assert chunk.unread["row"].to_list() == list(range(len(cells), len(rows)))
    assert {*chunk.unread["column"]} == {"value"}


def test_every_cell_that_is_not_read_is_listed_with_its_line(tmp_path: Path) -> None:
    rows = [GOOD[0], "", "then,x,14,,13", "2024-01-01 00:03:00,1,2", '2024-01-01 00:04:00,"1,2","5', '6",4,3']
    write(tmp_path / "x.csv", *rows)
    assert unread_of(Files(str(tmp_path / "x.csv")).scan()) == [
        (4, "timestamp", "then", "is not a time"),
        (4, "open", "x", "is not a number"),
        (4, "low", None, "is empty"),
        (5, "the whole line", "2024-01-01 00:03:00,1,2", "has 3 fields where the table has 5"),
        (
            6,
            "open",
            "1,2",
            "has a comma; write 1234.5, or set data.decimal_comma=true where a comma marks the decimals",
        ),
        (6, "high", "5\n6", "is not a number"),
    ]


def bars(kind: Any = pl.Float64) -> pl.DataFrame:
    times = pl.datetime_range(datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, 0, 2), "1m", eager=True)
    prices = {"open": (2, 3, 4), "high": (4, 5, 6), "low": (1, 2, 3), "close": (3, 4, 5)}
    values = {name: pl.Series(column).cast(kind) for name, column in prices.items()}
    return pl.DataFrame({"timestamp": times.dt.replace_time_zone("UTC"), **values})


@pytest.mark.parametrize("kind", [pl.Float32, pl.Float64, pl.Int16, pl.UInt64, pl.Decimal(10, 2)])
def test_parquet_numbers_keep_their_value_and_32_bits_stay_32(kind: Any, tmp_path: Path) -> None:
    bars(kind).write_parquet(tmp_path / "x.parquet")
    source = Files(str(tmp_path / "x.parquet"))
    check_source(source)
    (chunk,) = source.scan().chunks
    assert chunk.first_row == 1
    assert set(chunk.frame.dtypes[2:]) == {pl.Float32 if kind == pl.Float32 else pl.Float64}
    assert [row[2:] for row in chunk.frame.iter_rows()] == [(2, 4, 1, 3), (3, 5, 2, 4), (4, 6, 3, 5)]


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (pl.col("timestamp").cast(pl.Datetime("ns", "UTC")), {}),
        (pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"), {"timezone": "America/New_York"}),
        (pl.col("timestamp").dt.convert_time_zone("EST").dt.replace_time_zone(None), {"timezone": "EST"}),
        (pl.col("timestamp").dt.replace_time_zone(None).cast(pl.Datetime("ms")), {}),
        (pl.col("timestamp").dt.to_string("iso"), {}),
        (pl.col("timestamp").dt.epoch("ms"), {"time_format": "epoch_ms"}),
        (pl.col("timestamp").dt.epoch("s").cast(pl.Float64), {"time_format": "epoch_s"}),
        (pl.col("timestamp").dt.epoch("ns"), {"time_format": "epoch_ns"}),
    ],
)
def test_parquet_times_of_every_type_become_utc(change: pl.Expr, options: dict[str, Any], tmp_path: Path) -> None:
    bars().with_columns(change.alias("timestamp")).write_parquet(tmp_path / "x.parquet")
    assert frame_of(Files(str(tmp_path / "x.parquet"), **options))["timestamp"].equals(bars()["timestamp"])


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Int32])
def test_parquet_symbols_may_be_text_categories_or_numbers(kind: Any, tmp_path: Path) -> None:
    frame = bars().with_columns(symbol=pl.Series(["1", "2", "1"]).cast(kind))
    frame.write_parquet(tmp_path / "x.parquet")
    assert frame_of(Files(str(tmp_path / "x.parquet"), symbol="symbol"))["series"].to_list() == ["1", "2", "1"]


def test_a_parquet_file_of_many_row_groups_streams_in_order(tmp_path: Path) -> None:
    n_rows = 600_000
    times = pl.int_range(n_rows, eager=True).cast(pl.Datetime("us", "UTC"))
    written = pl.DataFrame({"timestamp": times, "close": np.arange(n_rows, dtype=np.float32)})
    written.write_parquet(tmp_path / "x.parquet", row_group_size=70_000)
    chunks = list(Files(str(tmp_path / "x.parquet"), channels=("close",)).scan().chunks)
    assert len(chunks) > 1 and max(chunk.frame.height for chunk in chunks) < 400_000
    assert [chunk.first_row for chunk in chunks] == [
        1 + sum(c.frame.height for c in chunks[:i]) for i in range(len(chunks))
    ]
    assert pl.concat(chunk.frame for chunk in chunks).drop("series").equals(written)


def test_csv_and_parquet_of_the_same_bars_are_the_same(tmp_path: Path) -> None:
    bars().write_parquet(tmp_path / "a.parquet")
    bars().write_csv(tmp_path / "b.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    frame = frame_of(Files(str(tmp_path / "*")))
    one, other = (frame.filter(series=name).drop("series") for name in "ab")
    assert one.equals(other)


def test_the_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", *GOOD)
    source = Files(str(tmp_path / "*.csv"))
    before = source.fingerprint()
    (tmp_path / "a.csv").touch()
    assert source.fingerprint() == before
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    renamed = source.fingerprint()
    write(tmp_path / "b.csv", *GOOD[:2])
    assert len({before, renamed, source.fingerprint()}) == 3


METATRADER: dict[str, Any] = {
    "timestamp": "<DATE>",
    "time": "<TIME>",
    "separator": "tab",
    "columns": {name: f"<{name.upper()}>" for name in ("open", "high", "low", "close")},
}


def test_date_and_time_may_stand_in_two_columns(tmp_path: Path) -> None:
    mt5 = REPOSITORY / "tests" / "data" / "bad" / "metatrader5.csv"
    source = Files(str(mt5), time_format="%Y.%m.%d %H:%M:%S", timezone="EST", **METATRADER)
    check_source(source)
    assert frame_of(source)["timestamp"].dt.to_string("%FT%T").to_list() == [f"2024-01-02T05:0{i}:00" for i in range(5)]
    with pytest.raises(DataError, match=r"data\.time_format='%Y\.%m\.%d %H:%M:%S'"):
        Files(str(mt5), **METATRADER).scan()


def test_the_time_of_day_is_iso_where_no_format_is_given_and_its_bad_cells_are_listed_with_the_date(
    tmp_path: Path,
) -> None:
    rows = ["2024-01-02, 09:30,1", "2024-01-02,09:31:30.5,1", "2024-01-02,noon,1", "2024-01-02,,1", ",09:34,1"]
    write(tmp_path / "x.csv", *rows, header="date,time,close")
    (chunk,) = Files(str(tmp_path / "x.csv"), timestamp="date", time="time", channels=("close",)).scan().chunks
    assert chunk.frame["timestamp"].dt.to_string("%T%.f").to_list() == ["09:30:00", "09:31:30.500", None, None, None]
    assert chunk.unread.rows() == [
        (2, "date time", "2024-01-02 noon", "is not a time"),
        (3, "date time", None, "is empty"),
        (4, "date time", None, "is empty"),
    ]


def test_a_time_of_day_that_lost_its_leading_zero_is_not_taken_for_another(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "20240102,13000,1", "20240102,093000,1", header="date,time,close")
    source = Files(
        str(tmp_path / "x.csv"), timestamp="date", time="time", channels=("close",), time_format="%Y%m%d %H%M%S"
    )
    (chunk,) = source.scan().chunks
    assert chunk.frame["timestamp"].dt.to_string("%T").to_list() == [None, "09:30:00"]


def test_parquet_dates_and_times_of_day_are_joined_too(tmp_path: Path) -> None:
    frame = bars().with_columns(pl.col("timestamp").dt.date(), time=pl.col("timestamp").dt.time())
    frame.write_parquet(tmp_path / "x.parquet")
    assert frame_of(Files(str(tmp_path / "x.parquet"), time="time"))["timestamp"].equals(bars()["timestamp"])
    assert refused(Files(str(tmp_path / "x.parquet"))).way_out == "data.time=time"
    midnights = frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ms")))
    midnights.write_parquet(tmp_path / "x.parquet")
    assert frame_of(Files(str(tmp_path / "x.parquet"), time="time"))["timestamp"].equals(bars()["timestamp"])
    bars().with_columns(time=pl.lit(93_000)).write_parquet(tmp_path / "x.parquet")
    told = refused(Files(str(tmp_path / "x.parquet"), time="time"))
    assert "leave out data.time" in told.way_out and "'time' is of type Int32, not a time of day" in told.why


def test_days_that_repeat_are_no_dates_without_a_time_where_they_belong_to_several_series(tmp_path: Path) -> None:
    rows = [f"2024-01-0{day},{name},16:00,1" for day in (1, 2, 3) for name in ("nq", "es")]
    write(tmp_path / "x.csv", *rows, header="timestamp,symbol,time,close")
    assert frame_of(Files(str(tmp_path / "x.csv"), symbol="symbol", channels=("close",))).height == 6


def test_files_are_read_in_the_order_of_the_numbers_in_their_names(tmp_path: Path) -> None:
    names = ["m1", "m2", "m2b", "m2b3", "m02x", "m9", "m10", "m11"]
    for name in names:
        write(tmp_path / f"{name}.csv", GOOD[0])
    assert frame_of(Files(str(tmp_path / "*.csv")))["series"].to_list() == names


def test_independent_series_share_no_calendar(tmp_path: Path) -> None:
    rows = [f"{second},{run},{second + 1}" for run in ("a", "b") for second in (0, 10, 25)]
    write(tmp_path / "runs.csv", *rows, header="elapsed,run,speed")
    source = Files(
        str(tmp_path / "runs.csv"),
        timestamp="elapsed",
        time_format="epoch_s",
        symbol="run",
        channels=("speed",),
        independent=True,
    )
    check_source(source)
    assert source.scan().independent
    ingest(source.scan(), tmp_path / "store")
    store = BarStore.open(tmp_path / "store")
    assert store.independent and list(store.series) == ["a", "b"] and len(store.timestamps) == 6


def test_series_that_run_backwards_are_told_also_where_they_alternate(tmp_path: Path) -> None:
    rows = [f"2024-01-0{day},{name},1" for day in (3, 2, 1) for name in ("nq", "es")]
    write(tmp_path / "x.csv", *rows, header="timestamp,symbol,close")
    told = refused(Files(str(tmp_path / "x.csv"), symbol="symbol", channels=("close",)))
    assert "run backwards" in told.why and "sort the rows" in told.way_out


def test_symbols_that_follow_each_other_in_time_are_one_series(tmp_path: Path) -> None:
    rows = [f"2024-01-0{day},{name},1" for day, name in ((1, "esh4"), (2, "esh4"), (3, "esm4"), (4, "esm4"))]
    write(tmp_path / "x.csv", *rows, header="timestamp,symbol,close")
    assert frame_of(Files(str(tmp_path / "x.csv"), channels=("close",))).columns == ["series", "timestamp", "close"]


def test_one_doubled_row_beside_a_symbol_column_is_left_to_the_audit(tmp_path: Path) -> None:
    rows = [f"2024-01-0{day},{'esh4' if day < 5 else 'esm4'},1" for day in (1, 2, 3, 4, 4, 5, 6, 7, 8, 9)]
    write(tmp_path / "x.csv", *rows, header="timestamp,symbol,close")
    assert frame_of(Files(str(tmp_path / "x.csv"), channels=("close",))).height == 10


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("nope.csv", "no file in {} has a name like it"),
        ("eurusd.parquet", "no file in {} has a name like it"),
        ("kline.csv", "did you mean 'klines.csv'?"),
        ("euruds.csv.gz", "did you mean 'eurusd.csv.gz'?"),
    ],
)
def test_only_near_names_with_the_same_ending_are_offered(tmp_path: Path, wanted: str, told: str) -> None:
    for name in ("klines.csv", "eur.csv", "many.csv", "eurusd.csv.gz"):
        (tmp_path / name).touch()
    assert refused(Files(str(tmp_path / wanted))).why == told.format(tmp_path)


def test_a_missing_file_is_told_with_the_near_name(tmp_path: Path) -> None:
    write(tmp_path / "eurusd.csv", *GOOD)
    error = refused(Files(str(tmp_path / "eurosd.csv")))
    assert "eurosd.csv" in error.what and error.why == "did you mean 'eurusd.csv'?"
    assert "there is no folder" in refused(Files(str(tmp_path / "none" / "x.csv"))).why
    with pytest.raises(DataError, match="no file matches"):
        Files(str(tmp_path / "eurosd.csv")).fingerprint()


def test_what_is_wrong_with_all_files_is_told_before_anything_streams(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", *GOOD, header="timestamp,open,hihg,low,Close")
    write(tmp_path / "b.csv", *GOOD)
    (tmp_path / "c.csv").write_text("")
    bars().with_columns(open=pl.lit("x"), low=True).drop("close").write_parquet(tmp_path / "d.parquet")
    write(tmp_path / "e.csv", "01/02/2024,1,2,3,4")
    error = refused(Files(str(tmp_path / "*")))
    at = str(tmp_path)
    assert error.why.splitlines() == [
        f"- {at}/a.csv: column 'high' is missing; did you mean 'hihg'?",
        f"- {at}/a.csv: column 'close' is missing; did you mean 'Close'?",
        f"- {at}/c.csv is empty: no line holds anything",
        f"- {at}/d.parquet: column 'open' is of type String, not a number",
        f"- {at}/d.parquet: column 'low' is of type Boolean, not a number",
        f"- {at}/d.parquet: column 'close' is missing; known: high, low, open, timestamp",
        f"- {at}/e.csv: column 'timestamp': times such as '01/02/2024' can be read in two ways, day or month first",
    ]
    assert "'data.columns={high: hihg, close: Close}'" in error.way_out and "data.time_format=" in error.way_out


def test_the_settings_that_are_suggested_work(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", *GOOD, header="Timestamp,Open,hihg,low,close")
    way_out = refused(Files(str(tmp_path / "x.csv"))).way_out
    assert way_out.startswith("name them with data.timestamp=Timestamp 'data.columns={open: Open, high: hihg}'")
    source = Files(str(tmp_path / "x.csv"), timestamp="Timestamp", columns={"open": "Open", "high": "hihg"})
    assert frame_of(source).height == 3


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"channels": ()}, "channels: needs at least one"),
        ({"channels": ("open", "open")}, "channels: ['open', 'open'] holds one twice"),
        ({"channels": ("series", "open")}, "channels: ['series'] are names that moola gives"),
        (
            {"channels": ("close", "pointer_start")},
            "channels: 'pointer_start' is an annotation and no model may see it",
        ),
        ({"channels": ("close", "prob_up")}, "channels: 'prob_up' is an annotation"),
        ({"channels": ("close",), "columns": {"close": "Label"}}, "channels: 'Label' is an annotation"),
        ({"columns": {"clos": "last"}}, "columns: no channel is named 'clos'; did you mean 'close'?"),
        ({"columns": {"open": "last", "close": "last"}}, "columns: ['last'] would become two channels"),
        ({"columns": {"open": "close"}}, "columns: ['close'] would become two channels"),
        ({"timezone": "Mars/Olympus"}, "timezone: 'Mars/Olympus' is not a timezone"),
        ({"separator": ", "}, "separator: ', ' must be one character"),
        ({"separator": '"'}, "separator: quotes and line ends"),
        ({"time_format": "%H:%M"}, "time_format: '%H:%M' is neither one of epoch_s"),
        ({"header": False}, "column_names: names the columns"),
        ({"column_names": ("timestamp", "open")}, "column_names: goes with header=false"),
        ({"header": False, "column_names": ("a", "a")}, "column_names: ['a', 'a'] holds one twice"),
        ({"path": ""}, "path: names no file"),
        ({"time": "timestamp"}, "time: must name a column beside timestamp"),
        ({"time": "clock", "time_format": "epoch_s"}, "time: a count since 1970 holds the time of day"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_read(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Files(**{"path": "x.csv", **options})
    assert caught.value.problems[0].startswith(problem)


OHLCV = ("open", "high", "low", "close", "volume")
REAL: dict[str, dict[str, Any]] = {
    "6e_h4_futures_m1_2024-01.csv.gz": {"timestamp": "timestamp_utc", "channels": OHLCV},
    "btc_perp_m1_2022-01.csv.gz": {"channels": OHLCV},
    "eurusd_m1_2017H1.csv.gz": {"timestamp": "timestamp_est", "timezone": "EST"},
    "ETTh1.csv.gz": {"timestamp": "date", "channels": ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")},
    "running_points.csv.gz": {
        "timestamp": "elapsed_s",
        "time_format": "epoch_s",
        "symbol": "session",
        "channels": ("distance_m", "hr_bpm"),
    },
}


@pytest.mark.skipif(not (MIRROR / "README.md").is_file(), reason=f"no data mirror in {MIRROR}")
@pytest.mark.parametrize("name", REAL)
def test_a_real_file_is_read_whole_and_cell_by_cell(name: str) -> None:
    options = REAL[name]
    source = Files(str(MIRROR / name), **options)
    chunks = list(source.scan().chunks)
    frame = pl.concat(chunk.frame for chunk in chunks)
    rows = list(csv.DictReader(io.StringIO(gzip.decompress((MIRROR / name).read_bytes()).decode())))
    stated = next(line for line in (MIRROR / "README.md").read_text().splitlines() if line.startswith(f"| {name} "))
    assert frame.height == len(rows) == int(stated.split("|")[2].strip().replace(",", ""))
    for channel in source.channels:
        assert frame[channel].to_list() == [float(row[channel]) if row[channel] else None for row in rows]
    n_empty = sum(not row[channel] for row in rows for channel in source.channels)
    assert sum(chunk.unread.height for chunk in chunks) == n_empty
    if source.time_format is None:
        shift = datetime.timedelta(hours=5 if source.timezone == "EST" else 0)
        told = [datetime.datetime.fromisoformat(row[source.timestamp]) + shift for row in rows]
        assert frame["timestamp"].dt.replace_time_zone(None).to_list() == told
