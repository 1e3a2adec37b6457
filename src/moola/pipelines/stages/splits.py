"""Decide what trains, what is sealed, which windows get a label, and how these are folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, build_all, digest_json, structure
from moola.data.bar_store import BarStore
from moola.data.splits import SPLITTERS, Coverage, Fold, Splitter, fingerprint_of
from moola.data.splits.proof import prove
from moola.data.splits.purging import Margins
from moola.data.window_index import WindowSpans
from moola.errors import DataError
from moola.labels.corrections import CorrectionsConfig, Corrector, read_states, rejected_windows, states_digest
from moola.labels.planting import LabelDraw
from moola.layout import read_json, replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import REJECTED, open_windows
from moola.pipelines.stage import Stage, Workspace

_DEFECT = "this is a defect of the splitter that split.name chooses"
NEVER = -1
"""``fold`` of a labelled window that no fold holds out."""


@dataclass(frozen=True)
class Splits(Stage):
    """Spans, the labels given to the models, purged folds over them, and the proof that nothing leaks."""

    splitter: Splitter
    draw: LabelDraw
    corrected: CorrectionsConfig = field(default_factory=CorrectionsConfig)
    name: ClassVar[str] = "splits"
    provides: ClassVar[str] = "splits"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows")
    room: ClassVar[str] = "data/splits"
    publishes_some: ClassVar[tuple[str, ...]] = ("corrections.json",)
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``split``, the draw of labels in ``task``, and what corrects them."""

        def keys(of: type[Any]) -> dict[str, Any]:
            return {key: value for key, value in config.task.items() if key in of.__dataclass_fields__}

        return cls(
            *build_all(
                lambda: SPLITTERS.build_section(config.split, "split"),
                lambda: structure(LabelDraw, keys(LabelDraw), "task"),
                lambda: structure(CorrectionsConfig, keys(CorrectionsConfig), "task"),
            )
        )

    def outside(self) -> str:
        """A saved split and corrections lie outside moola."""
        split, path = fingerprint_of(self.splitter), self.corrected.corrections
        return digest_json([split, states_digest(Path(path))]) if path is not None else split

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``splits.parquet``, ``spans.json``, ``labels.parquet``, ``folds.json`` and ``proof.json``.

        Where labels are corrected, ``corrections.json`` says what was done (`moola.labels.corrections`).

        Where no window has a label there are no folds: the windows can be pretrained on, and nothing can be judged.
        """
        from moola import schemas
        from moola.schemas import check

        store = BarStore.open(inputs["bars"].folder)
        windows, table, classes = open_windows(inputs["windows"])
        spans = windows.spans(store)
        part = self.splitter.spans(store, spans)
        check_parts(part, len(table))
        table = table.with_columns(span=pl.Series(part, dtype=pl.String)).with_row_index("row")
        given = self._given(table, classes)
        if self.corrected.corrections is not None:
            states = read_states(Path(self.corrected.corrections))
            truth_known = read_json(inputs["windows"].path("labels.json"))["from_rule"] or bool(given["planted"].any())
            given, counts = Corrector(store, windows, spans, classes, truth_known).apply(given, table, states)
            write_json(workspace.folder / "corrections.json", counts.to_json())
            rejected = rejected_windows(states, table["window_id"], spans, store)
            write_json(workspace.folder / REJECTED, rejected.tolist())
            workspace.events.emit("note", stage=self.name, message=counts.sentence())
        rows = given.join(table, on="window_id", how="left", maintain_order="left")["row"].to_numpy().astype(np.int64)
        numbers = np.array([classes.index(name) for name in given["label"]], dtype=np.int64)
        folds = self._folds(store, spans[rows], numbers, classes) if len(rows) else []
        proof = prove(self.splitter, store, windows, spans, part, rows, folds)
        check_gaps(proof)
        given = given.with_columns(fold=pl.Series(fold_of(folds, len(rows))))
        labels = check(given, schemas.labels(classes), "the labels", _DEFECT)
        parts = check(table.select("window_id", "span"), schemas.splits(), "the splits", _DEFECT)
        for name, frame in (("splits.parquet", parts), ("labels.parquet", labels)):
            with replace_atomically(workspace.folder / name) as handle:
                frame.write_parquet(handle)
        told = [{"train": fold.train.tolist(), "held_out": fold.held_out.tolist()} for fold in folds]
        write_json(workspace.folder / "folds.json", told)
        write_json(workspace.folder / "proof.json", proof)
        digests = {name: proof["digests"][name] for name in ("bars", "windows")}
        write_json(workspace.folder / "spans.json", {"digests": digests})  # of what no label has a say in

    def _given(self, table: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
        """The labels given to the models; no rows where no window at all has one."""
        if not classes:
            nothing = {"window_id": pl.String, "label": pl.String, "true_label": pl.String, "planted": pl.Boolean}
            return pl.DataFrame(schema=nothing)
        return self.draw.choose(table.filter((pl.col("span") == "train") & pl.col("true_label").is_not_null()), classes)

    def _folds(
        self, store: BarStore, labelled: WindowSpans, numbers: np.ndarray, classes: tuple[str, ...]
    ) -> list[Fold]:
        """Folds of the splitter, checked for all that can be checked without looking at time."""
        folds = self.splitter.folds(store, labelled, numbers)
        check_folds(folds, len(labelled), self.splitter.coverage)
        check_classes(folds, numbers, classes)
        return folds


def fold_of(folds: Sequence[Fold], n_windows: int) -> np.ndarray:
    """The first fold that holds each labelled window out, int64 [n_windows]; -1 where none does."""
    numbers = np.full(n_windows, NEVER, dtype=np.int64)
    for number, fold in reversed(list(enumerate(folds))):
        numbers[fold.held_out] = number
    return numbers


def check_parts(part: np.ndarray, n_windows: int) -> None:
    """Every window is in one of the three parts.

    Raises:
        DataError: a splitter broke this.
    """
    from moola.schemas.splits import SPANS

    unknown = sorted({str(name) for name in np.unique(part)} - set(SPANS))
    problems = [f"- '{name}' is none of {', '.join(SPANS)}" for name in unknown]
    if part.shape != (n_windows,):
        problems.append(f"- there are {n_windows} windows, and parts of shape {part.shape}")
    if problems:
        raise DataError("the split is not one", "\n".join(problems), _DEFECT)


def check_folds(folds: Sequence[Fold], n_windows: int, coverage: Coverage = "once") -> None:
    """Windows are held out as often as announced, and never by a fold that trains on them.

    Args:
        folds: over `n_windows` labelled windows.
        n_windows: how many there are.
        coverage: as the splitter announces it.

    Raises:
        DataError: a splitter broke this; every fold that did is named.
    """
    empty = np.empty(0, dtype=np.int64)
    counts = np.bincount(np.concatenate([empty, *(fold.held_out for fold in folds)]), minlength=n_windows)
    problems = [
        f"- fold {k} trains on {len(both)} of the windows it holds out"
        for k, fold in enumerate(folds)
        if len(both := np.intersect1d(fold.train, fold.held_out))
    ]
    problems += [
        f"- fold {k} names a window more than once"
        for k, fold in enumerate(folds)
        if len(np.unique(fold.train)) < len(fold.train) or len(np.unique(fold.held_out)) < len(fold.held_out)
    ]
    if not len(counts) or not counts.any():
        problems.append("- no window is ever held out")
    elif coverage != "some" and np.any(counts == 0):
        problems.append(f"- {int((counts == 0).sum())} windows are never held out")
    if coverage != "many" and np.any(counts > 1):
        problems.append(f"- {int((counts > 1).sum())} windows are held out more than once")
    if problems:
        raise DataError("the folds leak", "\n".join(problems), _DEFECT)


def check_gaps(proof: Mapping[str, Any]) -> None:
    """No window that trains overlaps one that is held out, and declared margins lie between them.

    Args:
        proof: of `moola.data.splits.proof.prove`.

    Raises:
        DataError: some windows overlap or come too near; the sealed test and every fold that do are named.
    """
    judged = {"the sealed test": proof["test"]} | {f"fold {k}": found for k, found in enumerate(proof["folds"])}
    problems: list[str] = []
    for name, found in judged.items():
        if found["overlaps"]:
            problems.append(f"- {name}: {found['overlaps']} pairs of a training and a held-out window overlap")
        problems += [f"- {name}: {broken}" for broken in _broken_promises(found, proof["declared"])]
    if problems:
        raise DataError("the split leaks", "\n".join(problems), _DEFECT)


def _broken_promises(found: Mapping[str, Any], declared: Mapping[str, int]) -> list[str]:
    """Margins that were declared and not kept, in words."""
    margins = Margins(**declared)
    sides = {
        "before": (margins.before_bars, margins.purge_us / 1e6),
        "after": (margins.after_bars, margins.after_us / 1e6),
    }
    broken: list[str] = []
    for side, (bars, seconds) in sides.items():
        gap_bars, gap_s = found[f"gap_bars_{side}"], found[f"gap_s_{side}"]
        where = f"{side} what is held out"
        if gap_bars is not None and gap_bars < bars:
            broken.append(f"{bars} bars are declared {where}, {gap_bars} lie there")
        if gap_s is not None and seconds > 0 and gap_s <= seconds:
            broken.append(f"more than {seconds:g} s are declared {where}, {gap_s:g} s lie there")
    return broken


def check_classes(folds: Sequence[Fold], labels: np.ndarray, classes: tuple[str, ...]) -> None:
    """Every fold must train on every class.

    Raises:
        DataError: some fold lacks a class; all of them are named.
    """
    problems = [
        f"- fold {k} trains on {len(fold.train)} windows without {', '.join(missing)}"
        for k, fold in enumerate(folds)
        if (missing := [name for i, name in enumerate(classes) if not np.any(labels[fold.train] == i)])
    ]
    if problems:
        raise DataError(
            "a fold has nothing to learn a class from",
            "\n".join(problems),
            "give more labels, use fewer folds, or let the first fold of split=walk_forward train on more "
            "(split.min_train)",
        )
