"""A split that leaks or is stale is refused, whoever made it; and every built-in one goes through the stage."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore
from moola.data.bar_writer import BarWriter
from moola.data.splits import Fold
from moola.data.splits.combinatorial import CombinatorialPurged
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.saved import Saved
from moola.data.splits.sessions import SessionFolds
from moola.data.splits.walk_forward import WalkForward
from moola.data.window_index import WindowConfig, WindowIndex, WindowSpans
from moola.errors import ConfigError, DataError, StorageError
from moola.features.standardised import Standardised
from moola.labels import WindowLabels
from moola.labels.planting import LabelDraw
from moola.layout import digest_file, read_json
from moola.models.bilstm import BiLstm
from moola.models.classical import LogisticRegression, RandomForest
from moola.models.controls import Majority
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.judged import EvaluationConfig
from moola.pipelines.labelled import require_labels
from moola.pipelines.predictions import Predictions
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.describe import Describe
from moola.pipelines.stages.evaluate import Evaluate
from moola.pipelines.stages.label_issues import LabelIssues
from moola.pipelines.stages.oof import Oof
from moola.pipelines.stages.report import Report
from moola.pipelines.stages.splits import Splits, check_folds, check_gaps, fold_of
from moola.pipelines.stages.stack import Stack
from moola.pipelines.stages.windows import Windows
from moola.schemas import TIMESTAMP
from moola.testing.splitter_checks import random_market
from moola.training.schedule import FitConfig

EVERY = np.arange(40)
FROM = "2013-01-01"


@dataclass(frozen=True)
class Alternating:
    """Labels the windows a, b, a, b, ...; or none of them."""

    classes: tuple[str, ...] = ("a", "b")

    def fingerprint(self) -> str:
        return ""

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        names = [self.classes[i % 2] if self.classes else None for i in range(len(table))]
        return WindowLabels(pl.Series(names, dtype=pl.String), self.classes, True)


def artifact(stage: Stage | None, inputs: dict[str, Artifact], folder: Path) -> Artifact:
    """Run a stage into a folder; None: the folder as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if stage is not None:
        stage.run(inputs, Workspace(folder, "run", stage.name, EventLog(), folder / "units"))
    files = {path.name: digest_file(path) for path in folder.iterdir() if path.is_file()}
    manifest = {"files": files, "started": "", "seconds": 0.0, "versions": {}}
    return Artifact(stage.name if stage else "ingest", "key", "digest", folder, manifest)


def inputs_of(folder: Path, seed: int = 0, length: int = 6, labeller: Any = None) -> dict[str, Artifact]:
    """Bars and windows of a random market."""
    market = random_market(seed, FROM)
    names = np.repeat(market.series, np.diff(market.offsets))
    frame = pl.DataFrame({"series": names, "timestamp": market.timestamps, "x": market.values[:, 0]})
    with BarWriter(folder / "bars", ("x",)) as writer:
        writer.append(frame.with_columns(pl.col("timestamp").cast(TIMESTAMP)))
        writer.finish()
    inputs = {"bars": artifact(None, {}, folder / "bars")}
    stage = Windows(WindowConfig(length=length), None, labeller or Alternating())
    inputs["windows"] = artifact(stage, inputs, folder / "windows")
    return inputs


def split(inputs: dict[str, Artifact], splitter: Any, folder: Path, n_given: int | None = None) -> Artifact:
    return artifact(Splits(splitter, LabelDraw(n_given)), inputs, folder)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return inputs_of(tmp_path_factory.mktemp("market"))


