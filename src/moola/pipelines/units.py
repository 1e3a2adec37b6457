"""Which fits out-of-fold predictions take: one unit a model, seed and set of folds left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.data.splits import Fold
from moola.models import Model

TEST_FOLD = -1
"""Number of the fold that trains on all labels and predicts the sealed test."""


@dataclass(frozen=True)
class Unit:
    """One fit.

    Attributes:
        model: name of the model.
        seed: of the fit.
        left_out: numbers of the folds whose held-out windows it never trains on and then predicts; none: it trains on
            all labels and predicts the sealed test.
        share: of the labels it may train on that it gets; drawn with its seed, so that a larger share holds a smaller
            one, and with each class in the same share.
    """

    model: str
    seed: int
    left_out: tuple[int, ...] = ()
    share: float = 1.0

    @property
    def spoken(self) -> str:
        """Which fit it is, for a person."""
        if not self.left_out:
            return (
                f"{self.model}, seed {self.seed}, {'all labels' if self.share == 1 else f'{self.share:.0%} of labels'}"
            )
        folds = " and ".join(str(fold) for fold in self.left_out)
        return f"{self.model}, seed {self.seed}, without fold{'s' * (len(self.left_out) > 1)} {folds}"

    def train(self, folds: Sequence[Fold], labels: np.ndarray) -> np.ndarray:
        """Rows it trains on, ascending: its share of those that every fold left out trains on.

        Args:
            folds: over labelled windows.
            labels: their class numbers, int64 [n].
        """
        rows = trained_on(folds, self.left_out, len(labels))
        return rows if self.share == 1 else _drawn(rows, labels, self.share, self.seed)

    def predicted(self, folds: Sequence[Fold]) -> np.ndarray:
        """Labelled rows that it predicts, fold by fold."""
        return np.concatenate([folds[number].held_out for number in self.left_out])


def trained_on(folds: Sequence[Fold], left_out: Sequence[int], n_labelled: int) -> np.ndarray:
    """Rows that may train where these folds are left out, ascending; all rows where none is."""
    rows = np.arange(n_labelled)
    for number in left_out:
        rows = np.intersect1d(rows, folds[number].train)
    return rows


def _drawn(rows: np.ndarray, labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A share of the rows of every class, at least one of each."""
    shuffled = np.random.default_rng([seed, 1]).permutation(rows)
    parts = [shuffled[labels[shuffled] == label] for label in np.unique(labels[rows])]
    return np.sort(np.concatenate([part[: max(1, round(share * len(part)))] for part in parts]))


NestedPlan = Mapping[tuple[int, int], tuple[int, ...]]
"""(outer, inner) -> folds left out by the fit that predicts the inner one for the outer one."""


def nested_plan(folds: Sequence[Fold], labels: np.ndarray) -> NestedPlan:
    """Which fit predicts an inner fold for an outer one, without having seen anything of the outer one's windows.

    What is learned from predictions (a stack, a calibration) and judged on a fold must be learned from predictions
    of models that never trained on that fold; plain out-of-fold predictions of the other folds come from models that
    did. Leaving two folds out at a time serves both of a pair, so k folds need k (k - 1) / 2 more fits, not k (k - 1).
    Where the inner fold trains on nothing that the outer one may not know, as in walk-forward, its own fit serves.

    Args:
        folds: over labelled windows.
        labels: their class numbers, int64 [n].

    Returns:
        A pair whose fit would lack a class is not in it, nor one whose inner windows the outer fold may not know.
        Nothing where folds hold windows out more than once (combinatorial ones): so many pairs would cost more than
        they tell.
    """
    plan: dict[tuple[int, int], tuple[int, ...]] = {}
    held_out = np.concatenate([fold.held_out for fold in folds])
    if len(np.unique(held_out)) < len(held_out):
        return plan
    for o, outer in enumerate(folds):
        for i, inner in enumerate(folds):
            if i == o or not len(np.intersect1d(inner.held_out, outer.train)):
                continue
            left_out = (i,) if np.isin(inner.train, outer.train).all() else (min(i, o), max(i, o))
            if set(labels[trained_on(folds, left_out, len(labels))]) == set(labels):
                plan[o, i] = left_out
    return plan


def plan_units(
    models: Mapping[str, Model],
    seeds: Sequence[int],
    folds: Sequence[Fold],
    nested: NestedPlan,
    *,
    sealed: bool,
) -> list[Unit]:
    """Every fit that is needed, model by model.

    Args:
        models: name -> model; one without randomness is fitted with the first seed only.
        seeds: of the run.
        folds: over labelled windows.
        nested: what `nested_plan` asks for; empty where it is not wanted.
        sealed: whether there is a sealed test to predict.
    """
    alone = [(number,) for number in range(len(folds))]
    pairs = {left_out for left_out in nested.values() if len(left_out) > 1}
    wanted = [*alone, *sorted(pairs), *([()] if sealed else [])]
    return [
        Unit(name, seed, left_out)
        for name, model in models.items()
        for seed in (seeds[:1] if model.deterministic else seeds)
        for left_out in wanted
    ]


def nested_rows(
    folds: Sequence[Fold], nested: NestedPlan, unit: Unit
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """What a fit says for outer folds: (outer, inner, labelled rows, their places among the rows it predicts)."""
    place = 0
    places: dict[int, np.ndarray] = {}
    for number in unit.left_out:
        places[number] = np.arange(place, place + len(folds[number].held_out))
        place += len(folds[number].held_out)
    for (outer, inner), left_out in nested.items():
        if left_out == unit.left_out:
            known = np.isin(folds[inner].held_out, folds[outer].train)
            yield outer, inner, folds[inner].held_out[known], places[inner][known]


def predictions_frame(
    unit: Unit, fold: int, ids: pl.Series, probabilities: np.ndarray, classes: tuple[str, ...]
) -> pl.DataFrame:
    """Rows of `moola.schemas.predictions` for what one fit says of one fold."""
    n = len(ids)
    return pl.DataFrame(
        {
            "window_id": ids,
            "model": pl.Series([unit.model] * n, dtype=pl.String),
            "seed": pl.Series([unit.seed] * n, dtype=pl.Int64),
            "split": pl.Series(["test" if fold == TEST_FOLD else "oof"] * n, dtype=pl.String),
            "fold": pl.Series([fold] * n, dtype=pl.Int64),
            **{f"prob_{name}": probabilities[:, i] for i, name in enumerate(classes)},
        }
    )
