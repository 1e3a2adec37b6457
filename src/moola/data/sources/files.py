"""Bars from CSV and Parquet files: one file or a glob, one symbol a file or a symbol column, of any size."""

from __future__ import annotations

import difflib
import glob
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola.config import reject
from moola.data.sources import BarScan, Chunk
from moola.data.sources.channel_names import refuse_annotation_channels
from moola.data.sources.csv_reading import TextTable
from moola.data.sources.file_checks import PROBED_ROWS, check_names, check_times
from moola.data.sources.file_columns import ColumnReader, FileColumns, RawRows
from moola.data.sources.file_hints import SYMBOLS, TIMES_OF_DAY, SymbolWatch, bare, likely
from moola.data.sources.file_times import EPOCH_UNITS, Ambiguous, TimeRules, is_time_format
from moola.data.sources.parquet_reading import ParquetTable
from moola.data.sources.problems import Problems, refuse
from moola.data.timezones import timezone_problem
from moola.errors import DataError, did_you_mean
from moola.layout import digest_file
from moola.schemas import OHLC

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Words for separators that a shell would take for itself."""

_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
_PARQUET_SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class Files:
    """CSV files (gzip or not) and Parquet files, streamed in pieces of some megabytes.

    A file whose name ends in ``.parquet`` or ``.pq`` is Parquet, any other is text. Cells that cannot be read are
    listed in `Chunk.unread`; nothing is guessed.

    Attributes:
        path: a file or a glob (``data/raw/unlabeled/*.parquet``).
        timestamp: name of the time column, or of the date column where `time` is given.
        time: name of the column of the time of day, where date and time stand in two columns; `time_format` is then
            that of both with a blank between.
        timezone: of times that name no offset: ``America/New_York``, ``EST``, ``-05:00``; stored times are UTC.
        channels: value columns to keep, in this order.
        columns: channel -> column in the file, for channels whose column has another name.
        symbol: name of the symbol column; without one, each file is one series named after it.
        series: name of the one series that all files make up, in the order of their names (a file a month), m2 before
            m10.
        independent: series are separate cases without a common calendar; time counts inside each, such as seconds
            since its start.
        separator: between the fields of a text file, one character, or a word of `SEPARATORS`.
        time_format: None for ISO 8601, a strptime format such as ``%d.%m.%Y %H:%M:%S``, or epoch_s, epoch_ms,
            epoch_us, epoch_ns for counts since 1970.
        ambiguous: a local time that occurs twice when clocks go back is not read (``refuse``), or is the ``earliest``
            or ``latest`` of the two; ``order``: the later one as soon as the rows of the hour have stepped back.
        header: whether the first line of a text file names the columns.
        column_names: names of all columns, for text files without a header.
        decimal_comma: numbers in text files have a comma for a point: ``1,0842``.
    """

    path: str
    timestamp: str = "timestamp"
    time: str | None = None
    timezone: str = "UTC"
    channels: tuple[str, ...] = OHLC
    columns: dict[str, str] | None = None
    symbol: str | None = None
    series: str | None = None
    independent: bool = False
    separator: str = ","
    time_format: str | None = None
    ambiguous: Ambiguous = "refuse"
    header: bool = True
    column_names: tuple[str, ...] | None = None
    decimal_comma: bool = False

    def __post_init__(self) -> None:
        reserved = [name for name in self.channels if name in ("series", "timestamp")]
        strange = [
            f"'{name}'; {did_you_mean(name, self.channels)}" for name in self.columns or {} if name not in self.channels
        ]
        sources = list(self._columns().channels.values())
        twice = sorted({name for name in sources if sources.count(name) > 1})
        names = self.column_names or ()
        hidden = refuse_annotation_channels(dict.fromkeys([*self.channels, *sources]))
        zone_problem = timezone_problem(self.timezone)
        reject(
            (not self.path, "path: names no file"),
            (not self.channels, "channels: needs at least one"),
            (len(set(self.channels)) < len(self.channels), f"channels: {list(self.channels)} holds one twice"),
            (bool(reserved), f"channels: {reserved} are names that moola gives; name the channel otherwise in columns"),
            *((True, message) for message in hidden),
            (bool(strange), f"columns: no channel is named {', '.join(strange)}"),
            (bool(twice) and not reserved, f"columns: {twice} would become two channels"),
            (zone_problem is not None, f"timezone: {zone_problem}"),
            (
                not (len(self._separator) == 1 and self._separator.isascii()),
                f"separator: '{self.separator}' must be one character, or one of {', '.join(SEPARATORS)}",
            ),
            (self.time is not None and self.time in ("", self.timestamp), "time: must name a column beside timestamp"),
            (
                self.time is not None and self.time_format in EPOCH_UNITS,
                "time: a count since 1970 holds the time of day; leave it out",
            ),
            (self.symbol is not None and self.series is not None, "series: files with a symbol column name their own"),
            (self.series == "", "series: is empty"),
            (self.separator in ('"', "\n", "\r"), "separator: quotes and line ends cannot separate fields"),
            (
                self.time_format is not None and not is_time_format(self.time_format),
                f"time_format: '{self.time_format}' is neither one of {', '.join(EPOCH_UNITS)} "
                "nor a format that holds year, month and day, such as %d.%m.%Y %H:%M:%S",
            ),
            (not self.header and not names, "column_names: names the columns of a file with header=false"),
            (self.header and bool(names), "column_names: goes with header=false; rename columns with columns"),
            (len(set(names)) < len(names), f"column_names: {list(names)} holds one twice"),
        )

    def fingerprint(self) -> str:
        """Digest of names and contents of the files, in order."""
        try:
            parts = [f"{file.name}:{digest_file(file)}" for file in self._files()]
        except OSError as error:
            why = error.strerror or str(error)
            raise DataError(f"{error.filename} cannot be read", why, "give existing, readable files") from error
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def scan(self) -> BarScan:
        """Look at the first rows of every file, then begin to stream; rows keep their order."""
        columns, problems = self._columns(), Problems()
        tables: list[TextTable | ParquetTable] = []
        files = self._files()
        for file in files:
            try:
                tables.append(self._open(file, columns, problems))
            except DataError as error:
                problems.say(": ".join(part for part in (error.what, error.why) if part), error.way_out)
        named: dict[str, list[str]] = {}
        for file in files if self.symbol is None and self.series is None else []:
            named.setdefault(series_name(file), []).append(str(file))
        for name, places in named.items():
            if len(places) > 1:
                way_out = "rename them, name a symbol column with data.symbol=, or make them one with data.series=NAME"
                problems.say(f"{', '.join(places)} would become one series '{name}'", way_out)
        refuse(f"data.path={self.path} cannot be read", problems)
        return BarScan(self.channels, self._chunks(tables, columns), self.independent)

    @property
    def _separator(self) -> str:
        return SEPARATORS.get(self.separator, self.separator)

    def _columns(self) -> FileColumns:
        channels = {channel: (self.columns or {}).get(channel, channel) for channel in self.channels}
        times = TimeRules(self.time_format, self.timezone, self.ambiguous)
        return FileColumns(self.timestamp, channels, self.symbol, times, self.decimal_comma, self.time)

    def _files(self) -> list[Path]:
        if Path(self.path).is_file():  # its name may hold brackets
            return [Path(self.path)]
        files = sorted((path for name in glob.glob(self.path) if (path := Path(name)).is_file()), key=_natural)
        if files:
            return files
        if Path(self.path).is_dir():
            raise DataError(f"data.path={self.path} is a folder", "", f"name its files: data.path='{self.path}/*.csv'")
        folder = Path(self.path).parent
        why = _near_files(Path(self.path)) if folder.is_dir() else f"there is no folder {folder}"
        raise DataError(f"no file matches data.path={self.path}", why, "give an existing file or glob")

    def _open(self, file: Path, columns: FileColumns, problems: Problems) -> TextTable | ParquetTable:
        """A file whose first rows were looked at; what is wrong with them goes into `problems`."""
        before = len(problems.lines())
        place, way_out = str(file), ""
        if file.name.lower().endswith(_PARQUET_SUFFIXES):
            table = ParquetTable.open(file)
            table.check_types(columns, problems)
            if self.column_names is not None:
                problems.say(f"{place} has column names of its own", "leave out data.header and data.column_names")
        else:
            table = TextTable.open(file, self._separator, self.column_names)
            way_out = self._likelier_cause(table.names, columns)
        check_names(place, table.names, columns, problems, way_out)
        if len(problems.lines()) == before:
            beside = [name for name in table.names if bare(name) in TIMES_OF_DAY and name not in columns.wanted]
            symbol = self._unread_symbol(table, columns)
            rows = table.first_rows(list(dict.fromkeys([*columns.wanted, *beside, *symbol]))).head(PROBED_ROWS)
            check_times(place, rows, columns, problems)
            for name in symbol if len(problems.lines()) == before else ():
                chunk = ColumnReader(columns, place, "").chunk(RawRows(rows, 1))
                SymbolWatch(place, name).look(rows[name], chunk.frame["timestamp"])
        return table

    def _unread_symbol(self, table: TextTable | ParquetTable, columns: FileColumns) -> list[str]:
        """The column that looks like one of symbols, where none was named."""
        name = likely(table.names, SYMBOLS) if self.symbol is None else None
        if name is None or name in columns.wanted or table.names.count(name) > 1:
            return []
        kind = table.schema[name] if isinstance(table, ParquetTable) else pl.String()
        return [name] if isinstance(kind, pl.String | pl.Categorical | pl.Enum) or kind.is_integer() else []

    def _likelier_cause(self, names: tuple[str, ...], columns: FileColumns) -> str:
        """The way out where the columns are missing because the file is cut wrongly or has no header; else empty."""
        line, wanted = self._separator.join(names), set(columns.wanted)
        for word, other in SEPARATORS.items():
            cut = [name.strip() for name in line.split(other)]
            better = len(wanted & set(cut)) > len(wanted & set(names)) or (len(names) == 1 and len(cut) > 1)
            if other != self._separator and better:
                return f"its separator is another one: data.separator={word}"
        if self.header and sum(_is_number(name) for name in names) * 2 > len(names):
            return "its first line holds values: data.header=false data.column_names=[...]"
        return ""

    def _chunks(self, tables: list[TextTable | ParquetTable], columns: FileColumns) -> Iterator[Chunk]:
        for table in tables:
            reader = ColumnReader(columns, str(table.path), self.series or series_name(table.path))
            symbol = self._unread_symbol(table, columns)
            watches = [SymbolWatch(str(table.path), name) for name in symbol]
            for rows in table.rows([*columns.wanted, *symbol]):
                chunk = reader.chunk(rows)
                for watch in watches:
                    watch.look(rows.frame[watch.column], chunk.frame["timestamp"])
                yield chunk


def series_name(file: Path) -> str:
    """A file's name without ``.csv``, ``.parquet`` and the like, and without ``.gz`` after them."""
    name = file.name.removesuffix(".gz")
    return name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in _SUFFIXES else name


def _natural(path: Path) -> list[tuple[list[str | int], str]]:
    """Sorts m2 before m10, and equal numbers by their text."""
    parts = (*path.parts[:-1], series_name(path), path.name)
    pieces = [(re.split(r"([0-9]+)", part), part) for part in parts]
    return [([int(text) if at % 2 else text for at, text in enumerate(split)], part) for split, part in pieces]


def _near_files(wanted: Path) -> str:
    """Files beside the one that is missing, of the same ending and nearly the same name."""
    ending = "".join(wanted.suffixes[-2:] if wanted.suffix == ".gz" else wanted.suffixes[-1:])
    stems = [item.name.removesuffix(ending) for item in wanted.parent.iterdir() if item.name.endswith(ending)]
    found = difflib.get_close_matches(wanted.name.removesuffix(ending), stems, n=2, cutoff=0.75)
    if not found:
        return f"no file in {wanted.parent} has a name like it"
    return "did you mean " + " or ".join(f"'{stem}{ending}'" for stem in found) + "?"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
