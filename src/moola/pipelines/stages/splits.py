"""Decide what trains, what is sealed, which windows get a label, and how these are folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, build_all, structure
from moola.data.bar_store import BarStore
from moola.data.splits import SPLITTERS, Fold, Splitter
from moola.errors import DataError
from moola.labels.planting import LabelDraw
from moola.layout import replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import open_windows
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class Splits(Stage):
    """Spans, the labels given to the models, and purged folds over them."""

    splitter: Splitter
    draw: LabelDraw
    name: ClassVar[str] = "splits"
    provides: ClassVar[str] = "splits"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows")
    room: ClassVar[str] = "data/splits"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``split`` and the draw of labels in ``task``."""
        draw = {key: value for key, value in config.task.items() if key in LabelDraw.__dataclass_fields__}
        return cls(
            *build_all(
                lambda: SPLITTERS.build_section(config.split, "split"), lambda: structure(LabelDraw, draw, "task")
            )
        )

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``splits.parquet``, ``labels.parquet``, ``folds.json`` and ``proof.json``."""
        from moola import schemas
        from moola.schemas import check

        store = BarStore.open(inputs["bars"].folder)
        windows, table, classes = open_windows(inputs["windows"])
        table = table.with_columns(span=pl.Series(self.splitter.spans(store, windows, table), dtype=pl.String))
        candidates = table.filter((pl.col("span") == "train") & pl.col("true_label").is_not_null())
        given = self.draw.choose(candidates, classes)
        steps = given.join(table, on="window_id", how="left", maintain_order="left")["step"].to_numpy()
        numbers = np.array([classes.index(name) for name in given["label"]], dtype=np.int64)
        span = windows.calendar_length(store)
        folds = self.splitter.folds(steps, span, numbers)
        check_folds(folds, len(given))
        check_classes(folds, numbers, classes)
        proof = prove(table, steps, span, folds, store.independent)
        check_gaps(proof)
        fold_of = np.empty(len(given), dtype=np.int64)
        for k, fold in enumerate(folds):
            fold_of[fold.held_out] = k
        labels = check(given.with_columns(fold=pl.Series(fold_of)), schemas.labels(classes), "the labels", "")
        spans = check(table.select("window_id", "span"), schemas.splits(), "the splits", "")
        for name, frame in (("splits.parquet", spans), ("labels.parquet", labels)):
            with replace_atomically(workspace.folder / name) as handle:
                frame.write_parquet(handle)
        write_json(
            workspace.folder / "folds.json",
            [{"train": fold.train.tolist(), "held_out": fold.held_out.tolist()} for fold in folds],
        )
        write_json(workspace.folder / "proof.json", proof)


def check_folds(folds: list[Fold], n_windows: int) -> None:
    """Every window is held out exactly once, and never by a fold that trains on it.

    Raises:
        DataError: a splitter broke this; every fold that did is named.
    """
    counts = np.bincount(np.concatenate([fold.held_out for fold in folds]), minlength=n_windows)
    problems = [
        f"- fold {k} trains on {len(both)} of the windows it holds out"
        for k, fold in enumerate(folds)
        if len(both := np.intersect1d(fold.train, fold.held_out))
    ]
    if np.any(counts != 1):
        problems.append(
            f"- {int((counts == 0).sum())} windows are never held out, {int((counts > 1).sum())} more than once"
        )
    if problems:
        raise DataError(
            "the folds leak", "\n".join(problems), "this is a defect of the splitter that split.name chooses"
        )


def check_gaps(proof: Mapping[str, Any]) -> None:
    """No window that trains overlaps one that is held out.

    Raises:
        DataError: some gap is negative; each is named.
    """
    gaps = {"the sealed test": proof["train_test_gap_bars"]}
    gaps |= {f"fold {k}": gap for k, gap in enumerate(proof["fold_gap_bars"])}
    problems = [
        f"- {name}: {-gap} bars are shared with what trains"
        for name, gap in gaps.items()
        if gap is not None and gap < 0
    ]
    if problems:
        raise DataError(
            "the split leaks", "\n".join(problems), "this is a defect of the splitter that split.name chooses"
        )


def check_classes(folds: list[Fold], labels: np.ndarray, classes: tuple[str, ...]) -> None:
    """Every fold must train on every class.

    Raises:
        DataError: some fold lacks a class; all of them are named.
    """
    problems = [
        f"- fold {k} trains on {len(fold.train)} windows without {', '.join(missing)}"
        for k, fold in enumerate(folds)
        if (missing := [name for i, name in enumerate(classes) if i not in labels[fold.train]])
    ]
    if problems:
        raise DataError(
            "a fold has nothing to learn a class from", "\n".join(problems), "give more labels or use fewer folds"
        )


def prove(table: pl.DataFrame, steps: np.ndarray, length: int, folds: list[Fold], independent: bool) -> dict[str, Any]:
    """Counts and the smallest gaps between what trains and what is held out, measured on the finished split.

    Gaps are in bars on the common calendar between the end of one window and the start of the other; a negative gap
    is an overlap. Independent cases share no calendar, so their gaps are null.
    """
    counts = dict(table["span"].value_counts().iter_rows())
    train, test = (table.filter(pl.col("span") == span)["step"].to_numpy() for span in ("train", "test"))
    return {
        "windows": {span: counts.get(span, 0) for span in ("train", "test", "excluded")},
        "train_test_gap_bars": None if independent or not len(test) else _gap(train, test, length),
        "fold_gap_bars": [None if independent else _gap(steps[f.train], steps[f.held_out], length) for f in folds],
        "fold_train": [len(fold.train) for fold in folds],
        "fold_held_out": [len(fold.held_out) for fold in folds],
        "purged": [len(steps) - len(fold.train) - len(fold.held_out) for fold in folds],
    }


def _gap(some: np.ndarray, others: np.ndarray, length: int) -> int:
    """Smallest distance between any window of one set and any of the other, minus their length."""
    ordered = np.sort(others)
    right = np.searchsorted(ordered, some)
    nearest = np.minimum(
        np.abs(some - ordered[np.clip(right, 0, len(ordered) - 1)]), np.abs(some - ordered[np.clip(right - 1, 0, None)])
    )
    return int(nearest.min()) - length