@pytest.mark.parametrize(
    ("splitter", "never", "n_folds"),
    [
        (PurgedKFold(FROM, embargo_bars=10), False, 5),
        (WalkForward(FROM, n_folds=3), True, 3),
        (CombinatorialPurged(FROM), False, 15),
        (SessionFolds(FROM, by="day"), False, 5),
    ],
)
def test_every_splitter_leaves_what_later_stages_read(
    splitter: Any, never: bool, n_folds: int, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    data = Dataset.open({**inputs, "splits": split(inputs, splitter, tmp_path)})
    assert len(data.folds) == n_folds
    assert (data.labels["fold"] == -1).any() == never
    for row in range(0, len(data.labels), 50):
        fold = data.labels["fold"][row]
        holding = [k for k, some in enumerate(data.folds) if row in some.held_out]
        assert (fold == holding[0]) if holding else fold == -1
    proof = read_json(tmp_path / "proof.json")
    assert proof["coverage"] == splitter.coverage
    assert proof["digests"]["bars"] == data.store.digest != ""
    assert [fold["overlaps"] for fold in proof["folds"]] == [0] * n_folds
    require_labels(data)


def test_without_any_label_there_are_spans_and_a_proof_and_no_folds(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path / "market", labeller=Alternating(()))
    data = Dataset.open({**inputs, "splits": split(inputs, PurgedKFold(FROM), tmp_path / "splits")})
    assert len(data.labels) == 0 and data.folds == ()
    assert set(data.table["span"]) == {"train", "test", "excluded"}
    assert read_json(tmp_path / "splits" / "proof.json")["test"]["overlaps"] == 0
    with pytest.raises(DataError, match="no window has a label"):
        require_labels(data)


def test_labels_of_the_test_alone_are_not_taken_for_none_at_all(tmp_path: Path) -> None:
    class TestOnly(Alternating):
        def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
            found = super().label(store, windows, table)
            late = table["first_time"] >= pl.Series([FROM]).str.to_datetime(time_zone="UTC")[0]
            return dataclasses.replace(found, values=found.values.set(~late, None))

    inputs = inputs_of(tmp_path / "market", labeller=TestOnly())
    with pytest.raises(DataError, match="no training window has a label"):
        split(inputs, PurgedKFold(FROM), tmp_path / "splits")


# A purge that was declared and never done.


@dataclass(frozen=True)
class NotPurged(PurgedKFold):
    """Declares a purge and does none."""

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        made = PurgedKFold(self.test_from, self.n_folds).folds(store, windows, labels)
        every = np.arange(len(windows))
        return [Fold(np.setdiff1d(every, fold.held_out), fold.held_out) for fold in made]


def test_a_purge_that_is_declared_and_not_done_is_refused_and_nothing_is_written(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="the split leaks") as caught:
        split(inputs, NotPurged(FROM, purge_bars=104), tmp_path)
    for fold in range(5):
        assert f"- fold {fold}: " in caught.value.why
    assert "pairs of a training and a held-out window overlap" in caught.value.why
    assert "104 bars are declared" in caught.value.why
    assert not list(tmp_path.iterdir())


# A split that is kept while its data change.


@pytest.fixture(scope="module")
def earlier(inputs: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    splitter = PurgedKFold(FROM, n_folds=3, purge_time="2d", embargo_bars=7)
    return split(inputs, splitter, tmp_path_factory.mktemp("earlier"), n_given=60)


def test_a_saved_split_is_used_again_as_it_was_and_proved_again(
    inputs: dict[str, Artifact], earlier: Artifact, tmp_path: Path
) -> None:
    split(inputs, Saved(str(earlier.folder)), tmp_path, n_given=60)
    for name in ("folds.json", "proof.json"):
        assert read_json(tmp_path / name) == read_json(earlier.folder / name)
    for name in ("splits.parquet", "labels.parquet"):
        assert pl.read_parquet(tmp_path / name).equals(pl.read_parquet(earlier.folder / name))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 1}, "the bars changed"),
        ({"length": 7}, "the windows changed"),
    ],
)
def test_a_saved_split_of_other_data_is_refused(
    changes: dict[str, int], says: str, earlier: Artifact, tmp_path: Path
) -> None:
    inputs = inputs_of(tmp_path / "market", **changes)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="is stale") as caught:
        split(inputs, Saved(str(earlier.folder)), tmp_path / "splits", n_given=60)
    assert says in caught.value.why
    assert "another split" in caught.value.way_out and "split.folder=" in caught.value.way_out
    assert "--force" not in caught.value.way_out, "the same folder would be read again"


def test_saved_folds_of_other_labels_are_refused(
    inputs: dict[str, Artifact], earlier: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="is stale") as caught:
        split(inputs, Saved(str(earlier.folder)), tmp_path, n_given=58)
    assert "the labelled windows changed" in caught.value.why


def test_folds_that_were_altered_by_hand_are_proved_again_and_refused(
    inputs: dict[str, Artifact], earlier: Artifact, tmp_path: Path
) -> None:
    shutil.copytree(earlier.folder, tmp_path / "altered")
    path = tmp_path / "altered" / "folds.json"
    before = Splits(Saved(str(earlier.folder)), LabelDraw()).outside()
    path.write_text(path.read_text().replace('"train": [', '"train": [\n      0,', 3))
    saved = Saved(str(tmp_path / "altered"))
    assert Splits(saved, LabelDraw()).outside() == Describe(saved).outside() != before
    with pytest.raises(DataError, match="the folds leak"):
        split(inputs, saved, tmp_path / "splits", n_given=60)


