"""Labels from a CSV file: window_id, label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.errors import DataError, did_you_mean
from moola.labels import WindowLabels
from moola.layout import digest_file

_SHOWN = 5


@dataclass(frozen=True)
class LabelFile:
    """A CSV file with the columns ``window_id`` and ``label``; other columns are left alone.

    Attributes:
        path: the file.
    """

    path: str

    def fingerprint(self) -> str:
        """Digest of the file; empty where there is none, which `label` then reports."""
        return digest_file(Path(self.path)) if Path(self.path).is_file() else ""

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        """Labels by window id; classes in alphabetical order.

        Raises:
            DataError: the file is missing or broken, names a window twice or one that does not exist.
        """
        found = self._read()
        problems = _problems(found, table["window_id"])
        if problems:
            raise DataError(
                f"the labels in {self.path} cannot be used",
                "\n".join(problems),
                "mend the file; `window_id` is SERIES_FIRSTBAR as in windows.parquet",
            )
        joined = table.select("window_id").join(found, on="window_id", how="left", maintain_order="left")
        return WindowLabels(joined["label"], tuple(sorted(found["label"].unique().to_list())), from_rule=False)

    def _read(self) -> pl.DataFrame:
        path = Path(self.path)
        try:
            raw = pl.read_csv(path, infer_schema=False)
        except FileNotFoundError as error:
            raise DataError(
                f"there is no label file {path}", "", "give an existing file with task.path=FILE"
            ) from error
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{path} is not a readable CSV file", str(error).splitlines()[0], "mend or replace the file"
            ) from error
        missing = [name for name in ("window_id", "label") if name not in raw.columns]
        if missing:
            problems = [f"- column '{name}' is missing; {did_you_mean(name, raw.columns)}" for name in missing]
            raise DataError(f"{path} lacks columns", "\n".join(problems), "the columns are window_id,label")
        return raw.select(pl.col(name).str.strip_chars().replace("", None) for name in ("window_id", "label"))


def _problems(found: pl.DataFrame, known: pl.Series) -> list[str]:
    empty = found.filter(pl.any_horizontal(pl.col("window_id", "label").is_null()))
    unknown = found.filter(~pl.col("window_id").is_in(known.implode()))["window_id"].drop_nulls().to_list()
    twice = found.filter(pl.col("window_id").is_duplicated())["window_id"].drop_nulls().unique().to_list()
    problems: list[str] = [] if found.height else ["- it holds no labels"]
    if empty.height:
        problems.append(f"- {empty.height} rows without a window_id or label")
    if unknown:
        near = did_you_mean(unknown[0], known.head(10_000).to_list()) if len(unknown) == 1 else ""
        shown = ", ".join(unknown[:_SHOWN])
        problems.append(
            f"- {len(unknown)} labels for windows that do not exist: {shown}"
            + (f"; {near}" if near.startswith("did") else "")
        )
    if twice:
        problems.append(f"- {len(twice)} windows with more than one label: {', '.join(sorted(twice)[:_SHOWN])}")
    return problems
