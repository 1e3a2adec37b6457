"""The tables of a report as files, for whoever wants to go on calculating."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from moola.evaluation.estimates import Estimate
from moola.evaluation.report_content import Report


def report_tables(report: Report) -> dict[str, pl.DataFrame]:
    """Name of a file -> table, of those sections that are there. Ends of intervals that are not known are empty."""
    rows: Mapping[str, Iterable[Mapping[str, Any]]] = {
        "comparisons": _comparisons(report),
        "label_efficiency": _label_efficiency(report),
        "confusion": _confusion(report),
        "wrong_windows": _wrong_windows(report),
        "costs": [vars(row) for row in report.costs.rows] if report.costs else [],
        "stages": [vars(row) for row in report.lineage.stages],
    }
    return {name: pl.DataFrame(found).fill_nan(None) for name, found in rows.items() if found}


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "seeds": found.seeds}


def _comparisons(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "a": c.a,
            "b": c.b,
            "split": c.split,
            "metric": c.metric,
            **_estimate(c.difference),
            "p_corrected": c.adjusted,
            "outcome": c.sentence,
            "test": c.by_test.name if c.by_test else None,
            "test_statistic": c.by_test.statistic if c.by_test else None,
            "test_p": c.by_test.p_value if c.by_test else None,
        }
        for c in report.comparisons or ()
    ]


def _label_efficiency(report: Report) -> list[dict[str, Any]]:
    curves = report.label_efficiency.curves if report.label_efficiency else ()
    return [
        {"model": curve.name, "n_labels": n_labels, "value": value, "low": low, "high": high}
        for curve in curves
        for n_labels, value, low, high in zip(
            *(np.asarray(column, dtype=float).tolist() for column in (curve.x, curve.y, curve.low, curve.high)),
            strict=True,
        )
    ]


def _confusion(report: Report) -> list[dict[str, Any]]:
    if report.confusion is None:
        return []
    names = [row.name for row in report.confusion.rows]
    return [
        {"model": report.confusion.model, "truth": names[i], "taken_for": names[j], "windows": float(count)}
        for (i, j), count in np.ndenumerate(np.asarray(report.confusion.counts))
    ]


def _wrong_windows(report: Report) -> list[dict[str, Any]]:
    shown = report.wrong.windows if report.wrong else ()
    return [
        {"window_id": one.window_id, "truth": one.truth, "predicted": one.predicted, "p_truth": one.p_truth}
        for one in shown
    ]
