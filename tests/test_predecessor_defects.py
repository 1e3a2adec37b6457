"""Mistakes that the projects before moola shipped, put back one by one: each is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from moola.config import structure
from moola.data.ingestion import ingest
from moola.data.sources import BarScan, Chunk
from moola.data.sources.files import Files
from moola.data.sources.window_table import WindowTable
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.saved import Saved
from moola.data.window_index import WindowConfig
from moola.errors import ConfigError, DataError, StorageError
from moola.features.anchored import Anchored
from moola.features.log_returns import LogReturns
from moola.features.relative import RelativeTransform
from moola.features.source_channels import SourceChannels
from moola.labels.planting import LabelDraw
from moola.labels.structure_rule import StructureRule
from moola.layout import Layout
from moola.models import FitResources, LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.encoder import Encoder, InputShape
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Workspace
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.oof import Oof
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
