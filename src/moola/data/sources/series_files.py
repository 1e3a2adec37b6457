"""Labelled series from files of the UCR/UEA archive: one series a case, a train file and perhaps a test file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.sources import BarScan, Chunk, series_table
from moola.data.sources.problems import Problems, refuse
from moola.data.sources.ts_format import Case, read_cases
from moola.errors import DataError, did_you_mean
from moola.layout import digest_file
from moola.schemas import TIMESTAMP

_CHUNK_BARS = 200_000

Unequal = Literal["refuse", "pad", "truncate"]


@dataclass(frozen=True)
class Lengths:
    """How long the cases of a set are, and what it takes to make them equal.

    Attributes:
        shortest, longest: steps.
        n_cases: all of them.
        n_padded, padded_steps: cases that are shorter than the longest, and the steps they lack.
        n_truncated, truncated_steps: cases that are longer than the shortest, and the steps they have too many.
    """

    shortest: int
    longest: int
    n_cases: int
    n_padded: int
    padded_steps: int
    n_truncated: int
    truncated_steps: int

    @classmethod
    def of(cls, cases: list[Case]) -> Lengths:
        """Count; `cases` must not be empty."""
        steps = np.array([case.n_steps for case in cases])
        lacking, over = steps.max() - steps, steps - steps.min()
        counts = (np.count_nonzero(lacking), lacking.sum(), np.count_nonzero(over), over.sum())
        return cls(int(steps.min()), int(steps.max()), len(steps), *(int(count) for count in counts))

    def notes(self, unequal: Unequal) -> tuple[str, ...]:
        """What `unequal` changed, in words; empty where all cases are of one length."""
        if self.shortest == self.longest:
            return ()
        if unequal == "truncate":
            told = f"{self.truncated_steps:,} steps were cut from {self.n_truncated:,} of {self.n_cases:,} cases"
            return (f"{told}, which are now of {self.shortest:,} steps",)
        told = f"{self.padded_steps:,} steps were added to {self.n_padded:,} of {self.n_cases:,} cases"
        return (f"{told}, each its last value: they are now of {self.longest:,} steps",)


@dataclass(frozen=True)
class SeriesFiles:
    """UCR/UEA files: ``.ts``, ``.tsv``, or CSV with the header ``label,t0,t1,...``; gzip allowed.

    Every case is one series named ``NAME_PART_NUMBER`` (``NAME_NUMBER`` without a test file), where NAME is the train
    file without ``_TRAIN``. Channels are ``channel_0``, ...; the step number stands in for time, because cases have
    none. Both files are held in memory while they are read (8 bytes a value).

    Attributes:
        train: file of the training cases; all cases where `test` is null, and then no case belongs to a split.
        test: file of the test cases.
        unequal: cases of different lengths are refused; or padded, each with its own last value, to the longest of
            both files; or truncated at their end to the shortest of both. `lengths` counts what that changes.
    """

    train: str
    test: str | None = None
    unequal: Unequal = "refuse"

    def __post_init__(self) -> None:
        reject((self.test == self.train, f"test: {self.test} is the train file too"))

    def fingerprint(self) -> str:
        """Digest of names and contents of the files."""
        problems = Problems()
        for key, path in self._paths():
            if not path.is_file():
                problems.say(*_missing(key, path))
        refuse("the series files are not there", problems)
        parts = (f"{path.name}:{digest_file(path)}" for _, path in self._paths())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def scan(self) -> BarScan:
        """Read both files whole, then stream the cases, some hundred a chunk.

        Raises:
            DataError: every problem of both files with line, dimension and value.
        """
        read = self._read()
        cases = [case for part in read.values() for case in part]
        lengths = Lengths.of(cases)
        if self.unequal == "refuse" and lengths.shortest < lengths.longest:
            raise _unequal(self._what(), read, lengths)
        n_steps = lengths.shortest if self.unequal == "truncate" else lengths.longest
        names = {key: self._names(key, len(part)) for key, part in read.items()}
        splits = [key if self.test is not None else None for key, part in read.items() for _ in part]
        series = series_table([name for part in names.values() for name in part], splits, [c.label for c in cases])
        channels = tuple(f"channel_{i}" for i in range(cases[0].values.shape[0]))
        chunks = (
            chunk for key, path in self._paths() for chunk in _chunks(path, read[key], names[key], channels, n_steps)
        )
        return BarScan(channels, chunks, independent=True, series=series, notes=lengths.notes(self.unequal))

    def _paths(self) -> list[tuple[str, Path]]:
        paths = [("train", Path(self.train))]
        return paths if self.test is None else [*paths, ("test", Path(self.test))]

    def _what(self) -> str:
        return f"{' and '.join(str(path) for _, path in self._paths())} cannot be used"

    def _names(self, part: str, n_cases: int) -> list[str]:
        stem = Path(self.train).name.removesuffix(".gz")
        stem = re.sub(r"_train$", "", stem[: stem.rindex(".")], flags=re.IGNORECASE)
        middle = f"_{part}" if self.test is not None else ""
        return [f"{stem}{middle}_{number:05d}" for number in range(n_cases)]

    def _read(self) -> dict[str, list[Case]]:
        """The cases of each part; refused unless every value of every file is fine and the files fit together."""
        read: dict[str, list[Case]] = {}
        groups: list[Problems] = []
        for key, path in self._paths():
            problems = Problems(path.name)
            if path.is_file():
                read[key] = read_cases(path, problems)
            else:
                problems.say(*_missing(key, path))
            groups.append(problems)
        refuse(self._what(), *groups)
        refuse(self._what(), _between(read["train"], read.get("test", [])))
        return read


def _missing(key: str, path: Path) -> tuple[str, str]:
    """That there is no such file, and the way out."""
    near = did_you_mean(path.name, [item.name for item in path.parent.iterdir()]) if path.parent.is_dir() else ""
    near = near if near.startswith("did") else ""
    return f"there is no file {path}" + (f"; {near}" if near else ""), f"give an existing file with data.{key}=FILE"


def _between(train: list[Case], test: list[Case]) -> Problems:
    """What is wrong between the files: other dimensions, labels that only one of them has."""
    problems = Problems("train and test")
    counts = [part[0].values.shape[0] for part in (train, test) if part]
    if len(set(counts)) > 1:
        problems.say(f"cases have {counts[0]} and {counts[1]} dimensions", "give two parts of the same set")
    known = {case.label for case in train}
    for case in test:
        if case.label not in known:
            place = f"line {case.line} of the test file: '{case.label}'"
            problems.count("labels that no training case has", place, "mend the labels, or remove these test cases")
    return problems


def _unequal(what: str, read: dict[str, list[Case]], lengths: Lengths) -> DataError:
    """The refusal, with what each way out would change."""
    lines = []
    for key, cases in read.items():
        shown = ", ".join(f"line {case.line} has {case.n_steps}" for case in cases[:5])
        lines.append(f"- {key}: {shown}{', ...' if len(cases) > 5 else ''}")
    pad = f"data.unequal=pad ({lengths.padded_steps} steps added to {lengths.n_padded} of {lengths.n_cases} cases"
    cut = f"data.unequal=truncate ({lengths.truncated_steps} steps cut from {lengths.n_truncated} cases)"
    return DataError(
        f"{what}: it holds cases of different lengths",
        f"- from {lengths.shortest} to {lengths.longest} steps\n" + "\n".join(lines),
        f"{pad}, each going on with its last value) or {cut}",
    )


def _chunks(
    path: Path, cases: list[Case], names: list[str], channels: tuple[str, ...], n_steps: int
) -> Iterator[Chunk]:
    """Whole cases of `n_steps`, about `_CHUNK_BARS` a chunk; rows are numbered through all cases of the file."""
    per_chunk = max(1, _CHUNK_BARS // n_steps)
    for first in range(0, len(cases), per_chunk):
        some = cases[first : first + per_chunk]
        values = np.concatenate([_fitted(case.values, n_steps) for case in some], axis=1)
        frame = pl.DataFrame(
            {
                "series": pl.Series(names[first : first + per_chunk]).gather(np.repeat(np.arange(len(some)), n_steps)),
                "timestamp": pl.Series(np.tile(np.arange(n_steps), len(some))).cast(TIMESTAMP),
                **dict(zip(channels, values, strict=True)),
            }
        )
        yield Chunk(frame, f"{path}, step", first_row=first * n_steps + 1)


def _fitted(values: np.ndarray, n_steps: int) -> np.ndarray:
    """[n_channels, n_steps]: cut at the end, or going on with the last value."""
    lacking = n_steps - values.shape[1]
    return np.pad(values, ((0, 0), (0, lacking)), mode="edge") if lacking > 0 else values[:, :n_steps]
