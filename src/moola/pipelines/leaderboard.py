"""The leaderboard as files: a table for other programs, and one for a paper."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from moola.drawing.latex import latex_escaped, latex_tabular
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import METRICS
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import HEADLINE, Scores, SplitName, display_name

PRINTED = ("balanced_accuracy", "macro_f1", "log_loss", "ece")
AS_GIVEN = "as_given"
_SPLITS: dict[SplitName, str] = {"test": "sealed test", "oof": "out of fold"}


def leaderboard(scores: Scores, predictions: Predictions) -> pl.DataFrame:
    """One row a model and split, the best on the sealed test first.

    Returns:
        ``model``, ``name``, ``role``, ``split``, ``n``, ``seeds``, and for every metric its value, ``<metric>_low`` and
        ``<metric>_high``, null where not known; ``as_given`` is the headline metric on the labels as given, by which
        models are chosen.
    """
    rows = [
        {
            "model": model,
            "name": display_name(model),
            "role": predictions.role(model),
            "split": split,
            "n": figures[HEADLINE].n,
            "seeds": figures[HEADLINE].seeds,
            **{column: value for name, found in figures.items() for column, value in _columns(name, found).items()},
            **(
                _columns(AS_GIVEN, scores.as_given[model]) if split == "oof" else dict.fromkeys(_column_names(AS_GIVEN))
            ),
        }
        for split in _SPLITS
        for model, figures in _ranked(scores, split)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def leaderboard_latex(scores: Scores, predictions: Predictions) -> str:
    """The same as a LaTeX table for ``booktabs``, figures with their 95 % intervals, controls and baselines marked."""
    shown: list[SplitName] = [split for split in _SPLITS if scores.figures.get(split)]
    arrows = [r"$\uparrow$" if METRICS[name].higher_is_better else r"$\downarrow$" for name in PRINTED]
    heads = [f"{latex_escaped(METRICS[name].label)} {arrow}" for name, arrow in zip(PRINTED, arrows, strict=True)]
    groups: list[list[list[str]]] = []
    for split in shown:
        ranked = _ranked(scores, split)
        n = ranked[0][1][HEADLINE].n
        groups.append([[f"{_SPLITS[split].capitalize()} ({n} windows)", *heads]])
        groups.append([_latex_row(model, predictions.role(model), figures) for model, figures in ranked])
    return f"% \\usepackage{{booktabs}}\n{latex_tabular(*groups)}\n"


def _latex_row(model: str, role: str, figures: Mapping[str, Estimate]) -> list[str]:
    name = latex_escaped(display_name(model)) + (f" ({role})" if role in ("baseline", "control") else "")
    return [name, *(_printed(figures[metric]) for metric in PRINTED)]


def _ranked(scores: Scores, split: SplitName) -> list[tuple[str, dict[str, Estimate]]]:
    """Models of a split with their figures, the best in the headline metric first."""
    found = scores.figures.get(split, {})
    return [(model, dict(found[model])) for model in sorted(found, key=lambda model: -found[model][HEADLINE].value)]


def _columns(name: str, found: Estimate) -> dict[str, float | None]:
    values = dict(zip(_column_names(name), (found.value, found.low, found.high), strict=True))
    return {column: value if math.isfinite(value) else None for column, value in values.items()}


def _column_names(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _printed(found: Estimate) -> str:
    if not math.isfinite(found.low):
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
