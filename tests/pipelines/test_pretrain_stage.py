"""The stage `pretrain`: what it leaves for later stages, and what it goes on from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.data.sources.files import Files
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.window_index import WindowConfig
from moola.features.anchored import Anchored
from moola.features.candles import OHLC
from moola.features.log_returns import LogReturns
from moola.labels.planting import LabelDraw
from moola.labels.unlabelled import Unlabelled
from moola.layout import Layout
from moola.models.bilstm import BiLstm
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.events import EventLog
from moola.pipelines.pictures import saved_reconstructions
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Workspace
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.pretrain import N_PICTURES, Pretrain, pretraining_windows
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows
from moola.pipelines.window_set import WindowSet
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.training.ranks import Ranks
from moola.training.schedule import FitConfig, Monitoring

N_BARS, LENGTH = 400, 20
STAGE = Pretrain(
    EncoderSetup((0,), "cpu", LogReturns(), BiLstm(hidden=2)),
    MaskedAutoencoder(decoder_hidden=4),
    (),
    FitConfig(epochs=1, batch_size=64),
    Monitoring(),
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    """Bars, windows and splits of hourly candles."""
    folder = tmp_path_factory.mktemp("inputs")
    first = pl.datetime(2024, 1, 1)
    close = pl.Series([100 + (3 * i) % 7 + 0.01 * i for i in range(N_BARS)], dtype=pl.Float64)
    times = pl.datetime_range(first, first + pl.duration(hours=N_BARS - 1), "1h", eager=True)
    frame = pl.DataFrame({"timestamp": times, "open": close, "high": close + 1, "low": close - 1, "close": close})
    frame.write_csv(folder / "bars.csv")
    before = [
        Ingest(Files(path=str(folder / "bars.csv"))),
        Windows(WindowConfig(length=LENGTH), None, Unlabelled()),
        Splits(PurgedKFold(test_from="2024-01-13", n_folds=2), LabelDraw()),
    ]
    return Pipeline(before).run(Context("run", Layout(folder / "data", folder / "artifacts"))).artifacts


def pretrained(stage: Pretrain, inputs: Mapping[str, Artifact], folder: Path) -> tuple[Artifact, list[dict]]:
    """What the stage leaves in a folder, and the events."""
    seen: list[dict] = []
    events = EventLog()
    events.listen(seen.append)
    folder.mkdir(exist_ok=True)
    stage.run(inputs, Workspace(folder, "run", stage.name, events, folder / "units"))
    files = {path.relative_to(folder).as_posix(): "" for path in folder.rglob("*") if path.is_file()}
    return Artifact(stage.name, "key", "digest", folder, {"files": files}), seen


def with_setup(**changes: object) -> Pretrain:
    return dataclasses.replace(STAGE, setup=dataclasses.replace(STAGE.setup, **changes))


def test_candles_are_told_from_as_many_inputs_and_come_from_all_over_the_validation_windows(inputs, tmp_path) -> None:
    stage = with_setup(transform=Anchored(returns=False))
    artifact, _ = pretrained(stage, inputs, tmp_path / "encoder")
    assert len(json.loads(artifact.path("encoder.json").read_text())["inputs"]) == 4
    shown = saved_reconstructions(artifact)
    assert shown is not None
    assert [one.channels for one in shown] == [OHLC] * N_PICTURES
    data = WindowSet.open(inputs)
    _, validation = pretraining_windows(data, stage.monitoring.validation_share)
    places = np.linspace(0, len(validation) - 1, N_PICTURES).astype(int)
    bars = data.windows.gather(data.store.values, validation[places])
    assert np.array_equal(np.stack([one.bars for one in shown]), bars[..., :4])


def test_inputs_are_shown_under_their_names_where_candles_cannot_be_had_back(inputs, tmp_path) -> None:
    artifact, _ = pretrained(STAGE, inputs, tmp_path / "encoder")
    shown = saved_reconstructions(artifact)
    assert shown is not None
    assert shown[0].channels == LogReturns().output_channels(OHLC)


def test_layers_that_the_objective_does_not_reach_are_named_and_others_are_not(inputs, tmp_path) -> None:
    artifact, events = pretrained(with_setup(encoder=BiLstm(hidden=2, pooling="spans")), inputs, tmp_path / "spans")
    untrained = json.loads(artifact.path("encoder.json").read_text())["untrained"]
    assert untrained
    (note,) = [event for event in events if event.get("alarm") == "untrained"]
    assert untrained[0] in note["message"]
    artifact, events = pretrained(STAGE, inputs, tmp_path / "plain")
    assert json.loads(artifact.path("encoder.json").read_text())["untrained"] == []
    assert not [event for event in events if event.get("alarm") == "untrained"]


def test_the_last_snapshot_is_of_the_weights_that_patience_kept(inputs, tmp_path, monkeypatch) -> None:
    history = [{"epoch": n, "loss": 1.0 / n, "val_loss": loss} for n, loss in enumerate((3.0, 1.0, 2.0, 2.0), start=1)]

    def fit(*_: object, on_epoch, **__: object) -> list[dict[str, float]]:
        for record in history:
            on_epoch(record)
        return history

    monkeypatch.setattr("moola.training.loop.fit", fit)
    schedule = FitConfig(epochs=4, batch_size=64, patience=2)
    stage = dataclasses.replace(STAGE, fit=schedule, monitoring=Monitoring(snapshot_epochs=(1, 3)))
    artifact, events = pretrained(stage, inputs, tmp_path / "encoder")
    snapshots = sorted(name for name in artifact.manifest["files"] if name.startswith("snapshots/"))
    assert snapshots == [f"snapshots/seed0-epoch00{epoch}.safetensors" for epoch in (0, 1, 2)]
    progress = [event for event in events if event["event"] == "progress"]
    assert (progress[0]["loss"], progress[0]["val_loss"]) == (1.0, 3.0)


def test_processes_agree_on_the_seeds_that_are_left_before_one_is_finished(inputs, tmp_path, monkeypatch) -> None:
    """Another process, ahead of this one, finishes the seed as soon as they have met."""
    folder = tmp_path / "encoder"
    met: list[int] = []

    class Beside(Ranks):
        def meet(self) -> None:
            met.append(len(met))
            (folder / "history-seed0.json").write_text("[]")

    monkeypatch.setattr("moola.training.ranks.current", Beside)
    pretrained(STAGE, inputs, folder)
    assert met
    assert json.loads((folder / "history-seed0.json").read_text())[0]["epoch"] == 1
