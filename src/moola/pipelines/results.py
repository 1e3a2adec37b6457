"""All finished runs of a results folder in one table."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from moola.errors import DataError
from moola.layout import read_json

_COLUMNS = {
    "run_id": pl.String,
    "experiment": pl.String,
    "model": pl.String,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "seeds": pl.Int64,
}


def aggregate_results(results: Path) -> pl.DataFrame:
    """Every figure of every finished run below `results`, with its interval and its run id.

    Runs that failed or are under way have no say.

    Raises:
        DataError: there is no finished run.
    """
    rows: list[dict[str, object]] = []
    for path in sorted(results.rglob("metrics.json")):
        manifest = read_json(path.with_name("manifest.json"))
        if manifest["status"] == "finished":
            origin = {"run_id": manifest["run_id"], "experiment": manifest["name"]}
            rows += [origin | row for row in read_json(path)]
    if not rows:
        raise DataError(f"there is no finished run below {results}", "", "make one with `moola run`")
    return pl.DataFrame(rows, schema=_COLUMNS)
