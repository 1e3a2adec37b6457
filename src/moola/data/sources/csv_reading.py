"""Text tables of any size as columns of text, block by block, with the line number of every row.

Most blocks hold no quote and no odd line, and polars cuts them into columns. Any other block is cut by Python's csv
module, which is slower and tells every line that is no row of the table. Both give the same rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.data.sources.file_columns import RawRows
from moola.data.sources.text_files import GZIP
from moola.errors import DataError

_BLOCK_BYTES = 8 << 20
_FIRST_BLOCK_BYTES = 1 << 18
_LONGEST_BYTES = 16 << 20
_MOST_BREAKS = 1_000
_BARE_CR = "holds a bare CR"
_BOM = b"\xef\xbb\xbf"
_NOT_TEXT = (
    (b"PAR1", "is a Parquet file", "give it the name of one, .parquet"),
    (b"PK\x03\x04", "is a zip archive", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd", "unpack it, or pack it with gzip"),
    (b"BZh", "is packed with bzip2", "unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "is packed with xz", "unpack it, or pack it with gzip"),
    (b"\xff\xfe", "is UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text", "save it as UTF-8"),
    (b"<!DOCTYPE", "is an HTML page", "download the file itself"),
    (b"<html", "is an HTML page", "download the file itself"),
)


@dataclass(frozen=True)
class TextTable:
    """One text table, its header read.

    Attributes:
        path: the file, gzip or not.
        separator: one character between the fields.
        names: of the columns.
        first_line: line on which the rows begin, from 1.
    """

    path: Path
    separator: str
    names: tuple[str, ...]
    first_line: int

    @classmethod
    def open(cls, path: Path, separator: str, names: tuple[str, ...] | None = None) -> TextTable:
        """Read the header.

        Args:
            path: the file.
            separator: one character between the fields.
            names: of the columns of a file without a header; blanks around a header's own names do not count.

        Raises:
            DataError: the file is empty, no text, broken in its first lines, or has no line after the header.
        """
        _, block = next(_blocks(path, _FIRST_BLOCK_BYTES), (1, b""))
        lines = _text(block, path, 1).split("\n")
        reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator)
        try:
            fields = next((fields for fields in reader if not _is_blank(fields)), None)
        except csv.Error as error:
            bare = "\r" in lines[reader.line_num - 1].removesuffix("\r")
            why, way_out = (
                (_BARE_CR, "save it with LF or CRLF line ends") if bare else (_spoken(error), "mend this line")
            )
            raise DataError(f"{path}: line {reader.line_num} is no header", why, way_out) from error
        if fields is None:
            raise DataError(f"{path} is empty", "no line holds anything", "replace the file")
        if names is not None:
            if len(fields) != len(names):
                raise DataError(
                    f"{path}: line {reader.line_num} has {len(fields)} fields, data.column_names names {len(names)}",
                    lines[reader.line_num - 1][:200],
                    "name every column in data.column_names, or mend data.separator",
                )
            return cls(path, separator, names, 1)
        if not any(line.strip() for line in lines[reader.line_num :]):
            raise DataError(f"{path} has a header and no rows", "", "replace the file")
        _refuse_long_header(path, lines[reader.line_num :], separator)
        return cls(path, separator, tuple(field.strip() for field in fields), reader.line_num + 1)

    def first_rows(self, wanted: list[str]) -> pl.DataFrame:
        """The rows in the first quarter megabyte, as text.

        Raises:
            DataError: as `rows`.
        """
        return next((piece.frame for piece in self._rows(wanted, _FIRST_BLOCK_BYTES)), _no_rows(wanted))

    def rows(self, wanted: list[str]) -> Iterator[RawRows]:
        """All rows as text, in pieces of consecutive lines; blank lines are no rows.

        Raises:
            DataError: the file breaks off or holds what is no text, at this point.
        """
        return self._rows(wanted, _BLOCK_BYTES)

    def _rows(self, wanted: list[str], block_bytes: int) -> Iterator[RawRows]:
        for line, block in _blocks(self.path, block_bytes):
            text = _text(block, self.path, line)
            if line < self.first_line:
                text = text.split("\n", self.first_line - line)[-1]
                block, line = text.encode(), self.first_line
            frame = _cut_plainly(block, self.separator, self.names, wanted)
            if frame is not None:
                yield RawRows(frame, line)
            else:
                yield from self._cut_carefully(text, line, wanted)

    def _cut_carefully(self, text: str, line: int, wanted: list[str]) -> Iterator[RawRows]:
        lines = text.split("\n")
        rows: list[list[str]] = []
        numbers: list[int] = []
        misfits: list[tuple[int, str, str]] = []
        nothing = [""] * len(self.names)
        for at, record in _records(lines if lines[-1] else lines[:-1], self.separator):
            if isinstance(record, str):
                misfits.append((len(rows), lines[at], record))
            elif len(record) != len(self.names):
                why = f"has {len(record)} fields where the table has {len(self.names)}"
                misfits.append((len(rows), lines[at], why))
                record = nothing
            rows.append(nothing if isinstance(record, str) else record)
            numbers.append(line + at)
        places = [(name, self.names.index(name)) for name in wanted]
        columns = {name: pl.Series([row[place] for row in rows], dtype=pl.String) for name, place in places}
        frame = pl.DataFrame(columns).select(pl.all().replace("", None))
        breaks = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
        if len(breaks) > _MOST_BREAKS:
            raise DataError(
                f"{self.path}: blank lines or line ends inside quotes lie between its rows everywhere",
                f"the first near line {numbers[breaks[0]]}",
                "write one line a row (a file with doubled line ends was saved wrongly)",
            )
        for start, stop in itertools.pairwise([0, *breaks, len(numbers)] if numbers else []):
            own = [(row - start, raw, why) for row, raw, why in misfits if start <= row < stop]
            yield RawRows(frame[start:stop], numbers[start], own)


def _cut_plainly(block: bytes, separator: str, names: tuple[str, ...], wanted: list[str]) -> pl.DataFrame | None:
    """The wanted columns of a block without quotes in which every line has every field; None for any other block."""
    if b'"' in block:
        return None
    block = block.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    if b"\r" in block:
        return None
    # polars drops the surplus of a line with too many fields, so the marks between fields are looked at here
    characters = np.frombuffer(block, dtype=np.uint8)
    is_end = characters == ord("\n")
    ends = is_end[is_end | (characters == ord(separator))]
    if len(ends) % len(names) or not ends[len(names) - 1 :: len(names)].all():
        return None
    n_lines = len(ends) // len(names)
    if np.count_nonzero(ends) != n_lines:
        return None
    places = {str(names.index(name)): name for name in wanted}
    schema = {str(place): pl.String for place in range(len(names))}
    scan = pl.scan_csv(block, separator=separator, has_header=False, schema=schema, quote_char=None)
    frame = scan.select(pl.col(place).alias(name) for place, name in places.items()).collect()
    return frame if frame.height == n_lines else None


def _records(lines: list[str], separator: str) -> Iterator[tuple[int, list[str] | str]]:
    """Fields of each record that is not blank, or why it has none, with the position of its first line."""
    at = 0
    while at < len(lines):
        begin = at
        reader = csv.reader((f"{lines[i]}\n" for i in range(begin, len(lines))), delimiter=separator, strict=True)
        try:
            for fields in reader:
                first, at = at, begin + reader.line_num
                if not _is_blank(fields):
                    yield first, fields
        except csv.Error as error:  # go on after the line, so that one stray quote costs one row
            yield at, _spoken(error)
            at += 1


def _refuse_long_header(path: Path, lines: list[str], separator: str) -> None:
    """Raise where the two lines after the first are header too, as yfinance writes it."""
    second, third, *_ = [[cell.strip() for cell in line.split(separator)] for line in (*lines[:2], "", "")]
    if second[0] == "Ticker" or (third[0] in ("Date", "Datetime") and not any(third[1:])):
        raise DataError(
            f"{path}: its header takes 3 lines",
            f"the second begins with '{second[0]}', the third with '{third[0]}'",
            "delete lines 2 and 3",
        )


def _spoken(error: csv.Error) -> str:
    """What the csv module finds wrong, as a person says it."""
    words = {
        "unexpected end": "opens a quote that is never closed",
        "expected after": "has text after a closing quote",
        "new-line character": _BARE_CR,
        "larger than field limit": "has a field of more than 128 KiB",
    }
    return next((spoken for key, spoken in words.items() if key in str(error)), f"is no row: {error}")


def _is_blank(fields: list[str]) -> bool:
    return not fields or (len(fields) == 1 and not fields[0].strip())


def _no_rows(wanted: list[str]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))


def _blocks(path: Path, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a text file, each block with the number of its first line.

    A block ends where its quotes pair up if it can, so that it does not end inside a quoted field.
    """
    line, rest = 1, b""
    with _open(path) as stream:
        while True:
            read, failure = _read(stream, block_bytes)
            if failure is not None:
                last = line - 1 + rest.count(b"\n") + read.count(b"\n")
                way_out = "copy or download the file again"
                raise DataError(f"{path} breaks off after line {last}", str(failure), way_out) from failure
            data = rest + read if rest or line > 1 else read.removeprefix(_BOM)
            end = data.rfind(b"\n") + 1 if read else len(data)
            if not data:
                return
            if read and end < len(data) and len(data) >= _LONGEST_BYTES and not end:
                why = f"it is longer than {_LONGEST_BYTES >> 20} MiB"
                raise DataError(f"{path}: line {line} is no row of a table", why, "check that this is the right file")
            if read and (not end or (len(data) < _LONGEST_BYTES and data.count(b'"', 0, end) % 2)):
                rest = data
                continue
            yield line, data[:end]
            line, rest = line + data.count(b"\n", 0, end), data[end:]


