"""Broken CSV and Parquet files: each is refused with its name, the place and the way out, and nothing is stored."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from moola.data.ingestion import ingest
from moola.data.sources.files import Files
from moola.errors import DataError

FOLDER = Path(__file__).parents[1] / "bad"

NEW_YORK = {"timezone": "America/New_York"}
NO_OFFSET = "has no UTC offset, unlike the file's first time"
COMMA = "has a comma; write 1234.5, or set data.decimal_comma=true"
OTHER_YEARS = "lies outside the years 1678 to 2261"

BEFORE_STREAMING: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "separated_by_semicolon.csv": ({}, ("columns timestamp, open, high", "data.separator=semicolon")),
    "separated_by_tab.csv": ({}, ("data.separator=tab",)),
    "separated_by_pipe.csv": ({}, ("data.separator=pipe",)),
    "missing_columns.csv": ({}, ("column 'high' is missing; known: price, timestamp", "data.channels=[...]")),
    "near_columns.csv": ({}, ("did you mean 'Open'?", "'data.columns={open: Open, high: hihg}'")),
    "missing_column.parquet": ({}, ("column 'close' is missing; did you mean 'Close'?", "data.columns={close: Close}")),
    "duplicate_column.csv": ({}, ("column 'close' stands there twice", "rename or remove one of the two")),
    "no_header.csv": ({}, ("it begins with ['2024-01-02 09:30:00', '10'", "data.header=false data.column_names=[...]")),
    "compact_times.csv": (
        {"header": False, "separator": ";", "column_names": ("timestamp", "open", "high", "low", "close")},
        ("line 1 has 6 fields, data.column_names names 5", "name every column"),
    ),
    "empty.csv": ({}, ("is empty", "replace the file")),
    "gzip_of_nothing.csv.gz": ({}, ("is empty",)),
    "blank_lines_only.csv": ({}, ("is empty",)),
    "header_only.csv": ({}, ("has a header and no rows", "replace the file")),
    "no_rows.parquet": ({}, ("has no rows",)),
    "cut.csv.gz": ({}, ("breaks off after line 243", "copy or download the file again")),
    "damaged.csv.gz": ({}, ("CRC check failed", "copy or download the file again")),
    "not_gzip.csv.gz": ({}, ("is not packed with gzip", "name it not_gzip.csv")),
    "cut.parquet": ({}, ("is cut off or damaged", "copy or write the file again")),
    "damaged.parquet": ({}, ("breaks off near row 1",)),
    "empty.parquet": ({}, ("is no Parquet file",)),
    "csv_named.parquet": ({}, ("is no Parquet file", ".csv")),
    "parquet_named.csv": ({}, ("is a Parquet file", ".parquet")),
    "text_prices.parquet": ({}, ("column 'open' is of type String", "column 'close' is of type String", "number")),
    "true_false_prices.parquet": ({}, ("column 'open' is of type Boolean",)),
    "list_prices.parquet": ({}, ("column 'open' is of type List(Float64), not a number",)),
    "time_of_day.parquet": ({}, ("column 'timestamp' is of type Time", "data.timestamp=")),
    "counted_times.parquet": ({}, ("column 'timestamp' does not read as times", "data.time_format=epoch_ms")),
    "seconds_since_1970.csv": ({"time_format": "epoch_ms"}, ("begins with 1704187800", "data.time_format=epoch_s")),
    "milliseconds_since_1970.csv": ({"time_format": "epoch_s"}, ("no time of our age", "data.time_format=epoch_ms")),
    "day_first.csv": ({}, ("'01/02/2024 09:30' can be read in two ways", "data.time_format='%d.%m.%Y %H:%M:%S'")),
    "utf16.csv": ({}, ("is UTF-16 text", "save it as UTF-8")),
    "latin1.csv": ({}, ("line 4 is no UTF-8 text", "save the file as UTF-8")),
    "binary.csv": ({}, ("line 1 is no UTF-8 text",)),
    "null_byte.csv": ({}, ("line 4 holds a null byte", "give a CSV or Parquet file")),
    "bare_cr.csv": ({}, ("line 1 is no header", "CRLF line ends")),
    "page.csv": ({}, ("is an HTML page", "download the file itself")),
    "archive.csv": ({}, ("is a zip archive", "unpack it")),
    "folder.csv": ({}, ("is a folder", "folder.csv/*.csv")),
    "reversed_time.csv": ({}, ("run backwards, the newest first (2024-01-02 09:32:00 UTC)", "sort the rows")),
    "metatrader5.csv": (
        {"separator": "tab"},
        (
            "column 'open' is missing; did you mean '<OPEN>'?",
            "'data.timestamp=\"<DATE>\"' 'data.time=\"<TIME>\"'",
            '\'data.columns={open: "<OPEN>", high: "<HIGH>", low: "<LOW>", close: "<CLOSE>"}\'',
        ),
    ),
    "metatrader4.csv": (
        {
            "header": False,
            "column_names": ("Date", "Time", "open", "high", "low", "close", "volume"),
            "timestamp": "Date",
        },
        ("holds dates only", "'Time' looks like the time", "data.time=Time data.time_format='%Y.%m.%d %H:%M'"),
    ),
    "dates_only.csv": ({"timestamp": "Date"}, ("holds dates only, the same in several rows", "data.time=Time")),
    "three_header_lines.csv": ({"timestamp": "Price"}, ("its header takes 3 lines", "delete lines 2 and 3")),
    "symbols_in_turn.csv": ({}, ("holds several series ('es', 'nq')", "4 of 8 rows", "data.symbol=symbol")),
    "symbols_one_by_one.csv": ({}, ("holds several series ('es', 'nq')", "120 of 240 rows", "data.symbol=Ticker")),
    "workbook.csv": ({}, ("is an Excel workbook", "save it as CSV")),
    "workbook.xlsx": ({}, ("is an Excel workbook", "save it as CSV")),
    "old_workbook.xls": ({}, ("is an Excel workbook", "save it as CSV")),
    "twins/*": ({}, ("nq.csv", "nq.parquet", "would become one series 'nq'", "data.symbol=")),
    "doubled_lines.csv": (
        {"time_format": "epoch_s"},
        ("blank lines or line ends inside quotes", "near line 4", "write one line a row"),
    ),
}
"""File -> its options, words of the error."""

UNREAD: dict[str, tuple[dict[str, Any], int, tuple[str, ...]]] = {
    "mixed_offsets.csv": ({}, 4, ("timestamp", "2024-01-02 09:32:00", NO_OFFSET)),
    "local_then_offset.csv": ({}, 4, ("timestamp", "2024-01-02 09:32:00Z", "has a UTC offset, unlike")),
    "dst_fold.csv": (NEW_YORK, 3, ("timestamp", "2024-11-03 01:30:00", "occurs twice in", "data.ambiguous=order")),
    "dst_gap.csv": (NEW_YORK, 3, ("timestamp", "2024-03-10 02:30:00", "does not exist in America/New_York")),
    "local_in_gap.parquet": (NEW_YORK, 2, ("timestamp", "2024-03-10 02:00:00", "does not exist in")),
    "text_in_number.csv": ({}, 5, ("low", "abc", "is not a number")),
    "units_in_number.csv": ({}, 5, ("open", "$12.50", "is not a number")),
    "thousands.csv": ({}, 5, ("open", "19,800.25", COMMA)),
    "decimal_comma.csv": ({"separator": ";"}, 2, ("open", "1,05", COMMA)),
    "underscore.csv": ({}, 5, ("open", "1_000", "is not a number")),
    "hexadecimal.csv": ({}, 5, ("open", "0x10", "is not a number")),
    "overflow.csv": ({}, 5, ("open", "1e400", "is too large for a number")),
    "long_line.csv": ({}, 5, ("close", "1111111111", "is too large for a number")),
    "empty_cell.csv": ({}, 5, ("low", "is empty")),
    "null_price.parquet": ({}, 3, ("close", "is empty")),
    "empty_time.csv": ({}, 5, ("timestamp", "is empty")),
    "null_times.parquet": ({}, 3, ("timestamp", "is empty")),
    "word_for_time.csv": ({}, 5, ("timestamp", "yesterday", "is not a time")),
    "impossible_date.csv": ({}, 5, ("timestamp", "2024-02-30 09:33:00", "is not a time")),
    "leap_second.csv": ({}, 5, ("timestamp", "2024-01-02 09:33:60", "is not a time")),
    "year_0001.csv": ({}, 5, ("timestamp", "0001-01-01 00:00:00", OTHER_YEARS)),
    "year_9999.csv": ({}, 5, ("timestamp", "9999-12-31 00:00:00", OTHER_YEARS)),
    "out_of_range_time.parquet": ({}, 3, ("timestamp", "4611686018427387904", OTHER_YEARS)),
    "too_few_fields.csv": ({}, 5, ("2024-01-02 09:33:00,12,14", "has 3 fields where the table has 5")),
    "too_many_fields.csv": ({}, 5, ("12,14,11,13,1,2", "has 7 fields where the table has 5")),
    "stray_quote.csv": ({}, 3, ('"11"5,13,10,12', "has text after a closing quote")),
    "open_quote.csv": ({}, 3, ('"11,13,10,12', "opens a quote that is never closed")),
    "blank_lines_between.csv": ({}, 7, ("low", "x", "is not a number")),
    "line_end_in_quotes.csv": ({}, 5, ("low", "x", "is not a number")),
    "empty_symbol.csv": ({"symbol": "symbol"}, 4, ("symbol", "names no series")),
}
"""File -> its options, the line (or row) that is the only bad one or the first, words about it."""

JUDGED: dict[str, tuple[dict[str, Any], int, str]] = {
    "duplicate_time.csv": ({}, 5, "time is that of a row before it"),
    "duplicate_time.parquet": ({}, 5, "time is that of a row before it"),
    "late_time.csv": ({}, 5, "time is earlier than that of a row before it"),
    "nan.csv": ({}, 5, "finite"),
    "nan_price.parquet": ({}, 3, "finite"),
    "infinite.csv": ({}, 5, "finite"),
    "negative_price.csv": ({}, 5, "a price is 0 or less"),
    "zero_price.csv": ({}, 5, "a price is 0 or less"),
    "high_below_low.csv": ({}, 5, "high"),
    "low_above_close.csv": ({}, 5, "low"),
    "negative_volume.csv": ({"channels": ("open", "high", "low", "close", "volume")}, 5, "volume"),
    "beyond_float32.csv": ({}, 5, "high"),
}
"""File that can be read -> its options, the line (or row) that cannot be, a word of the rule that it breaks."""

READ = ("bom.csv", "crlf_and_blank_end.csv", "quoted.csv", "spaces.csv")


def files(name: str, options: dict[str, Any]) -> Files:
    return Files(str(FOLDER / name), **options)


def refused(source: Files, target: Path) -> str:
    """What is told when a source is ingested, after a look at what that left behind."""
    with pytest.raises(DataError) as caught:
        ingest(source.scan(), target)
    left = [path for path in target.rglob("*") if path.is_file()] if target.exists() else []
    assert not left, f"{left} were left behind"
    assert caught.value.way_out
    return str(caught.value)


def test_every_file_of_the_corpus_is_in_one_table() -> None:
    tables = [*BEFORE_STREAMING, *UNREAD, *JUDGED, *READ, "huge_line.csv.gz"]
    found = {item.name for item in FOLDER.iterdir() if not item.name.startswith(".")} - {"twins"} | {"twins/*"}
    assert len(tables) == len(set(tables)) and set(tables) == found


@pytest.mark.parametrize("name", BEFORE_STREAMING)
def test_a_file_that_is_no_table_of_bars_is_refused_before_its_rows(name: str, tmp_path: Path) -> None:
    options, words = BEFORE_STREAMING[name]
    if name not in ("doubled_lines.csv", "symbols_one_by_one.csv"):  # good in their first rows
        with pytest.raises(DataError):
            files(name, options).scan()
    told = refused(files(name, options), tmp_path / "store")
    assert not [word for word in (str(FOLDER / name), *words) if word not in told], told


@pytest.mark.parametrize("name", UNREAD)
def test_a_cell_that_cannot_be_read_is_listed_with_its_line(name: str, tmp_path: Path) -> None:
    options, line, words = UNREAD[name]
    cells: list[str] = []
    for chunk in files(name, options).scan().chunks:
        assert chunk.frame.null_count().sum_horizontal()[0] >= chunk.unread.height
        cells += [" ".join(map(str, (chunk.first_row + row, *rest))) for row, *rest in chunk.unread.iter_rows()]
    assert cells[0].startswith(f"{line} ")
    assert not [word for word in words if word not in cells[0]], cells
    told = refused(files(name, options), tmp_path / "store")
    assert f"{name}:{line}" in told and words[-1] in told, told


@pytest.mark.parametrize("name", JUDGED)
def test_a_row_that_cannot_be_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    options, line, word = JUDGED[name]
    assert all(chunk.unread.is_empty() for chunk in files(name, options).scan().chunks)
    told = refused(files(name, options), tmp_path / "store")
    assert f"{name}:{line}" in told and word in told, told


def test_a_line_without_end_is_refused_at_its_number(tmp_path: Path) -> None:
    told = refused(files("huge_line.csv.gz", {}), tmp_path / "store")
    assert "huge_line.csv.gz: line 3 is no row of a table" in told and "longer than 16 MiB" in told


@pytest.mark.parametrize("name", READ)
def test_what_other_programs_write_around_good_rows_is_no_fault(name: str, tmp_path: Path) -> None:
    summary = ingest(files(name, {}).scan(), tmp_path / "store")
    assert summary.rows_kept == summary.rows_read > 0


def test_a_file_that_breaks_off_late_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = "".join(f"{1_704_067_200 + 60 * i},10,12,9,11\n" for i in range(200_000))
    packed = gzip.compress(f"timestamp,open,high,low,close\n{rows}".encode(), compresslevel=1)
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-20_000])
    source = Files(str(tmp_path / "cut.csv.gz"), time_format="epoch_s")
    source.scan()  # its first rows are good
    told = refused(source, tmp_path / "store")
    assert "cut.csv.gz breaks off after line 1" in told
