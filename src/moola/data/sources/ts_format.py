"""The files of the UCR/UEA archive: ``.ts`` (header, dimensions split by ``:``), ``.tsv`` and ``label,t0,t1,...`` CSV.

Formats: Dau et al. 2019, IEEE/CAA J. Autom. Sinica 6(6), and Bagnall et al. 2018, arXiv:1811.00075. What differs from
other readers: every number is exactly ``float()`` of its cell or the file is refused, each offence is told with its
line, dimension and value (counted from 1), and a header that the data contradict is an error.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moola.data.sources.problems import Problems
from moola.data.sources.text_files import read_lines
from moola.data.sources.ts_header import COMMENTS, TsHeader, read_header
from moola.errors import did_you_mean

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_SUFFIXES = (".ts", ".tsv", ".csv")


@dataclass(frozen=True)
class Case:
    """One labelled series.

    Attributes:
        line: line of the file it stands in, from 1.
        values: float64 [n_channels, n_steps].
        label: its class as written; None where the file has no labels.
    """

    line: int
    values: np.ndarray
    label: str | None

    @property
    def n_steps(self) -> int:
        """Length of the case."""
        return self.values.shape[1]


def read_cases(path: Path, problems: Problems) -> list[Case]:
    """Every case of a file, in its order; the suffix says which format it is (``.gz`` aside).

    Everything wrong goes into `problems`; the cases are then incomplete and must not be used.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _SUFFIXES:
        problems.say(
            f"its name ends in '{suffix}'", f"give a file that ends in {', '.join(_SUFFIXES)} (or these + .gz)"
        )
        return []
    lines = read_lines(path, problems)
    if problems:
        return []
    if not any(line.strip() for line in lines):
        problems.say("it is empty", "replace the file")
        return []
    cases = {".ts": _read_ts, ".tsv": _read_tsv, ".csv": _read_csv}[suffix](lines, problems)
    if not cases and not problems:
        problems.say("it has a header and no cases", "replace the file")
    return cases


def _read_ts(lines: list[str], problems: Problems) -> list[Case]:
    header = read_header(lines, problems)
    if header is None:
        return []
    cases: list[Case] = []
    for number, line in enumerate(lines[header.n_lines :], start=header.n_lines + 1):
        text = line.strip()
        if text.startswith("@"):
            problems.count("header lines after @data", f"line {number}: '{_short(text)}'", "move them above @data")
        elif text and not text.startswith(COMMENTS):
            cases += _read_ts_case(text, number, header, problems)
    header.check([(case.line, *case.values.shape) for case in cases], problems)
    return cases


def _read_ts_case(text: str, line: int, header: TsHeader, problems: Problems) -> list[Case]:
    """The case of one line, or none where it cannot be read."""
    dimensions = text.split(":")
    label = _ts_label(dimensions.pop().strip(), line, header.classes, problems) if header.classes is not None else None
    if not dimensions:
        problems.count("lines without values", f"line {line}", "write each case as VALUE,VALUE,...:LABEL")
        return []
    read = [
        _numbers(cells.split(","), f"line {line}, dimension {i}", problems)
        for i, cells in enumerate(dimensions, start=1)
    ]
    values = [row for row in read if row is not None]
    if len(values) < len(read):
        return []
    lengths = [len(row) for row in values]
    if len(set(lengths)) > 1:
        problems.count(
            "cases whose dimensions differ in length",
            f"line {line}: {_short(', '.join(map(str, lengths)))} values",
            "give every dimension of a case the same number of values",
        )
        return []
    return [Case(line, np.stack(values), label)]


def _ts_label(label: str, line: int, classes: tuple[str, ...], problems: Problems) -> str:
    way_out = "end each case with :LABEL, one of those that @classLabel names"
    if not label or "," in label:  # a comma: the line ends with values
        problems.count("cases without a label", f"line {line}", way_out)
    elif label not in classes:
        place = f"line {line}: '{_short(label)}' ({did_you_mean(label, classes)})"
        problems.count("labels that @classLabel does not name", place, way_out)
    return label


