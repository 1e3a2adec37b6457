"""Labels with planted noise: training windows of labelled sets, known flips, and what models say out of fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from market import LENGTH, Market, resources
from market import Variant as MarketVariant
from moola.data.splits import Fold
from moola.data.splits.purged_kfold import PurgedKFold
from moola.features.anchored import Anchored
from moola.features.summary import summarise, summary_spans
from moola.labels.planting import LabelDraw
from moola.models import FitResources, LabelledWindows, Model
from moola.models.boosting import XgBoost
from moola.models.classical import LogisticRegression, RandomForest
from moola.models.rocket import MiniRocket
from self_supervised_sets import LabelledSet

N_FOLDS = 5
MODELS: Mapping[str, Any] = MappingProxyType(
    {
        "logistic_regression": LogisticRegression(),
        "random_forest": RandomForest(trees=100),
        "minirocket": MiniRocket(kernels=1000),
        "xgboost": XgBoost(trees=50),
    }
)
"""Models that take a second or less, so that many draws of noise can be looked at."""


@dataclass(frozen=True)
class TrueSet:
    """Training windows whose labels are known to be right.

    Attributes:
        name: of the set.
        windows: with their true labels.
        folds: given labels int64 [n] -> folds over the windows.
        summary: inputs [n, T, D] -> simple features.
        starts: of each window, and
        reach: bars from which two of them share none.
        zone: first and past-the-end bar that a label speaks of.
    """

    name: str
    windows: LabelledWindows
    folds: Callable[[np.ndarray], list[Fold]]
    summary: Callable[[np.ndarray], np.ndarray]
    starts: np.ndarray
    reach: int
    zone: tuple[int, int]

    @classmethod
    def bundled(cls, name: str) -> TrueSet:
        """The training part of a set inside aeon; its test part is not looked at."""
        cases = LabelledSet.read(name)
        channels = tuple(range(cases.train.inputs.shape[2]))
        visible = cases.train.inputs.shape[1]
        spans = summary_spans(visible, (0, visible))

        def summary(inputs: np.ndarray) -> np.ndarray:
            return summarise(inputs, channels, spans, moments=True)

        starts = np.arange(len(cases.train)) * visible
        return cls(name, cases.train, _stratified, summary, starts, visible, (0, visible))

    @classmethod
    def market(cls, protocol: str, draw: int, n_given: int = 174) -> TrueSet:
        """Training windows of the market default that get a label in this draw; no sealed bar is looked at."""
        market = _market(protocol)
        given = LabelDraw(n_given, 0, draw).choose(market.candidates, market.classes)
        rows = given.join(market.candidates.select("window_id", "row"), on="window_id", maintain_order="left")["row"]
        numbers = np.array([market.classes.index(label) for label in given["label"]], dtype=np.int64)
        windows = market.gather(rows.to_numpy(), numbers, Anchored())
        spans = market.windows.spans(market.store)[rows.to_numpy()]
        splitter = PurgedKFold(test_from="2013-01-01", n_folds=N_FOLDS, embargo_bars=LENGTH)

        def folds(labels: np.ndarray) -> list[Fold]:
            return splitter.folds(market.store, spans, labels)

        summary = resources(0, MarketVariant("market")).summary
        starts = np.asarray(market.windows.starts)[rows.to_numpy()]
        return cls("market", windows, folds, summary, starts, market.windows.reach, market.windows.zone)


_MARKETS: dict[str, Market] = {}


def _market(protocol: str) -> Market:
    if protocol not in _MARKETS:
        _MARKETS[protocol] = Market.open(protocol)
    return _MARKETS[protocol]


def _stratified(labels: np.ndarray) -> list[Fold]:
    """Stratified folds of independent cases, in file order."""
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        fold[rows] = np.arange(len(rows)) % N_FOLDS
    return [Fold(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(N_FOLDS)]


@dataclass(frozen=True)
class Noisy:
    """One draw of noise, and what the models say of it out of fold.

    Attributes:
        given: labels as given, int64 [n].
        flipped: which of them were flipped, bool [n].
        said: model -> probabilities [n_seeds, n, n_classes].
        n_classes: classes there are.
    """

    given: np.ndarray
    flipped: np.ndarray
    said: Mapping[str, np.ndarray]
    n_classes: int

    @classmethod
    def of(cls, clean: TrueSet, share: float, draw: int, seeds: range) -> Noisy:
        """Flip a share of the labels, then let every model judge the windows of each fold that it did not see."""
        truth, n_classes = clean.windows.labels, clean.windows.n_classes
        classes = tuple(f"class {number}" for number in range(n_classes))
        names = [classes[number] for number in truth]
        candidates = pl.DataFrame({"window_id": [str(row) for row in range(len(truth))], "true_label": names})
        table = LabelDraw(None, max(1, round(share * len(truth))), draw).choose(candidates, classes)
        given = np.array([classes.index(name) for name in table["label"]], dtype=np.int64)
        windows = LabelledWindows(clean.windows.bars, clean.windows.inputs, given, n_classes)
        folds = clean.folds(given)
        said = {
            name: np.stack([_out_of_fold(model, windows, folds, clean, seed) for seed in _seeds(model, seeds)])
            for name, model in MODELS.items()
        }
        return cls(given, table["planted"].to_numpy(), said, n_classes)


def _seeds(model: Model, seeds: range) -> range:
    return seeds[:1] if model.deterministic else seeds


def _out_of_fold(model: Model, windows: LabelledWindows, folds: list[Fold], clean: TrueSet, seed: int) -> np.ndarray:
    """Probabilities [n, n_classes], each row from the fit that did not see the window."""
    probabilities = np.empty((len(windows), windows.n_classes))
    for fold in folds:
        fitted = model.fit(windows[fold.train], FitResources(seed, clean.summary, "cpu"))
        probabilities[fold.held_out] = fitted.predict_proba(windows[fold.held_out].without_labels())
    return probabilities
