"""What must fail, done to see that it does: shuffled labels, labels of later windows, columns that look ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from moola.config import RunConfig, reject, structure
from moola.data.duplicates import find_duplicates
from moola.data.lookahead import find_lookahead
from moola.data.splits import Fold
from moola.evaluation.metrics import compute_metrics
from moola.layout import write_json
from moola.models import FitResources, LabelledWindows
from moola.models.classical import LogisticRegression
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Stage, Workspace

MIN_SHIFTED = 40
"""Labelled windows with another one after them, from which a score on labels of later windows says something."""


@dataclass(frozen=True)
class SentinelSection:
    """The section ``stage.sentinels``.

    Attributes:
        n_shuffles: times that labels are shuffled; the smallest p-value is 1 / (n_shuffles + 1).
    """

    n_shuffles: int = 99

    def __post_init__(self) -> None:
        reject((self.n_shuffles < 19, f"n_shuffles: {self.n_shuffles} must be at least 19, or no p-value is below .05"))


@dataclass(frozen=True)
class Sentinels(Stage):
    """Refits that must fail; the model is the logistic regression on simple features, which takes milliseconds."""

    setup: EncoderSetup
    n_shuffles: int = 99
    name: ClassVar[str] = "sentinels"
    provides: ClassVar[str] = "sentinels"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    publishes: ClassVar[tuple[str, ...]] = ("sentinels.json",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"sklearn": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``transform``, ``encoder`` and ``stage.sentinels``."""
        section = structure(SentinelSection, config.stage.get("sentinels", {}), "stage.sentinels")
        return cls(EncoderSetup.from_config(config), section.n_shuffles)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``sentinels.json``.

        ``labels``, ``later_labels``: {score, shuffled, n}: balanced accuracy out of fold on the labels as given, and on
        those of the next window that begins after a window has ended, with what the same labels reach when shuffled;
        the second is null where fewer than `MIN_SHIFTED` windows have such a next one. ``lookahead``: see
        `moola.data.lookahead`. ``duplicates``: windows of the sealed test that stand among those that train, and
        labelled ones that a fold holds out while it trains on their double.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        windows = data.gather(data.labels["row"], data.labels["label"], self.setup.transform)
        told = {
            "model": "logistic_regression",
            "labels": self._permutation(windows, data, data.folds),
            "later_labels": self._later(windows, data),
            "lookahead": [asdict(one) for one in find_lookahead(data.store, data.windows.reach)],
            "duplicates": duplicates(data),
        }
        write_json(workspace.folder / "sentinels.json", told)

    def _later(self, windows: LabelledWindows, data: Dataset) -> dict[str, Any] | None:
        """The permutation test for labels of later windows."""
        later = next_windows(data)
        known = np.flatnonzero(later >= 0)
        if len(known) < MIN_SHIFTED:
            return None
        place = np.full(len(windows), -1)
        place[known] = np.arange(len(known))
        folds = [Fold(*(place[part][place[part] >= 0] for part in (f.train, f.held_out))) for f in data.folds]
        labels = windows.labels[later[known]]
        able = [fold for fold in folds if len(fold.held_out) and len(np.unique(labels[fold.train])) > 1]
        return self._permutation(replace(windows[known], labels=labels), data, able) if able else None

    def _permutation(self, windows: LabelledWindows, data: Dataset, folds: Sequence[Fold]) -> dict[str, Any]:
        """Score of the labels as they are, and of `n_shuffles` shufflings of them."""
        generator = np.random.default_rng(0)
        score = self._score(windows, data, folds)
        shuffled = [
            self._score(replace(windows, labels=generator.permutation(windows.labels)), data, folds)
            for _ in range(self.n_shuffles)
        ]
        return {"score": score, "shuffled": shuffled, "n": len(windows)}

    def _score(self, windows: LabelledWindows, data: Dataset, folds: Sequence[Fold]) -> float:
        """Balanced accuracy out of fold of a logistic regression on simple features."""
        resources = FitResources(0, lambda inputs: data.summary(self.setup.transform, inputs), "cpu")
        probabilities = np.zeros((len(windows), windows.n_classes))
        for fold in folds:
            train, held_out = self.setup.fold_inputs(windows[fold.train], windows[fold.held_out], data, None)
            if len(np.unique(train.labels)) > 1:
                probabilities[fold.held_out] += LogisticRegression().fit(train, resources).predict_proba(held_out)
        judged = probabilities.any(axis=1)
        probabilities = probabilities[judged] / probabilities[judged].sum(axis=1, keepdims=True)
        return float(compute_metrics(probabilities[None], windows.labels[judged])["balanced_accuracy"][0, 0])


def next_windows(data: Dataset) -> np.ndarray:
    """For each labelled window the first labelled one of its series that begins after it ends, int64 [n]; -1 for none.

    Cases that are independent of each other have no order in time, so none of them has a next one.
    """
    n = len(data.labels)
    found = np.full(n, -1, dtype=np.int64)
    if data.store.independent:
        return found
    spans = data.spans[data.labels["row"].to_numpy()]
    for series in np.unique(spans.series):
        own = np.flatnonzero(spans.series == series)
        own = own[np.argsort(spans.first_step[own], kind="stable")]
        later = np.searchsorted(spans.first_step[own], spans.last_step[own], side="right")
        found[own[later < len(own)]] = own[later[later < len(own)]]
    return found


def duplicates(data: Dataset) -> dict[str, list[str]]:
    """Window ids: of the sealed test, and of labelled windows that a fold holds out beside their double."""
    ids = data.table["window_id"]
    sealed = find_duplicates(data.store, data.windows, data.rows_of("train"), data.test["row"].to_numpy())
    rows = data.labels["row"].to_numpy()
    folded = [
        find_duplicates(data.store, data.windows, rows[fold.train], rows[fold.held_out]).tolist() for fold in data.folds
    ]
    among = sorted({row for found in folded for row in found})
    return {"sealed": ids[sealed.tolist()].to_list(), "folds": ids[among].to_list()}
