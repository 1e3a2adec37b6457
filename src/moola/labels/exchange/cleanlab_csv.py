"""The table of label issues as cleanlab's users keep it: given and predicted label, probabilities, quality, flag."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from moola.errors import DataError
from moola.labels.events import LabelEvent
from moola.labels.exchange import imported
from moola.layout import replace_atomically

_BEFORE = ("window_id", "given_label", "pred_label")
_AFTER = ("label_quality", "is_label_issue")
MODEL = "cleanlab"
"""Who speaks in the notes that `read` makes: no person decided anything."""


def columns(classes: tuple[str, ...]) -> list[str]:
    """Columns of the layout in their order."""
    return [*_BEFORE, *(f"prob_{name}" for name in classes), *_AFTER]


def write(path: Path, table: pl.DataFrame) -> None:
    """Write the columns of the layout; others of the table are left out.

    Args:
        path: the file, replaced if it is there.
        table: at least the columns of `moola.schemas.label_issues`, probabilities in class order.
    """
    classes = tuple(name.removeprefix("prob_") for name in table.columns if name.startswith("prob_"))
    with replace_atomically(path) as handle:
        table.select(columns(classes)).write_csv(handle)


def read_table(path: Path) -> pl.DataFrame:
    """A file of this layout, whoever wrote it; classes are those of its ``prob_*`` columns, in their order.

    Raises:
        DataError: it is none; everything that is wrong in one go.
    """
    from moola import schemas
    from moola.schemas import check

    way_out = f"give a CSV file with the columns {', '.join(columns(('CLASS',)))}"
    try:
        names = pl.read_csv(path, n_rows=0).columns
        texts = dict.fromkeys([name for name in _BEFORE if name in names], pl.String)
        numbers = dict.fromkeys([name for name in names if name.startswith("prob_")], pl.Float64)
        quality = {"label_quality": pl.Float64} if "label_quality" in names else {}
        flags = {"is_label_issue": pl.String} if "is_label_issue" in names else {}
        table = pl.read_csv(path, schema_overrides={**texts, **numbers, **quality, **flags})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} holds no label issues", str(error).splitlines()[0], way_out) from error
    if flags:  # pandas writes True, polars true
        table = table.with_columns(pl.col("is_label_issue").str.to_lowercase().replace_strict(_FLAGS, default=None))
    classes = tuple(name.removeprefix("prob_") for name in names if name.startswith("prob_"))
    known = [name for name in columns(classes) if name in table.columns]
    return check(table.select(known), schemas.label_issues(classes), f"{path}", way_out)


_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def read(path: Path) -> list[LabelEvent]:
    """A note for each flagged window: what a model doubts is no decision, and changes no label.

    Raises:
        DataError: as `read_table`.
    """
    flagged = read_table(path).filter("is_label_issue")
    return [
        imported(
            path,
            "note",
            row["window_id"],
            MODEL,
            None,
            given=row["given_label"],
            note=f"doubtful: {row['pred_label']} would fit, label quality {row['label_quality']:.3f}",
        )
        for row in flagged.iter_rows(named=True)
    ]
