"""Doubtful labels by confident learning (Northcutt, Jiang & Chuang 2021); the only file that sees cleanlab."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl

from moola.errors import DataError

MIN_PER_CLASS = 5
"""cleanlab flags most rows, with no error, when a class has next to no examples."""


def find_label_issues(
    window_ids: list[str], labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> pl.DataFrame:
    """Rank labels by doubt.

    Args:
        window_ids: [n].
        labels: int64 [n], class numbers as given.
        probabilities: float [n, n_classes], out of fold: a model that trained on a window must not judge its label.
        classes: names in the order of the columns.

    Returns:
        The table of `moola.schemas.label_issues`, the most doubtful first. Quality is the probability of the given
        label, adjusted for how sure the models are of each class as a rule (cleanlab's ``adjust_pred_probs``): between
        0 and 1, and no probability any more. Flagged is by noise rate (section 3.2 of the paper, method 4): of each two
        classes, as many windows with the one label as the confident joint counts to be of the other, those where that
        other is most ahead of the given one; but none whose given label is the most probable one.

    Raises:
        DataError: a class has fewer than 5 labels.
    """
    from cleanlab.filter import find_label_issues as find
    from cleanlab.rank import get_label_quality_scores

    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < MIN_PER_CLASS:
        raise DataError(
            f"label issues need at least {MIN_PER_CLASS} labels a class",
            f"labels a class: {dict(zip(classes, counts.tolist(), strict=True))}",
            "label more windows, or switch the stage off: 'stage.skip=[label_issues]'",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        flagged = np.asarray(find(labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1))
        quality = np.asarray(get_label_quality_scores(labels, probabilities, adjust_pred_probs=True), dtype=np.float64)
    names = np.asarray(classes, dtype=object)
    return pl.DataFrame(
        {
            "window_id": window_ids,
            "given_label": names[labels].tolist(),
            "pred_label": names[probabilities.argmax(axis=1)].tolist(),
            **{f"prob_{name}": probabilities[:, i].astype(np.float64) for i, name in enumerate(classes)},
            "label_quality": quality.clip(0.0, 1.0),
            "is_label_issue": flagged.astype(bool),
        }
    ).sort("label_quality", "window_id")