def _read_tsv(lines: list[str], problems: Problems) -> list[Case]:
    """One case a line: label, tab, value, tab, ... and no header."""
    cases: list[Case] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) == 1:
            place = f"line {number}: '{_short(line)}'"
            problems.count("lines without a tab", place, "separate label and values by tabs, as .tsv files do")
        elif not cases and not problems and not any(_is_number(cell) for cell in cells[1:]):
            problems.say(f"line {number} is a header: '{_short(line)}'", "remove it: .tsv files have none")
        else:
            cases += _read_row(cells, number, problems)
    return cases


def _read_csv(lines: list[str], problems: Problems) -> list[Case]:
    """A header ``label,t0,t1,...``, then one case a line."""
    way_out = "begin the file with the line label,t0,t1,... and one column a step"
    head = [cell.strip().lower() for cell in lines[0].split(",")]
    if head[0] != "label" or len(head) < 2:
        problems.say(f"line 1 is not the header label,t0,t1,...: '{_short(lines[0])}'", way_out)
        return []
    steps = [int(found[1]) if (found := re.fullmatch(r"t(\d{1,9})", name, re.ASCII)) else None for name in head[1:]]
    for position, step in enumerate(steps):
        if step is None or step != position + (steps[0] or 0):
            problems.say(f"line 1: column {position + 2} is '{_short(head[position + 1])}', no step in order", way_out)
            return []
    cases: list[Case] = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        if not line.strip():
            continue
        if len(cells) != len(head):
            place = f"line {number} has {len(cells)}, the header {len(head)}"
            problems.count("lines with another number of cells than the header", place, "mend these lines")
        else:
            cases += _read_row(cells, number, problems)
    return cases


def _read_row(cells: list[str], line: int, problems: Problems) -> list[Case]:
    """Label and values of a row; empty or NaN cells at its end say that the case is shorter, as in the archive."""
    label, values = cells[0].strip(), cells[1:]
    while values and values[-1].strip().lower() in ("", "nan"):
        values.pop()
    if not label:
        problems.count("cases without a label", f"line {line}", "begin each line with the label")
    if not values:
        problems.count("cases without values", f"line {line}", "remove these lines")
        return []
    numbers = _numbers(values, f"line {line}", problems)
    return [] if numbers is None else [Case(line, numbers[None], label)]


def _numbers(cells: list[str], place: str, problems: Problems) -> np.ndarray | None:
    """float64 [n]: exactly ``float()`` of each cell; None, and every offence told, where one is no finite number."""
    joined = "".join(cells)
    # float() also takes 1_000 and digits of other scripts, which nobody writes on purpose into such a file
    if joined.isascii() and "_" not in joined:
        with contextlib.suppress(ValueError):
            values = np.array([float(cell) for cell in cells])
            if bool((np.abs(values) <= _FLOAT32_MAX).all()):  # false for NaN and infinity too
                return values
    for position, cell in enumerate(cells, start=1):
        if fault := _fault(cell):
            kind, way_out = fault
            problems.count(kind, f"{place}, value {position}: '{_short(cell)}'", way_out)
    return None


def _fault(cell: str) -> tuple[str, str] | None:
    """Why a cell is no value, and the way out; None where it is one."""
    text = cell.strip().lower()
    if text in ("", "?", "nan", "+nan", "-nan"):
        return "missing values", "fill them or leave their cases out: moola makes no values up"
    if not _is_number(cell):
        return "values that are no numbers", "write numbers such as -1.25 or 3e-4"
    if "inf" in text:
        return "values that are not finite", "leave their cases out"
    if abs(float(cell)) > _FLOAT32_MAX:
        return "values too large for a 32-bit number", "rescale them, or leave their cases out"
    return None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _short(text: str) -> str:
    """Enough of a text to find it."""
    return text if len(text) <= 40 else f"{text[:37]}..."
