"""Pictures of a study: how it went, which keys mattered, and where good trials lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from moola.drawing import Axis, Curve, Reference, draw_bars, draw_curves, draw_parallel_coordinates
from moola.evaluation.metrics import METRICS
from moola.sweeps.search.space import Dimension, Space, plain
from moola.sweeps.search.study import TrialRecord

if TYPE_CHECKING:
    from optuna import Study

_NO_DECIMALS = 1000
_FEWEST = 4
"""Finished trials from which something can be said of importance."""


def history(records: Sequence[TrialRecord], metric: str) -> str:
    """The figure of every finished trial, and the best so far; the default as a line to beat."""
    finished = [one for one in records if one.status == "finished" and one.value is not None]
    numbers = np.array([one.number for one in finished])
    values = np.array([one.value for one in finished], dtype=np.float64)
    best = (
        (np.maximum if METRICS[metric].higher_is_better else np.minimum).accumulate(values) if len(values) else values
    )
    default = next((one.value for one in finished if one.is_default and one.value is not None), math.nan)
    return draw_curves(
        [Curve("each trial", numbers, values, colour=5, dashed=True), Curve("best so far", numbers, best, colour=0)],
        title="The figure of every trial, and the best so far",
        x_label="trial",
        y_label=METRICS[metric].label,
        references=[Reference("default", default)],
        width=880,
    )


def importance(study: Study, space: Space) -> Mapping[str, float]:
    """Share of the spread of figures that each key explains (fANOVA, Hutter et al. 2014), the largest first.

    Empty where too few trials finished, or all have the same figure.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    whole = [trial for trial in finished if set(trial.params) == set(space)]
    if len(whole) < _FEWEST or len({trial.value for trial in whole}) < 2:
        return {}
    if len(space) == 1:
        return dict.fromkeys(space, 1.0)
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=list(space))
    return {key: value for key, value in found.items() if math.isfinite(value)}


def importance_bars(found: Mapping[str, float]) -> str:
    """The same as bars."""
    return draw_bars(list(found), list(found.values()), title="Share of the spread that each key explains")


def parallel_coordinates(records: Sequence[TrialRecord], space: Space, metric: str, best: int) -> str:
    """A line for every trial through its values, and the figure it came to on the last axis."""
    shown = [one for one in records if set(one.params) == set(space) and one.status in ("finished", "pruned")]
    values = np.array([math.nan if one.value is None else one.value for one in shown], dtype=np.float64)
    worth = np.where([one.status == "finished" for one in shown], values, np.nan)
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 1.0)
    room = float(high - low) or 1.0
    axes = [*(Axis(key.rpartition(".")[2], _ticks(dimension)) for key, dimension in space.items())]
    axes.append(Axis(METRICS[metric].label, [(share, f"{low + share * room:.3f}") for share in (0.0, 0.5, 1.0)]))
    places = np.array([[space[key].place(one.params[key]) for key in space] for one in shown]).reshape(-1, len(space))
    marked = next((number for number, one in enumerate(shown) if one.number == best), None)
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    return draw_parallel_coordinates(
        axes,
        np.column_stack([places, (values - low) / room]),
        sign * worth,
        title="Every trial: the values of its keys, and the figure they came to",
        marked=marked,
    )


def _ticks(dimension: Dimension) -> list[tuple[float, str]]:
    if dimension.type == "categorical":
        return [(dimension.place(choice), plain(choice)) for choice in dimension.choices]
    low, high = dimension.range
    middle = math.sqrt(low * high) if dimension.log else (low + high) / 2
    step = dimension.step or (1 if dimension.type == "int" else None)
    if step is not None:  # a tick is a value that a trial may have
        middle = min(low + step * round((middle - low) / step), high)
    return [(dimension.place(value), _tick(value)) for value in sorted({low, middle, high})]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value % 1 == 0 or abs(value) >= _NO_DECIMALS else f"{value:.3g}"
