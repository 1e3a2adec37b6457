"""Pseudo-labels in a pipeline: every teacher leaves out what judges its students, and what it changed is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.augment.jitter import Jitter
from moola.data.sources.files import Files
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.window_index import WindowConfig
from moola.errors import DataError
from moola.features.anchored import Anchored
from moola.labels.planting import LabelDraw
from moola.labels.pseudo_gates import PseudoGates
from moola.labels.pseudo_labels import PseudoLabels
from moola.labels.structure_rule import StructureRule
from moola.layout import Layout, read_json
from moola.models.bilstm import BiLstm
from moola.models.classical import LogisticRegression
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.judged import EvaluationConfig
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.self_training import FoldTrainer, SelfTraining, with_pseudo_labels
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.oof import Oof
from moola.pipelines.stages.pseudo_labels import PseudoLabelling
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows
from moola.training.schedule import FitConfig

N_BARS, REACH, PURGE = 4_000, 20, 7


def bars() -> pl.DataFrame:
    generator = np.random.default_rng(1)
    close = 100 * np.exp(0.002 * generator.normal(size=N_BARS).cumsum())
    first = pl.datetime(2024, 1, 1)
    times = pl.datetime_range(first, first + pl.duration(hours=N_BARS - 1), "1h", eager=True)
    candles = {"open": close, "high": close * 1.0006, "low": close * 0.9994, "close": close}
    return pl.DataFrame({"timestamp": times, **candles})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("pseudo")
    bars().write_csv(folder / "bars.csv")
    setup = EncoderSetup((0, 1), "cpu", Anchored(), BiLstm())
    oof = Oof(setup, FitConfig(epochs=1, batch_size=8), {"lr": LogisticRegression()}, nested=False)
    gates = PseudoGates(sure=0.8, likely=0.7, max_per_class=10)
    plan = SelfTraining(oof, "lr", ("lr",), gates, most=600, views=2, weak=(Jitter(),))
    stages = [
        Ingest(Files(path=str(folder / "bars.csv"))),
        Windows(WindowConfig(length=REACH, visible=15, zone=(5, 15)), None, StructureRule(1.0, 0.3, 12.0, 6.0)),
        Splits(PurgedKFold(test_from="2024-05-20", n_folds=3, purge_bars=PURGE), LabelDraw(n_given=60)),
        PseudoLabelling(plan, EvaluationConfig(n_resamples=200)),
    ]
    context = Context("pseudo", Layout(folder / "data", folder / "artifacts"), processes=1)
    artifacts = Pipeline(stages).run(context).artifacts
    trainer = FoldTrainer.open(plan, artifacts)
    return SimpleNamespace(artifacts=artifacts, trainer=trainer, told=told_by(artifacts))


def told_by(artifacts: Mapping[str, Artifact]) -> dict:
    return read_json(artifacts["pseudo_labels"].path("pseudo_labels.json"))


def test_no_pseudo_labelled_window_comes_near_the_fold_that_judges_nor_the_sealed_test(
    finished: SimpleNamespace,
) -> None:
    table = pl.read_parquet(finished.artifacts["pseudo_labels"].path("pseudo_labels.parquet"))
    assert sorted(table["fold"].unique().to_list()) == [-1, 0, 1, 2]
    pool = finished.trainer.fitter.pool
    step = pool.data.table.select("window_id", "step")
    for fold, rows in table.join(step, on="window_id").group_by("fold"):
        number = int(fold[0])
        judging = np.concatenate([pool.sealed, pool.held_out((number,)) if number >= 0 else pool.sealed])
        distance = np.abs(rows["step"].to_numpy()[:, None] - pool.data.spans.first_step[judging])
        assert distance.min() >= REACH + PURGE
        assert np.diff(np.sort(rows["step"].to_numpy())).min() >= REACH / 4


def test_the_funnel_and_what_was_changed_are_told_with_intervals(finished: SimpleNamespace) -> None:
    told = finished.told
    assert [fold["fold"] for fold in told["folds"]] == [0, 1, 2, -1]
    for fold in told["folds"]:
        assert fold["looked_at"] >= fold["likely"] >= fold["consistent"] >= fold["apart"] >= fold["passed"] > 0
        assert sum(fold["classes"].values()) == fold["passed"] and max(fold["classes"].values()) <= 10
        assert fold["low"] <= fold["right"] / fold["of"] <= fold["high"]
        assert fold["of"] + fold["of_no_class"] == fold["passed"]
    (changed,) = told["changed"]
    assert changed["difference"]["value"] == pytest.approx(changed["with"]["value"] - changed["without"]["value"])
    assert changed["difference"]["low"] < changed["difference"]["high"] and changed["with"]["n"] == 60


def test_defect_10_a_teacher_of_all_labels_is_refused_by_every_fold(finished: SimpleNamespace) -> None:
    fitter = finished.trainer.fitter
    outcome = finished.trainer(())
    everything = PseudoLabels((), fitter.pool.taught(()), outcome.rows, outcome.passed.labels)
    taught = fitter.labelled[fitter.data.folds[0].train]
    for disguised in (everything, dataclasses.replace(everything, left_out=(0,))):
        with pytest.raises(DataError, match="pseudo-labels leak into fold 0") as caught:
            with_pseudo_labels(fitter, taught, disguised, (0,))
        assert "windows that taught are held-out windows" in caught.value.why


def test_a_student_learns_from_labels_and_then_from_pseudo_labels(finished: SimpleNamespace) -> None:
    fitter = finished.trainer.fitter
    taught = fitter.labelled[fitter.data.folds[1].train]
    outcome = finished.trainer((1,))
    pseudo = PseudoLabels((1,), fitter.pool.taught((1,)), outcome.rows, outcome.passed.labels)
    both = with_pseudo_labels(fitter, taught, pseudo, (1,))
    assert len(both) == len(taught) + len(outcome.rows) and len(both.inputs) == len(both)
    assert both.labels[len(taught) :].tolist() == outcome.passed.labels.tolist()
    assert outcome.n_taught == len(taught) and set(outcome.predicted) == {("lr", 0)}


def test_what_a_teacher_says_does_not_hang_on_labels_it_left_out(finished: SimpleNamespace) -> None:
    fitter = finished.trainer.fitter
    flipped = fitter.labelled.labels.copy()
    flipped[fitter.data.folds[0].held_out] ^= 1
    other = dataclasses.replace(fitter, labelled=dataclasses.replace(fitter.labelled, labels=flipped))
    before, after = finished.trainer((0,)), dataclasses.replace(finished.trainer, fitter=other)((0,))
    assert before.rows.tolist() == after.rows.tolist()
    assert np.array_equal(before.predicted["lr", 0], after.predicted["lr", 0])


def test_windows_that_people_rejected_teach_nothing(finished: SimpleNamespace) -> None:
    pool = finished.trainer.fitter.pool
    usable = pool.rows((0,), 10_000)
    other = dataclasses.replace(pool, data=dataclasses.replace(pool.data, rejected=usable[:200]))
    other.__dict__["margins"] = pool.margins
    assert other.rows((0,), 10_000).tolist() == usable[200:].tolist()


def test_the_stage_is_switched_on_by_a_group() -> None:
    from moola.composition import compose_and_call
    from moola.config import from_omegaconf
    from moola.pipelines.assembly import assemble

    found: list[str] = []

    def look(composed: Any) -> None:
        found.extend(stage.name for stage in assemble(from_omegaconf(composed)).stages)

    compose_and_call("run", ["stage=pseudo_labels"], look)
    assert found.index("pseudo_labels") == found.index("oof") + 1
