"""Mistakes that the projects before moola shipped, put back one by one: each is refused. 13 and 14: `tests/pods`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from moola.config import structure
from moola.data.bar_store import BarStore
from moola.data.ingestion import ingest
from moola.data.sources import BarScan, Chunk
from moola.data.sources.files import Files
from moola.data.sources.window_table import WindowTable
from moola.data.splits import Fold
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.saved import Saved
from moola.data.window_index import WindowConfig, WindowSpans
from moola.errors import ConfigError, DataError, StorageError
from moola.features.anchored import Anchored
from moola.features.log_returns import LogReturns
from moola.features.relative import RelativeTransform
from moola.features.source_channels import SourceChannels
from moola.labels.planting import LabelDraw
from moola.labels.structure_rule import StructureRule
from moola.layout import Layout, write_json
from moola.models import FitResources, LabelledWindows, Role
from moola.models.bilstm import BiLstm
from moola.models.classical import LogisticRegression
from moola.models.encoder import Encoder, InputShape
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.judged import EvaluationConfig
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.predictions import Predictions
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Workspace
from moola.pipelines.stages.evaluate import Evaluate
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.label_issues import LabelIssues
from moola.pipelines.stages.oof import Oof, nested_frame
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows
from moola.schemas.bars import BarRule, bar_rules
from moola.testing import check_bar_rules
from moola.training.finetuning import FinetunedEncoder
from moola.training.optimisation import ParameterGroup
from moola.training.probe import build_encoder
from moola.training.schedule import FitConfig
from moola.training.weights import TransferError, save_weights

WINDOW = WindowConfig(length=105, visible=75, zone=(30, 75))
N_BARS = 2_000


def market(seed: int = 0, level: float = 19_800.0) -> pl.DataFrame:
    """Hourly candles at the level that the Nasdaq future traded at."""
    generator = np.random.default_rng(seed)
    close = level * np.exp(0.002 * generator.normal(size=N_BARS).cumsum())
    opened = close * (1 + 0.0005 * generator.normal(size=N_BARS))
    return pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 1) + pl.duration(hours=N_BARS - 1), "1h", eager=True
            ),
            "open": opened,
            "high": np.maximum(opened, close) * 1.0004,
            "low": np.minimum(opened, close) * 0.9996,
            "close": close,
        }
    )


def artifacts(folder: Path, bars: Path) -> Mapping[str, Artifact]:
    """Bars, windows and splits of one file, as every later stage gets them."""
    stages = [
        Ingest(Files(path=str(bars))),
        Windows(WINDOW, None, StructureRule(range_tr=12.0, net_tr=6.0)),
        Splits(PurgedKFold(test_from="2024-03-01", n_folds=2), LabelDraw()),
    ]
    return Pipeline(stages).run(Context("defects", Layout(folder / "data", folder / "artifacts"))).artifacts


@pytest.fixture(scope="module")
def two_markets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping[str, Artifact], Mapping[str, Artifact]]:
    """The same market twice, of which one bar was mended in between."""
    folder = tmp_path_factory.mktemp("markets")
    first = market()
    mended = first.with_columns(close=pl.when(pl.int_range(pl.len()) == 700).then(pl.col("open")).otherwise("close"))
    found = []
    for name, frame in (("first", first), ("mended", mended)):
        (folder / name).mkdir()
        frame.write_csv(folder / name / "bars.csv")
        found.append(artifacts(folder, folder / name / "bars.csv"))
    return found[0], found[1]


def test_defect_5_training_and_judging_cannot_read_different_files(
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]],
) -> None:
    first, mended = two_markets
    assert len(Dataset.open(first).table) == len(Dataset.open(mended).table)
    for name in ("bars", "splits"):
        with pytest.raises(StorageError, match="made for other data"):
            Dataset.open({**first, name: mended[name]})


def test_defect_6_a_split_is_not_reused_on_changed_data(
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]],
) -> None:
    first, mended = two_markets
    assert first["splits"].key != mended["splits"].key  # the pipeline makes a new one
    kept = Saved(folder=str(first["splits"].folder))  # a user who insists is refused
    same = Dataset.open(first)
    assert (kept.spans(same.store, same.spans) == same.table["span"].to_numpy()).all()
    other = Dataset.open(mended)
    with pytest.raises(StorageError, match="stale"):
        kept.spans(other.store, other.spans)


SETUP = EncoderSetup((0,), "cpu", Anchored(), BiLstm(hidden=2))
BRIEFLY = FitConfig(epochs=2, batch_size=64)


def pretrained(folder: Path) -> Artifact:
    """An encoder as the stage `pretrain` leaves it."""
    torch.manual_seed(99)
    save_weights(folder / "encoder-seed0.safetensors", SETUP.encoder.build(InputShape(8, 75)).state_dict())
    (folder / "encoder.json").write_text("{}")
    files = {"encoder-seed0.safetensors": "", "encoder.json": ""}
    return Artifact("pretrain", "0" * 64, "1" * 64, folder, {"files": files})


def folds_of_one_model(inputs: Mapping[str, Artifact], folder: Path) -> None:
    """Fine-tune in every fold and predict what it holds out."""
    workspace = Workspace(folder / "oof", "run", "oof", EventLog(), folder / "units")
    stage = Oof(SETUP, BRIEFLY, {"finetuned": FinetunedEncoder(frozen_epochs=0)})
    stage.run({**inputs, "encoder": pretrained(folder)}, workspace)


def test_defect_1_no_fold_drops_the_pretrained_encoder(
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds: list[str] = []

    def dropped(windows: LabelledWindows, init: Any, resources: FitResources) -> Any:
        folds.append(init)
        return build_encoder(windows, init if len(folds) == 1 else "random", resources)

    folds_of_one_model(two_markets[0], tmp_path)
    monkeypatch.setattr("moola.training.finetuning.build_encoder", dropped)
    (tmp_path / "again").mkdir()
    with pytest.raises(TransferError, match="finetuned, seed 0, without fold 1 did not start from the pretrained"):
        folds_of_one_model(two_markets[0], tmp_path / "again")
    assert len(folds) == 2


def test_defect_4_an_encoder_that_is_frozen_for_ever_is_refused(
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frozen(encoder: Encoder, epochs: int, **rates: Any) -> list[ParameterGroup]:
        return [ParameterGroup(list(encoder.parameters()), frozen_epochs=epochs)]

    monkeypatch.setattr("moola.training.finetuning.encoder_groups", frozen)
    with pytest.raises(TransferError, match="layers that should have trained did not move"):
        folds_of_one_model(two_markets[0], tmp_path)
    with pytest.raises(ConfigError, match="frozen_epochs: 32 leaves none"):  # and nobody can ask for it
        Oof(SETUP, BRIEFLY, {"finetuned": FinetunedEncoder(frozen_epochs=32)})


def test_defect_8_raw_prices_are_never_inputs(
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]],
) -> None:
    data = Dataset.open(two_markets[0])
    with pytest.raises(DataError, match="prices as they are cannot be model inputs"):
        dataclasses.replace(SETUP, transform=SourceChannels()).input_shape(data)
    for transform in (Anchored(), LogReturns(), RelativeTransform()):
        windows = data.gather(data.labels["row"], data.labels["label"], transform)
        assert windows.bars.max() > 10_000 and np.square(windows.inputs).mean() < 100


@pytest.mark.parametrize("name", ["expansion_start", "pointer_end", "label", "prob_retracement"])
def test_defect_9_annotations_are_never_inputs(name: str) -> None:
    for source in (Files, WindowTable):
        with pytest.raises(ConfigError, match=name):
            structure(source, {"path": "x.parquet", "channels": ["open", "high", "low", "close", name]}, "data")


@dataclass(frozen=True)
class Shuffled(PurgedKFold):
    """Folds of windows drawn at random, where neighbours in time overlap."""

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        rows = np.random.default_rng(0).permutation(len(windows))
        return [Fold(np.sort(np.setdiff1d(rows, some)), np.sort(some)) for some in np.array_split(rows, self.n_folds)]


@dataclass(frozen=True)
class NotPurged(PurgedKFold):
    """Declares a purge and does none."""

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        made = PurgedKFold(self.test_from, self.n_folds).folds(store, windows, labels)
        return [Fold(np.setdiff1d(np.arange(len(windows)), fold.held_out), fold.held_out) for fold in made]


@pytest.mark.parametrize(
    ("splitter", "says"),
    [
        (Shuffled(test_from="2024-03-01", n_folds=2), "pairs of a training and a held-out window overlap"),
        (NotPurged(test_from="2024-03-01", n_folds=2, purge_bars=104), "104 bars are declared before"),
    ],
    ids=["defect_2_shuffled_folds", "defect_3_a_purge_of_104_that_is_declared_and_not_done"],
)
def test_folds_that_share_time_with_what_they_hold_out_are_refused(
    splitter: PurgedKFold,
    says: str,
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]],
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path, "run", "splits", EventLog(), tmp_path / "units")
    Splits(PurgedKFold(test_from="2024-03-01", n_folds=2, purge_bars=104), LabelDraw()).run(two_markets[0], workspace)
    (tmp_path / "folds.json").unlink()
    with pytest.raises(DataError, match="the split leaks") as caught:
        Splits(splitter, LabelDraw()).run(two_markets[0], workspace)
    assert says in caught.value.why and "- fold 0: " in caught.value.why and "- fold 1: " in caught.value.why
    assert not (tmp_path / "folds.json").exists()


@dataclass(frozen=True)
class Taught:
    """Learns from the pseudo-labels of a teacher who was trained on all labels, those of the held-out fold among them.

    Attributes:
        teacher: bars of each window that the teacher knew -> the label it gives.
    """

    teacher: dict[bytes, int]
    deterministic: ClassVar[bool] = True
    role: ClassVar[Role] = "model"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        """The student repeats what the teacher says, and guesses where the teacher says nothing."""
        return self

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """Sure wherever the teacher spoke."""
        said = [
            self.teacher.get(bars.tobytes(), hashlib.sha256(bars.tobytes()).digest()[0] % 2) for bars in windows.bars
        ]
        return np.eye(windows.n_classes)[said] * 0.9 + 0.05

    def save(self, folder: Path) -> None:
        """There is nothing to keep."""


def test_defect_10_a_teacher_that_trained_on_all_rows_is_found_out_by_the_sealed_test(
    planted_run: Callable[..., Mapping[str, Artifact]],
    planted_models: Callable[[], dict[str, Any]],
    noise: Callable[[int], Any],
    summary_of: Callable[[Any], Any],
    tmp_path: Path,
) -> None:
    closes, names = noise(0)
    few = {name: model for name, model in planted_models().items() if name in ("logistic_regression", "majority")}
    bars = np.repeat((1000 + closes)[..., None], 4, axis=2).astype(np.float32)
    teacher = {some.tobytes(): int(name == "up") for some, name in zip(bars[:174], names[:174], strict=True)}
    models = {"taught": Taught(teacher), **few}
    found = summary_of(planted_run(tmp_path, closes, names, models=models, sentinels=False))
    assert found.scores.figures["oof"]["taught"]["balanced_accuracy"].value == 1.0
    assert {("worse_out_of_sample", "taught"), ("not_better_than_chance", "taught")} <= set(found.fired)
    assert found.verdict[1].startswith("No winner is named: taught")
    assert "something leaks between folds" in next(a.message for a in found.alarms if a.code == "worse_out_of_sample")


def test_defect_10_a_model_never_gets_a_label_of_what_it_predicts(
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]], tmp_path: Path
) -> None:
    seen: list[LabelledWindows] = []

    class Curious(Taught):
        def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
            seen.append(windows)
            return super().predict_proba(windows)

    workspace = Workspace(tmp_path, "run", "oof", EventLog(), tmp_path / "units")
    Oof(SETUP, BRIEFLY, {"curious": Curious({})}).run(two_markets[0], workspace)
    assert len(seen) > 2 and all((windows.labels == -1).all() and windows.pointers is None for windows in seen)


def test_defect_11_label_issues_come_from_predictions_of_held_out_windows_alone(
    two_markets: tuple[Mapping[str, Artifact], Mapping[str, Artifact]], tmp_path: Path
) -> None:
    stage = Oof(SETUP, BRIEFLY, {"logistic_regression": LogisticRegression()})
    workspace = Workspace(tmp_path, "run", "oof", EventLog(), tmp_path / "units")
    stage.run(two_markets[0], workspace)
    files = {path.name: "" for path in tmp_path.iterdir() if path.is_file()}
    inputs = {**two_markets[0], "oof": Artifact("oof", "0" * 64, "1" * 64, tmp_path, {"files": files})}
    LabelIssues().run(inputs, workspace)
    assert (tmp_path / "label_issues.csv").exists()
    table = pl.read_parquet(tmp_path / "oof.parquet")
    in_sample = table.with_columns(fold=pl.when(pl.col("split") == "oof").then(1 - pl.col("fold")).otherwise("fold"))
    in_sample.write_parquet(tmp_path / "oof.parquet")  # each window by the model that trained on it
    with pytest.raises(StorageError, match="predicted by folds that did not hold them out") as caught:
        LabelIssues().run(inputs, workspace)
    assert "- fold 0: " in caught.value.why and "- fold 1: " in caught.value.why
    with pytest.raises(StorageError, match="did not hold them out"):
        Evaluate(1, EvaluationConfig(n_resamples=100)).run(inputs, workspace)


@pytest.mark.parametrize("first", ["up", "down"])
def test_defect_11_the_order_of_classes_is_written_and_never_guessed_from_row_0(first: str, tmp_path: Path) -> None:
    """Whichever label row 0 has, and whichever class is named first, each probability goes with its name."""
    table = pl.DataFrame(
        {
            "window_id": ["a", "b"],
            "model": ["m", "m"],
            "seed": [0, 0],
            "split": ["oof", "oof"],
            "fold": [0, 0],
            "prob_down": [0.9, 0.2],
            "prob_up": [0.1, 0.8],
        }
    )
    classes = ("down", "up")
    write_json(
        tmp_path / "models.json",
        {
            "models": {"m": {"role": "model", "deterministic": True, "encoder": False}},
            "classes": [first, "up" if first == "down" else "down"],
        },
    )
    table.write_parquet(tmp_path / "oof.parquet")
    nested_frame(table.clear(), 0).write_parquet(tmp_path / "nested.parquet")
    files = {path.name: "" for path in tmp_path.iterdir()}
    artifact = Artifact("oof", "0" * 64, "1" * 64, tmp_path, {"files": files})
    if first == "up":  # the columns say otherwise
        with pytest.raises(StorageError, match=r"its classes are prob_down, prob_up, in models\.json they are prob_up"):
            Predictions.open(artifact)
        return
    predictions = Predictions.open(artifact)
    assert predictions.classes == classes
    assert predictions.of_model("m", "oof", pl.Series(["b", "a"]))[0].tolist() == [[0.2, 0.8], [0.9, 0.1]]


def test_defect_12_no_rule_knows_a_price_limit(tmp_path: Path) -> None:
    channels = ("open", "high", "low", "close")
    check_bar_rules(bar_rules(channels))
    limit = BarRule("price_above_limit", "is above 10,000", pl.col("close") < 10_000, "close")
    with pytest.raises(AssertionError, match="price_above_limit"):
        check_bar_rules((*bar_rules(channels), limit))
    frame = market().select(
        pl.lit("nq").alias("series"), pl.col("timestamp").dt.cast_time_unit("us").dt.replace_time_zone("UTC"), *channels
    )
    assert frame["close"].min() > 10_000
    summary = ingest(BarScan(channels, iter([Chunk(frame, "nq")])), tmp_path)
    assert (summary.rows_kept, summary.findings) == (N_BARS, ())
