"""Where a transform's numbers come from: the training windows of the encoder or of the fold, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.augment.jitter import Jitter
from moola.data.bar_store import BarStore
from moola.data.draws import Draws
from moola.data.splits import Fold
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import StorageError
from moola.features import Transform
from moola.features.anchored import Anchored
from moola.features.candles import OHLC
from moola.features.combined import Combined
from moola.features.relative import RelativeTransform
from moola.features.saving import load_transform, save_transform
from moola.features.scaled import Scaled
from moola.features.volatility import Volatility
from moola.models import LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.classical import LogisticRegression
from moola.models.controls import Majority
from moola.models.encoder import InputShape
from moola.models.tcn import Tcn
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Workspace
from moola.pipelines.stages.finetune import Finetune
from moola.pipelines.stages.oof import Oof, UnitFitter
from moola.pipelines.stages.pretrain import Pretrain, pretraining_windows
from moola.pipelines.units import Unit
from moola.pipelines.unlabelled_pool import UnlabelledPool
from moola.pipelines.window_set import WindowSet
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.testing.transform_checks import random_bars
from moola.training.finetuning import FinetunedEncoder
from moola.training.schedule import FitConfig, Monitoring
from moola.training.weights import load_weights

LENGTH, VISIBLE = 24, 16
SCALED = Scaled(Combined((RelativeTransform(window_bars=5), Volatility(window_bars=5))))
FIT = FitConfig(epochs=2, batch_size=64)
SPLITS = Artifact("splits", "", "", Path(), {"files": {}})
"""Where no model asks for windows without a label nobody looks into it."""


def setup_of(transform: Transform) -> EncoderSetup:
    return EncoderSetup((0,), "cpu", transform, BiLstm(hidden=4))


@pytest.fixture(scope="session")
def dataset(store_of: Callable[..., BarStore]) -> Callable[..., Dataset]:
    """400 bars of one market in windows; the last 100 bars are the sealed test; 40 of the others are labelled."""

    def build(values: np.ndarray | None = None) -> Dataset:
        bars = random_bars(OHLC, 1, 400)[0].numpy() if values is None else values
        store = dataclasses.replace(store_of(np.arange(len(bars)) * 60_000_000, channels=OHLC), values=bars)
        windows = WindowIndex.build(store, WindowConfig(length=LENGTH, visible=VISIBLE))
        starts = np.asarray(windows.starts)
        span = np.where(starts >= 300, "test", np.where(starts + LENGTH <= 300, "train", "excluded"))
        table = windows.table(store).with_columns(
            row=pl.Series(np.arange(len(windows))),
            span=pl.Series(span.tolist()),
            true_label=pl.Series(np.where(starts % 2, "up", "down").tolist()),
        )
        labelled = np.arange(0, 280, 7)
        labels = table[labelled.tolist()].select("window_id", "row", "step", label="true_label")
        return Dataset(
            store, windows, table["span"], table, ("down", "up"), labels, (Fold(np.arange(20), np.arange(20, 40)),)
        )

    return build


def artifact(folder: Path) -> Artifact:
    files = {str(path.relative_to(folder)): "" for path in folder.rglob("*") if path.is_file()}
    return Artifact("pretrain", "0" * 64, "1" * 64, folder, {"files": files})


def workspace(folder: Path) -> Workspace:
    return Workspace(folder, "run", "stage", EventLog(), folder / "units")


def labelled_windows(data: Dataset, transform: Transform):
    return data.gather(data.labels["row"], data.labels["label"], transform)


@given(seed=st.integers(0, 20), factor=st.sampled_from([1e-3, 7.0, 1e4]))
def test_what_a_fold_holds_out_cannot_move_the_fitted_numbers(dataset, seed: int, factor: float) -> None:
    windows = labelled_windows(dataset(), SCALED)
    train, held_out = windows[np.arange(20)], windows[np.arange(20, 40)]
    other = random_bars(OHLC, 20, VISIBLE, seed).numpy() * np.float32(factor)
    perturbed = dataclasses.replace(held_out, bars=other, labels=1 - held_out.labels)
    setup, data = setup_of(SCALED), dataset()
    seen, judged = setup.fold_inputs(train, held_out, data, None)
    again, elsewhere = setup.fold_inputs(train, perturbed, data, None)
    assert np.array_equal(seen.inputs, again.inputs) and not np.array_equal(judged.inputs, elsewhere.inputs)
    numbers = SCALED.fit([torch.from_numpy(train.bars)], OHLC)
    for part in (seen, judged, elsewhere):
        assert np.array_equal(part.inputs, numbers.apply(torch.from_numpy(part.bars), OHLC).numpy())


def predicted(stage: Oof, model: str, data: Dataset, windows: LabelledWindows, held_out: LabelledWindows) -> np.ndarray:
    """What the model says after a fit on the first 30 windows."""
    fitter = UnitFitter(stage, {}, data, windows, held_out, UnlabelledPool(data, SPLITS))
    return fitter.predict(Unit(model, 0), windows[np.arange(30)], held_out.without_labels(), [].append)


def test_a_prediction_does_not_depend_on_what_else_the_fold_holds_out(dataset) -> None:
    """Through the stage itself: the first held-out window stays, the others become another market."""
    data = dataset()
    windows = labelled_windows(data, SCALED)
    held_out = windows[np.arange(30, 40)]
    bars = held_out.bars.copy()
    bars[1:] = random_bars(OHLC, 9, VISIBLE, seed=5).numpy() * 300
    stage = Oof(setup_of(SCALED), FIT, {"simple": LogisticRegression()})
    found = [
        predicted(stage, "simple", data, windows, part) for part in (held_out, dataclasses.replace(held_out, bars=bars))
    ]
    assert np.array_equal(found[0][0], found[1][0]) and not np.array_equal(found[0][1:], found[1][1:])


def test_a_model_that_starts_from_the_encoder_gets_the_encoders_transform(dataset, tmp_path: Path) -> None:
    data = dataset()
    fitted = SCALED.fit([random_bars(OHLC, 30, VISIBLE, seed=3) * 2], OHLC)
    save_transform(tmp_path / "transform.json", fitted)
    windows = labelled_windows(data, SCALED)
    for part in setup_of(SCALED).fold_inputs(
        windows[np.arange(20)], windows[np.arange(20, 40)], data, artifact(tmp_path)
    ):
        assert np.array_equal(part.inputs, fitted.apply(torch.from_numpy(part.bars), OHLC).numpy())


def test_augmented_bars_are_transformed_as_the_fold_transforms_them(dataset) -> None:
    """What is held out is transformed with the same numbers and never augmented."""
    data = dataset()
    windows = labelled_windows(data, SCALED)
    held_out = windows[np.arange(30, 40)].without_labels()
    models = {"scratch": FinetunedEncoder("random", frozen_epochs=0)}
    found, paths = {}, set()
    for name, augmentations in {"none": (), "nothing": (Same(),), "jitter": (Jitter(2.0),)}.items():
        stage = Oof(setup_of(SCALED), FIT, models, augmentations)
        found[name] = predicted(stage, "scratch", data, windows, held_out)
        paths.add(stage.unit_path(Unit("scratch", 0), {}, Path()))
    assert np.array_equal(found["none"], found["nothing"])  # the fold's transform, anew in every batch
    assert not np.allclose(found["none"], found["jitter"], atol=1e-6)
    assert len(paths) == 3


@dataclasses.dataclass(frozen=True)
class Same:
    """An augmentation that changes nothing."""

    def apply(self, bars: torch.Tensor, channels: tuple[str, ...], draws: Draws) -> torch.Tensor:
        return bars


def test_an_encoder_without_its_transform_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(StorageError, match=r"has no file transform\.json"):
        setup_of(SCALED).encoder_transform(artifact(tmp_path))


def test_a_transform_without_numbers_is_left_alone(dataset, tmp_path: Path) -> None:
    data, setup = dataset(), setup_of(Anchored())
    windows = labelled_windows(data, Anchored())
    train, held_out = windows[np.arange(20)], windows[np.arange(20, 40)]
    assert all(a is b for a, b in zip(setup.fold_inputs(train, held_out, data, None), (train, held_out), strict=True))
    assert setup.fitted_transform(data, np.arange(5)) is setup.transform
    assert setup.encoder_transform(artifact(tmp_path)) is setup.transform


def test_before_the_fit_there_are_no_inputs_that_a_model_could_take_by_mistake(dataset) -> None:
    assert labelled_windows(dataset(), SCALED).inputs.shape == (40, VISIBLE, 0)


def test_the_encoder_is_fitted_on_its_training_windows_and_never_on_the_sealed_test(
    dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the stages: pretraining writes the numbers, fine-tuning reads them and fits none of its own."""
    stage = Pretrain(setup_of(SCALED), MaskedAutoencoder(), (), FIT, Monitoring())
    values = random_bars(OHLC, 1, 400)[0].numpy()
    sealed = values.copy()
    sealed[300:] = random_bars(OHLC, 1, 100, seed=8)[0].numpy() * 500
    for name, bars in {"given": values, "changed": sealed}.items():
        data = dataset(bars)
        for opened in (WindowSet, Dataset):
            monkeypatch.setattr(opened, "open", classmethod(lambda cls, inputs, data=data: data))
        (tmp_path / name).mkdir()
        stage.run({}, workspace(tmp_path / name))
    assert (tmp_path / "given/transform.json").read_bytes() == (tmp_path / "changed/transform.json").read_bytes()
    train, _ = pretraining_windows(data, 0.1)
    expected = SCALED.fit([torch.from_numpy(data.windows.gather(values, train))], OHLC)
    assert load_transform(tmp_path / "given/transform.json") == expected

    (tmp_path / "classifier").mkdir()
    Finetune(setup_of(SCALED), FIT, FinetunedEncoder(frozen_epochs=1)).run(
        {"encoder": artifact(tmp_path / "given"), "splits": SPLITS}, workspace(tmp_path / "classifier")
    )
    assert str(expected.centre[0]) in (tmp_path / "classifier/classifier.json").read_text()


