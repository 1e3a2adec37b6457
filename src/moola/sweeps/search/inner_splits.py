"""Folds inside training windows, as a split of its own that knows no label and no window of what judges later."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore
from moola.data.splits import Splitter
from moola.data.splits.cases import GivenCases
from moola.data.splits.proof import prove
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.purging import Margins, too_near
from moola.errors import DataError
from moola.layout import read_json, replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import REJECTED, Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.splits import check_classes, check_folds, check_gaps, fold_of

_FOLDS = 5
_NO_DATE = "1970-01-01"
"""Nothing is sealed a second time."""


@dataclass(frozen=True)
class InnerSplits(Stage):
    """The training windows of a run, or of one of its folds, folded anew; every other window is left out.

    What it writes reads like the artifact ``splits``, so whatever fits on a split fits on this one. The labels of other
    windows are not in it: a trial cannot look at them.

    Attributes:
        splitter: of the run.
        n_folds: inner folds; None: as many as the splitter makes.
        outer: number of the fold whose training windows these are; None: all of the run.
    """

    splitter: Splitter
    n_folds: int | None = None
    outer: int | None = None
    name: ClassVar[str] = "inner_splits"
    provides: ClassVar[str] = "inner_splits"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    room: ClassVar[str] = "data/splits"
    needs_labels: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes the files of the stage ``splits``.

        Raises:
            DataError: the windows cannot be folded so, or a fold lacks a class.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        known = np.arange(len(data.labels)) if self.outer is None else np.sort(data.folds[self.outer].train)
        rows = data.labels["row"].to_numpy().astype(np.int64)
        part = self._parts(data, rows, known)
        inner = inner_splitter(self.splitter, data.store, self.n_folds)
        numbers = data.class_numbers(data.labels["label"])[known]
        try:
            folds = inner.folds(data.store, data.spans[rows[known]], numbers)
            check_folds(folds, len(known), inner.coverage)
            check_classes(folds, numbers, data.classes)
        except DataError as error:
            where = "of the training windows" if self.outer is None else f"of what fold {self.outer} trains on"
            raise DataError(
                f"no inner folds can be made {where}: {error.what}",
                error.why,
                f"choose fewer or more inner folds (search.folds=N), or {error.way_out}",
            ) from error
        proof = prove(inner, data.store, data.windows, data.spans, part, rows[known], folds)
        check_gaps(proof)
        self._write(inputs["splits"], workspace, known, part, fold_of(folds, len(known)))
        told = [{"train": fold.train.tolist(), "held_out": fold.held_out.tolist()} for fold in folds]
        write_json(workspace.folder / "folds.json", told)
        write_json(workspace.folder / "proof.json", proof)
        write_json(workspace.folder / "spans.json", read_json(inputs["splits"].path("spans.json")))

    def _parts(self, data: Dataset, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        """``train`` for the windows that a trial may look at, with a label or without, else ``excluded``."""
        may = (data.parts == "train").to_numpy().copy()
        if self.outer is not None:
            held_out = rows[data.folds[self.outer].held_out]
            margins = Margins.declared_by(self.splitter)
            may[held_out] = False
            may &= ~too_near(data.spans, data.spans[held_out], margins)
            may[np.setdiff1d(rows, rows[known])] = False
        return np.where(may, "train", "excluded")

    def _write(
        self, splits: Artifact, workspace: Workspace, known: np.ndarray, part: np.ndarray, fold: np.ndarray
    ) -> None:
        labels = pl.read_parquet(splits.path("labels.parquet"))[known].with_columns(fold=pl.Series(fold))
        parts = pl.read_parquet(splits.path("splits.parquet")).with_columns(span=pl.Series(part, dtype=pl.String))
        for name, frame in (("labels.parquet", labels), ("splits.parquet", parts)):
            with replace_atomically(workspace.folder / name) as handle:
                frame.write_parquet(handle)
        if REJECTED in splits.manifest["files"]:
            write_json(workspace.folder / REJECTED, read_json(splits.path(REJECTED)))


def inner_splitter(splitter: Splitter, store: BarStore, n_folds: int | None) -> Splitter:
    """The same kind of folds, with the same margins; blocks of time where the splitter cannot fold fewer windows.

    A saved split knows its own windows alone, and combinatorial folds hold each window out too often to search on.
    """
    if any(item.name == "n_folds" for item in dataclasses.fields(splitter)):  # type: ignore[arg-type]
        changed: Any = splitter if n_folds is None else dataclasses.replace(splitter, n_folds=n_folds)  # type: ignore[type-var]
        return changed
    if store.independent:
        return GivenCases(n_folds)
    kept = {name: getattr(splitter, name) for name in ("purge_bars", "purge_time", "embargo_bars", "embargo_time")}
    return PurgedKFold(test_from=_NO_DATE, n_folds=n_folds or _FOLDS, **kept)
