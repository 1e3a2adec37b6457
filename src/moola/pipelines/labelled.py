"""What a stage that learns classes asks of the data."""

from __future__ import annotations

from moola.errors import DataError
from moola.pipelines.dataset import Dataset


def require_labels(data: Dataset) -> None:
    """Labels, and folds over them; pretraining alone needs neither.

    Raises:
        DataError: no window has a label.
    """
    if not len(data.labels) or not data.folds:
        raise DataError(
            "no window has a label, so no model can learn a class or be judged",
            f"{len(data.table)} windows, {len(data.labels)} labels",
            "give labels (task=label_file task.path=FILE), or stop after pretraining: moola pretrain",
        )
