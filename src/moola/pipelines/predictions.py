"""The predictions table as arrays, one model at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from moola.data.splits import Fold
from moola.errors import StorageError
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.units import TEST_FOLD

PREDICTION_FILES = ("models.json", "nested.parquet", "oof.parquet")
"""What `Predictions.open` reads of the artifact ``oof`` (`moola.pipelines.stage.Stage.reads`); no times are in it."""


@dataclass(frozen=True)
class Predictions:
    """Out-of-fold and test predictions of all models.

    Attributes:
        table: `moola.schemas.predictions`.
        kinds: model -> ``role``, ``deterministic`` and ``encoder`` (whether it rests on one).
        classes: class names in the order of the probability columns.
        inner: `moola.schemas.nested`; no rows where nothing was predicted for outer folds.
    """

    table: pl.DataFrame
    kinds: dict[str, dict[str, Any]]
    classes: tuple[str, ...]
    inner: pl.DataFrame

    @classmethod
    def open(cls, oof: Artifact, stack: Artifact | None = None) -> Predictions:
        """From the artifact ``oof`` and, where it is given, ``stack``; every stack is a model there.

        Raises:
            StorageError: a table lacks a model, holds one that nobody named or a prediction twice, or has its classes
                in another order; all of it in one go.
        """
        head = read_json(oof.path("models.json"))
        kinds, classes = dict(head["models"]), tuple(head["classes"])
        table = _checked(pl.read_parquet(oof.path("oof.parquet")), kinds, classes, "oof")
        if stack is not None:
            stacked = pl.read_parquet(stack.path("stack.parquet"))
            own = {
                name: {"role": "stack", "deterministic": False, "encoder": False}
                for name in stacked["model"].unique(maintain_order=True)
            }
            table = pl.concat([table, _checked(stacked, own, classes, "stack")])
            kinds |= own
        return cls(table, kinds, classes, pl.read_parquet(oof.path("nested.parquet")))

    @property
    def models(self) -> list[str]:
        """Names in the order of the configuration."""
        return list(self.kinds)

    @property
    def seeds(self) -> list[int]:
        """All seeds, ascending."""
        return sorted(self.table["seed"].unique().to_list())

    def seeds_of(self, model: str) -> list[int]:
        """Seeds that a model was fitted with, ascending: one for a model without randomness."""
        return sorted(self.table.filter(pl.col("model") == model)["seed"].unique().to_list())

    def role(self, model: str) -> Literal["model", "baseline", "control", "stack"]:
        """What the model is there for."""
        return self.kinds[model]["role"]

    def has(self, model: str, split: Literal["oof", "test"]) -> bool:
        """Whether the model was asked on this split."""
        return not self.table.filter((pl.col("model") == model) & (pl.col("split") == split)).is_empty()

    def judged(self, labels: pl.DataFrame) -> pl.DataFrame:
        """The labelled windows that some fold held out, in the order of `labels`.

        Under walk-forward the first block only trains, so nothing is said of it out of fold.
        """
        held_out = self.table.filter(pl.col("split") == "oof").select("window_id").unique()
        return labels.join(held_out, on="window_id", how="semi", maintain_order="left")

    def of_model(self, model: str, split: Literal["oof", "test"], window_ids: pl.Series) -> np.ndarray:
        """float64 [n_seeds, n_windows, n_classes] in the order of `window_ids`; seeds ascending.

        A window that several folds held out (combinatorial folds) has the mean of their probabilities.

        Raises:
            StorageError: the model said nothing of some window; see `judged`.
        """
        rows = self.table.filter((pl.col("model") == model) & (pl.col("split") == split))
        seeds = sorted(rows["seed"].unique().to_list())
        return np.stack([self._of(rows.filter(pl.col("seed") == seed), window_ids) for seed in seeds])

    def of_seed(
        self, models: Sequence[str], split: Literal["oof", "test"], seed: int, window_ids: pl.Series
    ) -> np.ndarray:
        """float64 [n_models, n_windows, n_classes] of one seed; models without seeds give their only predictions.

        Otherwise as `of_model`.
        """
        return self._of_models(models, seed, self.table.filter(pl.col("split") == split), window_ids)

    def known_to(self, fold: int, labels: pl.DataFrame) -> pl.DataFrame:
        """The labelled windows that what is judged on this fold may learn from, in the order of `labels`.

        Args:
            fold: number of a fold, or `moola.pipelines.units.TEST_FOLD`.
            labels: labelled windows, with ``window_id``.
        """
        if fold == TEST_FOLD:
            return self.judged(labels)
        known = self.inner.filter(pl.col("outer") == fold).select("window_id").unique()
        return labels.join(known, on="window_id", how="semi", maintain_order="left")

    def to_learn(self, models: Sequence[str], fold: int, seed: int, window_ids: pl.Series) -> np.ndarray:
        """What models that know nothing of a fold say of windows outside it; otherwise as `of_seed`."""
        if fold == TEST_FOLD:
            return self.of_seed(models, "oof", seed, window_ids)
        return self._of_models(models, seed, self.inner.filter(pl.col("outer") == fold), window_ids)

    def to_judge(self, models: Sequence[str], fold: int, seed: int, window_ids: pl.Series) -> np.ndarray:
        """What models say of the windows of a fold, or of the sealed test; otherwise as `of_seed`."""
        return self.of_seed(models, "test" if fold == TEST_FOLD else "oof", seed, window_ids)

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse predictions whose columns are other classes than the labels', or the same in another order.

        Raises:
            StorageError: they are.
        """
        if self.classes != tuple(classes):
            raise StorageError(
                "the predictions are of other classes than the labels",
                f"predictions: {', '.join(self.classes)}; labels: {', '.join(classes)}",
                "predict again with --force=oof",
            )

    def check_held_out(self, labels: pl.DataFrame, folds: Sequence[Fold]) -> None:
        """Refuse out-of-fold predictions of windows that the fold did not hold out: a model knew their labels.

        Args:
            labels: labelled windows, with ``window_id``.
            folds: over the rows of `labels`.

        Raises:
            StorageError: there are such predictions; the folds are named.
        """
        rows = self.table.filter(pl.col("split") == "oof").select("window_id", "fold").unique()
        held_out = pl.concat(
            [
                pl.DataFrame({"window_id": labels["window_id"][fold.held_out.tolist()], "fold": number})
                for number, fold in enumerate(folds)
            ]
        )
        wrong = rows.join(held_out.cast({"fold": pl.Int64}), on=["window_id", "fold"], how="anti")
        if len(wrong):
            counts = wrong["fold"].value_counts().sort("fold").iter_rows()
            raise StorageError(
                f"{len(wrong)} windows are predicted by folds that did not hold them out",
                "\n".join(f"- fold {fold}: {n}" for fold, n in counts),
                "predict again with --force=oof",
            )

    def is_control_of(self, control: str, model: str) -> bool:
        """Whether the model has to be better than this control: an encoder than every one, others than blind ones."""
        return self.role(control) == "control" and (self.kinds[model]["encoder"] or self.is_blind(control))

    def is_blind(self, model: str) -> bool:
        """Whether it is a control that never looks at the windows."""
        return self.role(model) == "control" and not self.kinds[model]["encoder"]

    def _of_models(self, models: Sequence[str], seed: int, table: pl.DataFrame, window_ids: pl.Series) -> np.ndarray:
        parts: list[np.ndarray] = []
        for model in models:
            rows = table.filter(pl.col("model") == model)
            if not self.kinds[model]["deterministic"]:
                rows = rows.filter(pl.col("seed") == seed)
            parts.append(self._of(rows, window_ids))
        return np.stack(parts)

    def _of(self, rows: pl.DataFrame, window_ids: pl.Series) -> np.ndarray:
        return in_order(rows, window_ids, self.classes)


