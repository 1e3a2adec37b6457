"""What every model takes for what: confusion matrices and figures of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moola.evaluation.confusion import confusion_matrix, per_class
from moola.evaluation.score_interval import effective_cases, estimate
from moola.pipelines.judged import Judged
from moola.pipelines.scores import SplitName, written_estimate


def class_figures(judged: Mapping[SplitName, Judged], classes: Sequence[str]) -> dict[str, Any]:
    """The content of ``per_class.json``.

    Returns:
        ::

            {"classes": [...], "splits": {split: {model: {
                "confusion": [[...]],   # windows of class i (row) taken for class j, a mean over seeds
                "figures": {class: {"n", "precision", "recall", "f1": estimate}}}}}}

        An estimate is null in all that is not defined: the precision of a class that is never predicted.
    """
    splits = {
        split: {model: _of_model(said, part, classes) for model, said in part.said.items()}
        for split, part in judged.items()
    }
    return {"classes": list(classes), "splits": splits}


def _of_model(said: np.ndarray, part: Judged, classes: Sequence[str]) -> dict[str, Any]:
    confusion = confusion_matrix(said, part.truth)[0].mean(axis=0)
    point, resampled = per_class(said, part.truth), per_class(said, part.truth, part.weights)
    cases = effective_cases(part.weights)
    figures: dict[str, Any] = {}
    for number, name in enumerate(classes):
        n = int((part.truth == number).sum())
        figures[name] = {"n": n}
        for figure in ("precision", "recall", "f1"):
            values, own = getattr(resampled, figure)[..., number], getattr(point, figure)[0, :, number]
            figures[name][figure] = written_estimate(estimate(own, values, len(part.truth), (0.0, 1.0), cases))
    return {"confusion": confusion.tolist(), "figures": figures}
