"""One pandera definition for each table that moola reads or writes."""

from moola.schemas.tables import bars, label_issues, labels, predictions, splits, windows

__all__ = ["bars", "label_issues", "labels", "predictions", "splits", "windows"]
