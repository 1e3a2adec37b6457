"""Labels from a file of one's own: window_id, label, and what else was marked in the window."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola.config import reject
from moola.data.annotation_rows import JUDGED, POINTERS, RowRules
from moola.data.bar_store import BarStore
from moola.data.sources.problems import Problems, refuse
from moola.data.sources.text_files import read_lines
from moola.data.sources.whole_parquet import read_whole_parquet
from moola.data.window_index import WindowIndex
from moola.errors import DataError, did_you_mean
from moola.labels import POINTER_COLUMNS, WindowLabels
from moola.labels.csv_header import is_header
from moola.layout import digest_file
from moola.schemas.annotations import whole_numbers

_NEEDED = ("window_id", "label")
_NEAR = 10_000


@dataclass(frozen=True)
class LabelFile:
    """A CSV (or Parquet) file with the columns ``window_id`` and ``label``, one row a window.

    Pointers (``expansion_start``, ``expansion_end``: whole numbers, bars within the window, inside the zone of the
    windows, start before end; ``pointer_start``, ``pointer_end``: the same counted from the zone) and grades
    (``quality``: A to D) are checked where they are given. A model may learn to predict pointers; neither is ever an
    input. Other columns are left alone.

    Attributes:
        path: the file; ``.parquet``, else CSV with a header and commas (gzip allowed).
        classes: the labels there may be, in the order of every probability column; null: those found, alphabetically.
    """

    path: str
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        classes = self.classes or ()
        reject(
            (self.classes is not None and len(classes) < 2, f"classes: {list(classes)} must name at least two"),
            (len(set(classes)) < len(classes), f"classes: {list(classes)} holds one twice"),
        )

    def fingerprint(self) -> str:
        """Digest of the file; empty where there is none, which `label` then reports."""
        return digest_file(Path(self.path)) if Path(self.path).is_file() else ""

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        """Labels by window id.

        Raises:
            DataError: the file is missing or broken, names a window twice or one that does not exist, holds a class
                with one window only or one that `classes` does not name, or pointers outside the zone; all in one go,
                with lines as an editor numbers them.
        """
        path = Path(self.path)
        if not path.is_file():
            raise DataError(f"there is no label file {path}", "", "give an existing file with task.path=FILE")
        problems = Problems()
        rows = _read_parquet(path, problems) if path.suffix == ".parquet" else _read_csv(path, problems)
        if rows.height:
            RowRules(windows.zone, self.classes).judge(rows, problems)
            _judge_windows(rows, table["window_id"], problems)
        refuse(f"the labels in {path} cannot be used", problems)
        found = rows.select(*_NEEDED, *_pointers(rows, windows.zone[0]))
        joined = table.select("window_id").join(found, on="window_id", how="left", maintain_order="left")
        classes = self.classes or tuple(sorted(found["label"].unique().to_list()))
        marked = joined.select(POINTER_COLUMNS)
        any_marked = marked[POINTER_COLUMNS[0]].count() > 0
        return WindowLabels(joined["label"], classes, from_rule=False, pointers=marked if any_marked else None)


def _pointers(rows: pl.DataFrame, zone_start: int) -> Iterator[pl.Expr]:
    """First and last marked bar within the window, Int64, whichever way they are given; judged before."""
    for absolute, relative in zip(*POINTERS, strict=True):
        given = [whole_numbers(absolute)] if absolute in rows.columns else []
        given += [whole_numbers(relative) + zone_start] if relative in rows.columns else []
        yield pl.coalesce(*given, pl.lit(None, pl.Int64)).alias(absolute)


def _judge_windows(rows: pl.DataFrame, known: pl.Series, problems: Problems) -> None:
    """Tell labels of windows that there are not, with the near name where it is one."""
    unknown = rows.drop_nulls("window_id").filter(~pl.col("window_id").is_in(known.implode()))
    near = did_you_mean(unknown["window_id"][0], known.head(_NEAR).to_list()) if unknown.height == 1 else ""
    for place, name in unknown.select("place", "window_id").iter_rows():
        told = f"{name} ({place}){f'; {near}' if near.startswith('did') else ''}"
        way_out = "mend the names: `window_id` is SERIES_FIRSTBAR as in windows.parquet"
        problems.count("labels for windows that do not exist", told, way_out)


def _read_csv(path: Path, problems: Problems) -> pl.DataFrame:
    """Rows as `RowRules` wants them; empty where the file cannot be read."""
    lines = read_lines(path, problems)
    if problems:
        return pl.DataFrame()
    reader = csv.reader([f"{line}\n" for line in lines], strict=True)
    header: list[str] = []
    rows: list[list[str | None]] = []
    line = 1
    try:
        for cells in reader:
            texts = [cell.strip() or None for cell in cells]
            if not any(texts):
                pass  # an empty line
            elif not header:
                header = [cell or "" for cell in texts]
            elif len(cells) != len(header):
                place = f"line {line} has {len(cells)}, the header {len(header)}"
                problems.count("lines with another number of cells than the header", place, "mend these lines")
            else:
                rows.append([f"line {line}", *texts])
            line = reader.line_num + 1  # a quoted cell may hold line breaks: the next row begins after them
    except csv.Error as error:
        problems.say(f"line {line} is no CSV ({error})", "mend the quotes of this line")
    if not is_header(header, _NEEDED, JUDGED, problems):
        return pl.DataFrame()
    if not rows and not problems:
        problems.say("it holds no labels", "add rows such as s0_0000042,up")
    columns = dict.fromkeys(["place", *header], pl.String)
    return pl.DataFrame(rows, schema=columns, orient="row").select("place", *(n for n in JUDGED if n in header))


def _read_parquet(path: Path, problems: Problems) -> pl.DataFrame:
    """The same from Parquet; rows are numbered from 1."""
    frame = read_whole_parquet(path, problems)
    if frame is None:
        return pl.DataFrame()
    if not is_header(frame.columns, _NEEDED, JUDGED, problems):
        return pl.DataFrame()
    judged = [name for name in JUDGED if name in frame.columns]
    odd = [name for name in judged if frame.schema[name].is_nested() or frame.schema[name] == pl.Binary]
    odd += [name for name in _NEEDED if frame.schema[name].is_float()]
    for name in odd:
        problems.say(f"column '{name}' holds {frame.schema[name]}", "store text there, and whole numbers in pointers")
    if odd:
        return pl.DataFrame()
    if frame.is_empty():
        problems.say("it holds no labels", "add rows")
    texts = (pl.col(name).cast(pl.String).str.strip_chars().replace("", None) for name in judged)
    place = pl.format("row {}", pl.int_range(1, pl.len() + 1)).alias("place")
    return frame.select(place, *texts)
