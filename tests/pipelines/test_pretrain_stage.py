"""The stage `pretrain`: what it leaves for later stages, and what it goes on from."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.data.sources.files import Files
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.window_index import WindowConfig
from moola.errors import ConfigError, DataError
from moola.features.anchored import Anchored
from moola.features.candles import OHLC
from moola.features.log_returns import LogReturns
from moola.features.volume import Volume
from moola.labels.planting import LabelDraw
from moola.labels.unlabelled import Unlabelled
from moola.layout import Layout
from moola.models.bilstm import BiLstm
from moola.pipelines.artifacts import Artifact
from moola.pipelines.console import PlainConsole
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
from moola.pretraining.hierarchical_contrast import HierarchicalContrast
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.pretraining.mixture import Mixture, Part
from moola.training.memory import OutOfMemoryError
from moola.training.ranks import Ranks
from moola.training.schedule import FitConfig, Monitoring

N_BARS, LENGTH = 400, 20
CLOSES = [100 + (3 * i) % 7 + 0.01 * i for i in range(N_BARS)]
STAGE = Pretrain(
    EncoderSetup((0,), "cpu", LogReturns(), BiLstm(hidden=2)),
    MaskedAutoencoder(decoder_hidden=4),
    (),
    FitConfig(epochs=1, batch_size=64),
    Monitoring(),
)
CONTRAST = HierarchicalContrast()


def prepared(folder: Path, closes: list[float], stride_bars: int = 1) -> Mapping[str, Artifact]:
    """Bars, windows and splits of hourly candles, with a volume that never moves."""
    first = pl.datetime(2024, 1, 1)
    close = pl.Series(closes, dtype=pl.Float64)
    times = pl.datetime_range(first, first + pl.duration(hours=N_BARS - 1), "1h", eager=True)
    prices = {"open": close, "high": close + 1, "low": close - 1, "close": close}
    pl.DataFrame({"timestamp": times, **prices, "volume": [5.0] * N_BARS}).write_csv(folder / "bars.csv")
    before = [
        Ingest(Files(path=str(folder / "bars.csv"), channels=(*OHLC, "volume"))),
        Windows(WindowConfig(length=LENGTH, stride_bars=stride_bars), None, Unlabelled()),
        Splits(PurgedKFold(test_from="2024-01-13", n_folds=2), LabelDraw()),
    ]
    return Pipeline(before).run(Context("run", Layout(folder / "data", folder / "artifacts"))).artifacts


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    """Of candles that move."""
    return prepared(tmp_path_factory.mktemp("inputs"), CLOSES)


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


def noted(events: list[dict]) -> str:
    return "\n".join(event["message"] for event in events if event["event"] == "note")


@pytest.mark.parametrize("objective", [CONTRAST, Mixture(({"name": "masked_autoencoder"}, Part("c", CONTRAST)))])
def test_a_contrast_of_batches_of_one_window_is_refused_before_anything_runs(objective) -> None:
    small = dataclasses.replace(STAGE.fit, batch_size=1)
    with pytest.raises(ConfigError, match=r"trainer\.pretrain\.batch_size: 1 must be at least 2"):
        dataclasses.replace(STAGE, objective=objective, fit=small)
    dataclasses.replace(STAGE, fit=small)  # an autoencoder learns from one window, too


@pytest.mark.parametrize("processes", [1, 2])
def test_no_process_contrasts_fewer_than_two_windows_in_a_last_batch_either(
    inputs, tmp_path, monkeypatch, processes
) -> None:
    train, _ = pretraining_windows(WindowSet.open(inputs), STAGE.monitoring.validation_share)
    size = next(n for n in range(4, 40, processes) if len(train) % n == 2 * processes - 1)
    given: list[list[int]] = []

    def fit(_: object, batches, *__: object, **___: object) -> list:
        given.extend([len(batch.index) for batch in batches] for batches.rank in range(processes))
        raise KeyboardInterrupt

    monkeypatch.setattr("moola.training.ranks.current", lambda: Ranks(0, processes, 0, processes))
    monkeypatch.setattr(Ranks, "meet", lambda self: None)
    monkeypatch.setattr("moola.training.loop.fit", fit)
    stage = dataclasses.replace(STAGE, objective=CONTRAST, fit=dataclasses.replace(STAGE.fit, batch_size=size))
    with pytest.raises(KeyboardInterrupt):
        pretrained(stage, inputs, tmp_path / "encoder")
    assert given == [[size // processes] * (len(train) // size)] * processes


def test_a_batch_that_does_not_go_round_among_processes_is_refused_by_the_key(inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("moola.training.ranks.current", lambda: Ranks(0, 3, 0, 3))
    monkeypatch.setattr(Ranks, "meet", lambda self: None)
    with pytest.raises(ConfigError, match=r"trainer\.pretrain\.batch_size: 64 must be a multiple of the 3 processes"):
        pretrained(STAGE, inputs, tmp_path / "encoder")


def test_windows_that_all_stand_still_are_refused_and_some_among_others_are_not(inputs, tmp_path) -> None:
    for name in ("still", "half"):
        (tmp_path / name).mkdir()
    still = prepared(tmp_path / "still", [100.0] * N_BARS)
    with pytest.raises(DataError, match="no window moves") as caught:
        pretrained(STAGE, still, tmp_path / "encoder")
    assert "every channel of the bars" in caught.value.why
    unmoved = with_setup(transform=Volume())
    with pytest.raises(DataError, match="no window moves") as caught:
        pretrained(unmoved, inputs, tmp_path / "encoder")
    assert "every input that the transform makes" in caught.value.why
    half = prepared(tmp_path / "half", [100.0] * (N_BARS // 3) + CLOSES[N_BARS // 3 :])
    pretrained(STAGE, half, tmp_path / "other")


def test_few_windows_and_a_batch_of_more_are_noted(inputs, tmp_path) -> None:
    (tmp_path / "few").mkdir()
    few = prepared(tmp_path / "few", CLOSES, stride_bars=60)
    _, events = pretrained(STAGE, few, tmp_path / "encoder")
    assert "pretraining has only 4 windows to learn from" in noted(events)
    assert "batch_size=64 is more than the 4 windows to train on" in noted(events)
    assert "val_loss" not in noted(events)
    _, events = pretrained(dataclasses.replace(STAGE, objective=CONTRAST), few, tmp_path / "contrast")
    assert "val_loss says nothing: 1 windows to validate on; the objective compares 2" in noted(events)
    _, events = pretrained(STAGE, inputs, tmp_path / "enough")
    assert noted(events) == ""


def test_fewer_windows_than_a_contrast_compares_are_refused(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    one = prepared(tmp_path / "one", CLOSES, stride_bars=145)
    with pytest.raises(DataError, match="there are too few windows to pretrain on") as caught:
        pretrained(dataclasses.replace(STAGE, objective=CONTRAST), one, tmp_path / "encoder")
    assert caught.value.why == "1 to train on; the objective needs 2 in a batch"


def test_the_size_that_was_chosen_and_where_a_seed_goes_on_are_told(inputs, tmp_path, monkeypatch) -> None:
    schedule = FitConfig(epochs=2, batch_size="auto")
    stage = dataclasses.replace(STAGE, fit=schedule)

    def stop(_: int, done: int, total: int, *__: object, **___: object) -> None:
        if done == total:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "progress", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrained(stage, inputs, tmp_path / "encoder")
    _, events = pretrained(stage, inputs, tmp_path / "encoder")
    (chosen,) = [event for event in events if event["event"] == "batch_size"]
    lines = [line for line in noted(events).splitlines() if "resumed" in line]
    train, _ = pretraining_windows(WindowSet.open(inputs), STAGE.monitoring.validation_share)
    assert lines == [f"seed 0 resumed after epoch 1 (step {-(-len(train) // chosen['size'])})"]
    shown = io.StringIO()
    PlainConsole(shown)({**chosen, "event": "batch_size"})
    assert shown.getvalue() == f"    batch size {chosen['size']}: {chosen['why']}\n"


def test_an_encoder_or_an_objective_that_no_memory_holds_is_told_by_its_sizes(inputs, tmp_path) -> None:
    with pytest.raises(OutOfMemoryError, match="the encoder does not fit into memory") as caught:
        pretrained(with_setup(encoder=BiLstm(hidden=10**7)), inputs, tmp_path / "encoder")
    assert "lower its sizes: encoder.hidden=10000000, encoder" in caught.value.way_out
    assert "tried to allocate 1600000000000000 bytes" in caught.value.why and "enforce" not in caught.value.why
    large = dataclasses.replace(STAGE, objective=MaskedAutoencoder(decoder_hidden=10**18))
    with pytest.raises(OutOfMemoryError, match="the objective does not fit into memory") as caught:
        pretrained(large, inputs, tmp_path / "objective")
    assert f"objective.decoder_hidden={10**18}" in caught.value.way_out and "seed" not in caught.value.way_out


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