def test_a_transform_without_numbers_leaves_no_file(dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset()
    monkeypatch.setattr(WindowSet, "open", classmethod(lambda cls, inputs: data))
    Pretrain(setup_of(Anchored()), MaskedAutoencoder(), (), FIT, Monitoring()).run({}, workspace(tmp_path))
    assert not (tmp_path / "transform.json").exists() and (tmp_path / "encoder-seed0.safetensors").exists()


def test_the_encoder_settles_on_its_training_windows_at_every_snapshot_and_at_the_end(
    dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset()
    monkeypatch.setattr(WindowSet, "open", classmethod(lambda cls, inputs: data))
    config = Tcn(width=4, hidden=4, depth=1, dropout=0.0, pooling="levels")
    setup = EncoderSetup((0,), "cpu", Anchored(), config)
    Pretrain(setup, MaskedAutoencoder(), (), FIT, Monitoring()).run({}, workspace(tmp_path))
    train, _ = pretraining_windows(data, 0.1)
    inputs = Anchored().apply(torch.from_numpy(data.windows.gather(data.store.values, train)), OHLC)
    files = [tmp_path / "encoder-seed0.safetensors", *sorted((tmp_path / "snapshots").iterdir())]
    assert len(files) == 4
    for path in files:
        encoder = config.build(InputShape(inputs.shape[2], VISIBLE))
        encoder.load_state_dict(load_weights(path))
        before = encoder.state_dict()["pooling.levels"].clone()
        encoder.settle(inputs)
        assert torch.equal(encoder.state_dict()["pooling.levels"], before)


@pytest.mark.parametrize("transform", [Anchored(), RelativeTransform(), SCALED.fit([random_bars(OHLC, 9, 9)], OHLC)])
def test_inputs_come_from_the_bars_and_from_nothing_that_an_annotator_wrote(dataset, transform: Transform) -> None:
    """Labels and whatever else the tables hold may be anything: inputs are `apply(bars)`, with no channel more."""
    data = dataset()
    windows = labelled_windows(data, transform)
    assert np.array_equal(windows.inputs, transform.apply(torch.from_numpy(windows.bars), OHLC).numpy())
    assert windows.inputs.shape[-1] == len(transform.output_channels(data.store.channels))
    pointers = {"expansion_start": pl.lit(31), "expansion_end": pl.lit(70), "label": pl.lit("up")}
    other = dataclasses.replace(
        data, labels=data.labels.with_columns(**pointers), table=data.table.with_columns(**pointers, true_label=None)
    )
    assert np.array_equal(labelled_windows(other, transform).inputs, windows.inputs)


@given(
    seed=st.integers(0, 100),
    stride=st.integers(1, 9),
    length=st.integers(2, 40),
    visible_share=st.floats(0.1, 1.0),
    transform=st.sampled_from([Anchored(), RelativeTransform(), Volatility(), Combined((Anchored(), Volatility(3)))]),
)
def test_no_input_sees_a_bar_after_the_visible_ones(
    store_of, seed: int, stride: int, length: int, visible_share: float, transform: Transform
) -> None:
    """On calendars with random gaps, for windows of any layout."""
    rng = np.random.default_rng(seed)
    minutes = np.ones(150, dtype=np.int64)
    minutes[rng.choice(150, size=2)] = 50
    times = np.cumsum(minutes) * 60_000_000
    store = dataclasses.replace(store_of(times, channels=OHLC), values=random_bars(OHLC, 1, 150, seed)[0].numpy())
    visible = max(int(length * visible_share), 2)
    config = WindowConfig(length=length, stride_bars=stride, visible=visible, max_gap="10m")
    windows = WindowIndex.build(store, config)
    data = Dataset(
        store, windows, pl.Series("span", ["train"] * len(windows)), windows.table(store), ("a",), pl.DataFrame(), ()
    )
    row = int(rng.integers(len(windows)))
    shown = int(windows.starts[row]) + visible
    changed = store.values.copy()
    changed[shown:] = changed[shown:] * 40 + 3
    seen, other = (
        dataclasses.replace(data, store=dataclasses.replace(store, values=values)).gather(
            pl.Series([row]), pl.Series(["a"]), transform
        )
        for values in (store.values, changed)
    )
    assert seen.inputs.shape[1] == visible and np.array_equal(seen.inputs, other.inputs)


def test_a_constant_predictor_needs_no_inputs_and_still_works_with_a_fitted_transform(dataset) -> None:
    data = dataset()
    windows = labelled_windows(data, SCALED)
    stage = Oof(setup_of(SCALED), FIT, {"majority": Majority()})
    found = predicted(stage, "majority", data, windows, windows[np.arange(30, 40)])
    assert found.shape == (10, 2)