def _checked(table: pl.DataFrame, models: Mapping[str, Any], classes: Sequence[str], stage: str) -> pl.DataFrame:
    """The table itself where it is of these models and classes."""
    columns, wanted = [c for c in table.columns if c.startswith("prob_")], [f"prob_{name}" for name in classes]
    named = set(table["model"].unique())
    key = ["window_id", "model", "seed", "split", "fold"]
    twice = table.filter(table.select(key).is_duplicated())
    problems = [f"- {model} has no prediction" for model in models if model not in named]
    problems += [f"- it holds {model}, which is none of {', '.join(models)}" for model in sorted(named - set(models))]
    if columns != wanted:
        problems.append(f"- its classes are {', '.join(columns)}, in models.json they are {', '.join(wanted)}")
    if len(twice):
        some = ", ".join(twice["window_id"].unique(maintain_order=True).head(5))
        problems.append(f"- {len(twice)} rows stand there more than once, of the windows {some}")
    if problems:
        why = "\n".join(problems)
        raise StorageError(
            f"the predictions of stage '{stage}' cannot be used", why, f"predict again with --force={stage}"
        )
    return table


def in_order(rows: pl.DataFrame, window_ids: pl.Series, classes: Sequence[str]) -> np.ndarray:
    """Probabilities of one model and seed in the order of `window_ids`, float64 [n, n_classes]; see `of_model`.

    Raises:
        StorageError: it said nothing of some window.
    """
    names = [f"prob_{name}" for name in classes]
    averaged = rows.sort("fold").group_by("window_id", maintain_order=True).agg(pl.col(names).mean())
    ordered = window_ids.to_frame("window_id").join(averaged, on="window_id", how="left", maintain_order="left")
    missing = ordered.filter(pl.col(names[0]).is_null())["window_id"]
    if len(missing):
        models = ", ".join(rows["model"].unique())
        raise StorageError(
            f"{len(missing)} of {len(window_ids)} windows have no prediction of {models}",
            f"the first of them: {', '.join(missing.head(5))}",
            "predict again with --force=oof",
        )
    return ordered.select(names).to_numpy().astype(np.float64)
