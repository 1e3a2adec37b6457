"""What several models and seeds say of windows that they did not train on, as one judgement.

Each model's seeds are averaged, its probabilities brought to one scale (temperature scaling on the given labels, out of
fold; Guo et al. 2017, arXiv:1706.04599), and the models averaged by the square of their lead over chance: balanced
accuracy out of fold minus 1 / n_classes. A model that is sure without being right then outvotes nobody.

How that was chosen: by average precision of planted noise among the training cases of four sets that no published
figure rests on (ArrowHead, BasicMotions, GunPoint, market windows before 2008), against plain and weighted means,
geometric means, weights of least log loss, mean ranks and the best model alone. ``benchmarks/label_issues.py`` repeats
the judgement on others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moola.models.softmax_scale import fit_scale, scaled_softmax

_FLOOR = 1e-6
"""Smaller probabilities count as this where their logarithm is taken."""


@dataclass(frozen=True)
class Consensus:
    """One judgement of many.

    Attributes:
        probabilities: float64 [n, n_classes].
        by_model: model -> its seeds' mean, brought to scale, [n, n_classes].
        weights: model -> its share of the judgement; they sum to 1.
        agreement: share of models and seeds whose most likely class is that of the consensus, [n]; each model counts
            once, its seeds share its vote.
    """

    probabilities: np.ndarray
    by_model: Mapping[str, np.ndarray]
    weights: Mapping[str, float]
    agreement: np.ndarray


def find_consensus(said: Mapping[str, np.ndarray], labels: np.ndarray) -> Consensus:
    """Weigh models by what they are worth out of fold.

    Args:
        said: model -> probabilities [n_seeds, n, n_classes], each row from a fit that had not seen the window; at least
            one model.
        labels: as given, int64 [n]; some are wrong, which costs every model about the same.
    """
    by_model = {name: _scaled(probabilities.mean(axis=0), labels) for name, probabilities in said.items()}
    n_classes = next(iter(by_model.values())).shape[1]
    leads = [max(_balanced_accuracy(p, labels) - 1 / n_classes, 0.0) ** 2 for p in by_model.values()]
    total = sum(leads)
    weights = {name: lead / total if total else 1 / len(leads) for name, lead in zip(by_model, leads, strict=True)}
    probabilities = np.sum([weights[name] * p for name, p in by_model.items()], axis=0)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    answers = probabilities.argmax(axis=1)
    votes = [(p.argmax(axis=2) == answers).mean(axis=0) for p in said.values()]
    return Consensus(probabilities, by_model, weights, np.mean(votes, axis=0))


def _scaled(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logs = np.log(probabilities.clip(_FLOOR))
    return scaled_softmax(logs, fit_scale(logs, labels))


def _balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    right = probabilities.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