def test_a_folder_without_a_split_is_refused(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no split in"):
        split(inputs, Saved(str(tmp_path)), tmp_path / "splits")
    with pytest.raises(StorageError, match="there is no split in"):
        Splits(Saved(str(tmp_path)), LabelDraw()).outside()
    with pytest.raises(ConfigError, match="folder"):
        Saved("")


# Folds.


@pytest.mark.parametrize(
    ("folds", "coverage", "says"),
    [
        ([Fold(EVERY, EVERY)], "once", "fold 0 trains on 40 of the windows it holds out"),
        ([Fold(EVERY[20:], EVERY[:20])], "once", "20 windows are never held out"),
        ([Fold(EVERY[20:], EVERY[:20])], "many", "20 windows are never held out"),
        ([Fold(EVERY[:0], EVERY), Fold(EVERY[20:], EVERY[:20])], "once", "20 windows are held out more than once"),
        ([Fold(EVERY[:0], EVERY), Fold(EVERY[20:], EVERY[:20])], "some", "20 windows are held out more than once"),
        ([Fold(EVERY[[0, 0]], EVERY[1:])], "some", "fold 0 names a window more than once"),
        ([], "some", "no window is ever held out"),
    ],
)
def test_folds_that_do_not_cover_as_announced_are_refused(folds: list[Fold], coverage: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_folds(folds, len(EVERY), coverage)


@pytest.mark.parametrize("coverage", ["some", "many"])
def test_folds_that_cover_as_announced_pass(coverage: Any) -> None:
    halves = [Fold(EVERY[20:], EVERY[:20]), Fold(EVERY[:20], EVERY[20:])]
    check_folds(halves, len(EVERY), "once")
    check_folds(halves[:1] if coverage == "some" else halves * 2, len(EVERY), coverage)


def test_a_window_belongs_to_the_first_fold_that_holds_it_out() -> None:
    folds = [Fold(EVERY[:0], EVERY[10:20]), Fold(EVERY[:0], EVERY[15:30])]
    assert fold_of(folds, 40).tolist() == [-1] * 10 + [0] * 10 + [1] * 10 + [-1] * 10


def found(**changes: Any) -> dict[str, Any]:
    return {
        "overlaps": 0,
        "gap_bars_before": 4,
        "gap_bars_after": 9,
        "gap_s_before": 40.0,
        "gap_s_after": None,
        **changes,
    }


DECLARED = {"purge_bars": 4, "purge_us": 30_000_000, "embargo_bars": 9, "embargo_us": 0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"overlaps": 3}, "3 pairs of a training and a held-out window overlap"),
        ({"gap_bars_before": 3}, "4 bars are declared before what is held out, 3 lie there"),
        ({"gap_bars_after": 8}, "9 bars are declared after what is held out, 8 lie there"),
        ({"gap_s_before": 30.0}, "more than 30 s are declared before what is held out, 30 s lie there"),
    ],
)
@pytest.mark.parametrize("where", ["the sealed test", "fold 1"])
def test_windows_that_come_too_near_are_refused(change: dict[str, Any], says: str, where: str) -> None:
    check_gaps({"declared": DECLARED, "test": found(), "folds": [found(), found()]})
    test, fold = (found(**change), found()) if where == "the sealed test" else (found(), found(**change))
    with pytest.raises(DataError, match=says) as caught:
        check_gaps({"declared": DECLARED, "test": test, "folds": [found(), fold]})
    assert caught.value.why.startswith(f"- {where}: ") and len(caught.value.why.splitlines()) == 1


def test_gaps_of_independent_cases_are_unknown_and_pass() -> None:
    nothing = {"gap_bars_before": None, "gap_bars_after": None, "gap_s_before": None}
    check_gaps({"declared": DECLARED, "test": found(**nothing), "folds": [found(**nothing)]})


# What later stages make of folds that hold a window out never, or more than once.


def oof_stage() -> Oof:
    setup = EncoderSetup((0,), "cpu", Standardised(), BiLstm())
    models = {
        "majority": Majority(),
        "logistic_regression": LogisticRegression(),
        "random_forest": RandomForest(trees=20),
    }
    return Oof(setup, FitConfig(epochs=1, batch_size=8), models)


@pytest.mark.parametrize("splitter", [WalkForward(FROM, n_folds=3), CombinatorialPurged(FROM, n_blocks=4)])
def test_every_consumer_sees_each_window_that_was_held_out_once_and_no_other(
    splitter: Any, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    inputs = {**inputs, "splits": split(inputs, splitter, tmp_path / "splits", n_given=120)}
    inputs["oof"] = artifact(oof_stage(), inputs, tmp_path / "oof")
    data, predictions = Dataset.open(inputs), Predictions.open(inputs["oof"])
    judged = predictions.judged(data.labels)
    held_out = data.labels.filter(pl.col("fold") >= 0)["window_id"]
    assert judged["window_id"].to_list() == held_out.to_list()
    assert (len(judged) < 120) == (splitter.coverage == "some")
    inputs["stack"] = artifact(Stack(), inputs, tmp_path / "stack")
    inputs["label_issues"] = artifact(LabelIssues(), inputs, tmp_path / "issues")
    assert set(pl.read_csv(tmp_path / "issues" / "label_issues.csv")["window_id"]) == set(held_out)
    inputs["evaluation"] = artifact(Evaluate(1, EvaluationConfig(n_resamples=100)), inputs, tmp_path / "evaluation")
    artifact(Report("test", (0,), EvaluationConfig(n_resamples=100)), inputs, tmp_path / "report")
    rows = pl.DataFrame(read_json(tmp_path / "evaluation" / "metrics.json"))
    assert set(rows.filter(pl.col("split") == "oof")["n"]) == {len(judged)}
    assert rows["value"].is_finite().all()


def test_without_labels_models_say_that_they_need_them(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path / "market", labeller=Alternating(()))
    inputs["splits"] = split(inputs, PurgedKFold(FROM), tmp_path / "splits")
    with pytest.raises(DataError, match="no window has a label, so no model can learn a class"):
        artifact(oof_stage(), inputs, tmp_path / "oof")
