"""Several stacks in one run: which models are the bases of each, and what is said where too few are left."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir

from moola.config import RunConfig, config_folder, from_omegaconf
from moola.data.splits import Fold
from moola.errors import ConfigError
from moola.layout import read_json
from moola.models.meta import SimplexMean
from moola.pipelines.assembly import assemble
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions
from moola.pipelines.stages.stack import Recipe, Stack
from moola.pipelines.units import TEST_FOLD

N, CLASSES = 12, ("a", "b")
TRUTH = np.arange(N) % 2


@pytest.fixture
def config() -> Callable[..., RunConfig]:
    def make(*overrides: str) -> RunConfig:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return from_omegaconf(compose("config", list(overrides)))

    return make


def stack_of(config: RunConfig) -> Stack:
    (stack,) = (stage for stage in assemble(config).stages if isinstance(stage, Stack))
    return stack


def test_a_stack_leaves_models_out_by_name_or_kind_and_kinds_need_not_be_there(config) -> None:
    chosen = config(
        "+stage.stack.plain={kind: logistic_regression, c: 0.5, without: [finetuned_encoder, minirocket, dtw]}"
    )
    stacks = stack_of(chosen).stacks
    assert stacks["stack"] == Recipe(SimplexMean())
    assert set(stacks["plain"].without) == {"finetuned", "scratch", "minirocket"}


def test_all_problems_of_all_stacks_are_told_at_once(config) -> None:
    wrong = config(
        "+stage.stack.majority.kind=simplex_mean",
        "+stage.stack.other={kind: simplex_meen, without: [minirokcet]}",
    )
    with pytest.raises(ConfigError) as caught:
        assemble(wrong)
    said = "\n".join(caught.value.problems)
    assert "model.majority: this name belongs to a stack" in said
    assert "did you mean 'simplex_mean'" in said and "'minirokcet'; did you mean 'minirocket'" in said


def said(model: str, quality: float, window: int, fold: int, outer: int | None) -> dict[str, object]:
    up = quality if TRUTH[window % N] else 1 - quality
    place = {"outer": outer} if outer is not None else {"split": "test" if fold < 0 else "oof"}
    return {
        "window_id": f"t{window}" if fold < 0 else f"w{window}",
        "model": model,
        "seed": 0,
        **place,
        "fold": fold,
        "prob_a": 1 - up,
        "prob_b": up,
    }


def some_predictions() -> Predictions:
    """Of three folds, by two good models, one that is poor where fold 0 is left out, and a control."""
    table, inner = [], []
    for model, window in itertools.product(("best", "good", "weak", "majority"), range(N)):
        fold = window % 6 // 2
        quality = {"best": 0.9, "good": 0.8, "weak": 0.7, "majority": 0.5}[model]
        table += [said(model, quality, window, fold, None), said(model, quality, window, TEST_FOLD, None)]
        for outer in {0, 1, 2} - {fold}:
            inner.append(said(model, 0.4 if (model, outer) == ("weak", 0) else quality, window, fold, outer))
    roles = {"best": "model", "good": "model", "weak": "baseline", "majority": "control"}
    kinds = {model: {"role": role, "deterministic": True, "encoder": False} for model, role in roles.items()}
    return Predictions(pl.DataFrame(table), kinds, CLASSES, pl.DataFrame(inner))


def test_each_stack_is_judged_on_every_fold_or_on_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels = pl.DataFrame({"window_id": [f"w{i}" for i in range(N)], "label": [CLASSES[i] for i in TRUTH]})
    folds = [
        Fold(np.flatnonzero(np.arange(N) % 6 // 2 != k), np.flatnonzero(np.arange(N) % 6 // 2 == k)) for k in range(3)
    ]
    data = SimpleNamespace(
        labels=labels,
        test=labels.with_columns(window_id=pl.col("window_id").str.replace("w", "t")),
        folds=folds,
        classes=CLASSES,
        class_numbers=lambda column: np.array([CLASSES.index(name) for name in column]),
    )
    monkeypatch.setattr(Dataset, "open", lambda inputs: data)
    monkeypatch.setattr(Predictions, "open", lambda oof: some_predictions())
    stage = Stack({"stack": Recipe(), "few": Recipe(without=("best",)), "none": Recipe(without=("best", "good"))})
    stage.run({"oof": None}, SimpleNamespace(folder=tmp_path))  # type: ignore[arg-type,dict-item]
    table = pl.read_parquet(tmp_path / "stack.parquet")
    rows = {model: len(part) for (model,), part in table.group_by("model")}
    # Fold 0 leaves "few" a single base, so it has no figure out of fold, but the sealed test has its two.
    assert rows == {"stack": 2 * N, "few": N}
    told = read_json(tmp_path / "stack.json")
    assert told["none"]["stacked"] is False and told["few"]["stacked"] is True
    first = told["few"]["lessons"][0]
    assert first["bases"] == ["good"] and first["left_out"]["best"] == "not among the bases of this stack"
    assert "not better than" in first["left_out"]["weak"] or first["left_out"]["weak"] == "collapsed"
