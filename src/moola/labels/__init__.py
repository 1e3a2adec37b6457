"""Where labels come from, what was planted in them, and which of them are doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.registry import Registry

POINTER_COLUMNS = ("expansion_start", "expansion_end")
"""Columns of the windows table with the first and last bar of what somebody marked, where anybody marked something."""


@dataclass(frozen=True)
class WindowLabels:
    """Labels of windows.

    Attributes:
        values: String [n_windows], null where a window has no label.
        classes: class names in the order of every probability column; none where nothing is labelled.
        from_rule: True when a formula made them, so that the truth of every window is known.
        pointers: the columns `POINTER_COLUMNS`, Int64 [n_windows], bars within the window, null where nothing was
            marked; None where nobody marks anything.
    """

    values: pl.Series
    classes: tuple[str, ...]
    from_rule: bool
    pointers: pl.DataFrame | None = None


class Labeller(Protocol):
    """Gives windows their labels.

    One that never labels any says so with the class attribute ``labels_windows = False``, so that a pipeline that needs
    labels is refused before it runs. One that does not take every zone refuses it with a ConfigError in a method
    ``check_zone(zone, visible)``, for the same reason.
    """

    def fingerprint(self) -> str:
        """Digest of what it reads from outside, empty when nothing; a changed file has to change it."""
        ...

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        """Labels in the order of `windows`.

        Raises:
            DataError: labels that cannot be used; every problem in one go.
        """
        ...


LABELLERS: Registry[Labeller] = Registry(
    "labeller",
    {
        "atr_expansion": "moola.labels.candle_rules:AtrExpansion",
        "case_labels": "moola.labels.case_labels:CaseLabels",
        "label_file": "moola.labels.label_file:LabelFile",
        "last_swing": "moola.labels.candle_rules:LastSwing",
        "structure_rule": "moola.labels.structure_rule:StructureRule",
        "unlabelled": "moola.labels.unlabelled:Unlabelled",
        "zone_candle": "moola.labels.candle_rules:ZoneCandle",
    },
)