def _read(stream: io.BufferedIOBase, size: int) -> tuple[bytes, Exception | None]:
    """The next bytes, fewer at the end, and what ended them where that was no proper end."""
    pieces: list[bytes] = []
    try:
        while size > 0 and (piece := stream.read1(size)):
            pieces.append(piece)
            size -= len(piece)
    except (EOFError, OSError, zlib.error) as error:
        return b"".join(pieces), error
    return b"".join(pieces), None


def _open(path: Path) -> io.BufferedIOBase:
    """The unpacked bytes of a text file.

    Raises:
        DataError: the file cannot be opened, or its first bytes say that it is something else.
    """
    try:
        with path.open("rb") as handle:
            first = handle.read(64)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read", error.strerror or str(error), "give an existing, readable file"
        ) from error
    if _is_excel(first, path):
        raise DataError(f"{path} is an Excel workbook", "", "save it as CSV")
    for magic, what, way_out in _NOT_TEXT:
        if first.lstrip().lower().startswith(magic.lower()) if magic.startswith(b"<") else first.startswith(magic):
            raise DataError(f"{path} {what}", "", way_out)
    if first.startswith(GZIP):
        return gzip.open(path)
    if path.suffix == ".gz" and first:
        name = path.with_suffix("").name
        raise DataError(
            f"{path} is not packed with gzip", f"it begins with {first[:20]!r}", f"name it {name} if it is whole"
        )
    return path.open("rb")


def _is_excel(first: bytes, path: Path) -> bool:
    """Whether a file with these first bytes is a workbook, in the old format or the one packed with zip."""
    parts = (b"[Content_Types].xml", b"docProps/", b"_rels/", b"xl/")
    is_named = path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb")
    packed = first.startswith(b"PK\x03\x04") and (is_named or any(part in first for part in parts))
    return packed or first.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


def _text(block: bytes, path: Path, line: int) -> str:
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        at = line + block.count(b"\n", 0, error.start)
        shown = block[error.start : error.start + 1].hex()
        raise DataError(
            f"{path}: line {at} is no UTF-8 text", f"it holds byte 0x{shown}", "save the file as UTF-8"
        ) from error
    if "\0" in text:
        at = line + text.count("\n", 0, text.index("\0"))
        raise DataError(f"{path}: line {at} holds a null byte", "this is no text file", "give a CSV or Parquet file")
    return text
