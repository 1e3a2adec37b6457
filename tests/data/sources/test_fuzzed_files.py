"""Whatever stands in a file: an error that says so, or rows of which each is kept as Python reads it or is listed."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.data.sources import Chunk, csv_reading
from moola.data.sources.files import Files
from moola.errors import DataError

HEADER = "timestamp,open,note,close"
CHANNELS = ("open", "close")
GOOD = [f"2024-01-01 00:{i:02d}:00,{10 + i},n{i},{10.5 + i / 7}" for i in range(12)]

NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.text("0123456789.eE+-_, xnaif\u0661\uff11", max_size=9),
)
TIMES = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat(" ")),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}+01:00"),
    st.text("0123456789-:/ TZ+.", max_size=22),
)
CELLS = st.one_of(NUMBERS, TIMES, st.text(max_size=6))
LINES = st.one_of(
    st.tuples(TIMES, NUMBERS, CELLS, NUMBERS).map(",".join),
    st.lists(CELLS, max_size=6).map(",".join),
    st.sampled_from(["", "  ", '"', ",,,", '"a\nb"', "\r", *GOOD]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def chunks_of(path: Path) -> list[Chunk]:
    """What a file gives, each chunk whole: what is null is listed."""
    chunks = list(Files(str(path), channels=CHANNELS).scan().chunks)
    for chunk in chunks:
        lost = chunk.unread.filter(column="the whole line").height
        assert chunk.frame.null_count().sum_horizontal()[0] == chunk.unread.height + 2 * lost
        assert chunk.unread["row"].is_in(range(chunk.frame.height)).all()
        assert chunk.unread["reason"].null_count() == 0
    return chunks


def chunks_or_error(path: Path) -> list[Chunk] | None:
    """What a file gives; None after an error that names the file and the way out."""
    try:
        return chunks_of(path)
    except DataError as caught:
        error = caught
    assert str(path) in str(error)
    assert error.way_out
    return None


def numbered(chunks: list[Chunk]) -> dict[int, Sequence[object]]:
    """Line -> time and values."""
    return {
        chunk.first_row + row: values for chunk in chunks for row, (_, *values) in enumerate(chunk.frame.iter_rows())
    }


def as_python_reads(cell: str) -> float | None:
    """A cell's number; None where a person would not write one so."""
    try:
        return float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None


def assert_true_to(line: str, values: Sequence[object]) -> None:
    """Whatever was read from a line without quotes is what Python reads there."""
    line = line.rstrip("\r")
    cells = line.split(",")
    if len(cells) != 4 or "\r" in line:
        assert list(values) == [None, None, None]
        return
    time = values[0]
    if isinstance(time, datetime.datetime):
        told = datetime.datetime.fromisoformat(cells[0].strip().replace("/", "-"))
        assert time == (told if told.tzinfo else told.replace(tzinfo=datetime.UTC))
    for cell, value in ((cells[1], values[1]), (cells[3], values[2])):
        told = as_python_reads(cell)
        if isinstance(value, float):
            assert told is not None and (told == value or (math.isnan(told) and math.isnan(value)))
        else:
            assert told is None or (math.isinf(told) and any(digit in cell for digit in "0123456789"))


@given(st.lists(LINES, min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_each_line_of_any_table_is_read_as_python_reads_it_or_is_listed(
    folder: Path, lines: list[str], end: str
) -> None:
    text = end.join([HEADER, GOOD[0], *lines]) + end
    path = folder / "lines.csv"
    path.write_bytes(text.encode(errors="surrogatepass"))
    chunks = chunks_or_error(path)
    if chunks is None or '"' in text:
        return  # quotes join and split lines; the other tests look at those
    rows = numbered(chunks)
    written = text.split("\n")
    for number, values in rows.items():
        assert_true_to(written[number - 1], values)
    assert set(rows) == {number for number, line in enumerate(written, 1) if number > 1 and line.strip()}


@given(st.binary(max_size=200), st.sampled_from([".csv", ".csv.gz", ".parquet"]), st.booleans())
def test_any_bytes_are_a_table_or_a_plain_error(folder: Path, content: bytes, ending: str, headed: bool) -> None:
    path = folder / f"bytes{ending}"
    content = f"{HEADER}\n{GOOD[0]}\n".encode() + content if headed else content
    path.write_bytes(gzip.compress(content) if ending == ".csv.gz" and headed else content)
    chunks_or_error(path)


@given(st.data())
def test_a_good_file_with_some_bytes_changed_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["csv", "csv.gz", "parquet"]))
    content = bytearray(good_file(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if change == "set":
            content[place] = data.draw(st.integers(0, 255))
        elif change == "cut" and len(content) > 10:
            del content[place : place + data.draw(st.integers(1, 9))]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=4))
        if not content:
            break
    path = folder / f"changed.{kind}"
    path.write_bytes(content)
    chunks = chunks_or_error(path)
    if chunks is not None and kind == "csv" and b'"' not in content:
        written = bytes(content).decode().split("\n")
        for number, values in numbered(chunks).items():
            assert_true_to(written[number - 1], values)


def good_file(kind: str) -> bytes:
    text = "\n".join([HEADER, *GOOD]) + "\n"
    if kind != "parquet":
        return text.encode() if kind == "csv" else gzip.compress(text.encode(), mtime=0)
    target = io.BytesIO()
    pl.read_csv(text.encode(), try_parse_dates=True).write_parquet(target)
    return target.getvalue()


@contextmanager
def blocks_of(n_bytes: int, carefully: bool) -> Iterator[None]:
    """Text files are read in small blocks, all of them cut by the csv module where asked."""
    with mock.patch.object(csv_reading, "_BLOCK_BYTES", n_bytes):
        if not carefully:
            yield
            return
        with mock.patch.object(csv_reading, "_cut_plainly", return_value=None):
            yield


def rows_and_unread(path: Path) -> tuple[dict[int, Sequence[object]], list[tuple[object, ...]]]:
    chunks = chunks_of(path)
    unread = [(chunk.first_row + row, *rest) for chunk in chunks for row, *rest in chunk.unread.iter_rows()]
    return numbered(chunks), unread


@settings(max_examples=60)
@given(
    st.lists(st.lists(CELLS.filter(lambda cell: "\0" not in cell), min_size=3, max_size=5), max_size=6),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(20, 400),
)
def test_blocks_and_the_way_they_are_cut_change_nothing(
    folder: Path, table: list[list[str]], quoting: Any, end: str, block_bytes: int
) -> None:
    target = io.StringIO(newline="")
    writer = csv.writer(target, quoting=quoting, lineterminator=end)
    writer.writerows([HEADER.split(","), GOOD[0].split(","), *table])
    path = folder / "blocks.csv"
    try:
        path.write_bytes(target.getvalue().encode())
        whole = rows_and_unread(path)
    except (UnicodeEncodeError, DataError):
        return
    for carefully in (False, True):
        with blocks_of(block_bytes, carefully):
            assert repr(rows_and_unread(path)) == repr(whole)  # repr: a NaN equals itself
