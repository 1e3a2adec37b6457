"""Spans that somebody marked go with their windows from the label file to the classifier, and into no input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from moola.augment.scaling import Scaling
from moola.data.sources.files import Files
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.window_index import WindowConfig
from moola.features.candles import OHLC
from moola.features.log_returns import LogReturns
from moola.labels.label_file import LabelFile
from moola.labels.planting import LabelDraw
from moola.layout import Layout
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Workspace
from moola.pipelines.stages.finetune import Finetune
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows
from moola.testing.transform_checks import random_bars
from moola.training.finetuning import FinetunedEncoder
from moola.training.schedule import FitConfig
from moola.training.weights import TransferError, digest_weights, save_weights

N_BARS, LENGTH, ZONE = 300, 20, (6, 16)
WINDOW = WindowConfig(length=LENGTH, visible=16, zone=ZONE, stride_bars=2)
SETUP = EncoderSetup((0, 1), "cpu", LogReturns(), BiLstm(hidden=3))
FIT = FitConfig(epochs=2, batch_size=16)

Inputs = Mapping[str, Artifact]


def data_stages(folder: Path, relative: bool, marked: bool = True) -> Inputs:
    """Bars, windows and splits; every second window is marked, counted within the window or from its zone."""
    folder.mkdir()
    bars = pl.DataFrame(dict(zip(OHLC, random_bars(OHLC, 1, N_BARS)[0].numpy().T, strict=True)))
    times = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 13, 11), "1h", eager=True)
    bars.with_columns(timestamp=times).write_csv(folder / "bars.csv")
    starts = np.arange(0, N_BARS - LENGTH + 1, 2)
    shift, prefix = (ZONE[0], "pointer") if relative else (0, "expansion")
    lines = [f"window_id,label,{prefix}_start,{prefix}_end"]
    for number, start in enumerate(starts):
        mark = f"{6 + number % 4 - shift},{12 + number % 3 - shift}" if marked and number % 2 else ","
        lines.append(f"bars_{start:07d},{'ab'[number // 2 % 2]},{mark}")
    (folder / "labels.csv").write_text("\n".join(lines))
    stages = [
        Ingest(Files(path=str(folder / "bars.csv"))),
        Windows(WINDOW, None, LabelFile(str(folder / "labels.csv"))),
        Splits(PurgedKFold(test_from="2024-01-11", n_folds=2), LabelDraw(n_flipped=3)),
    ]
    return Pipeline(stages).run(Context("run", Layout(folder / "data", folder / "artifacts"))).artifacts


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return data_stages(tmp_path_factory.mktemp("marked") / "a", relative=False)


def with_encoder(inputs: Inputs, folder: Path) -> Inputs:
    torch.manual_seed(3)
    for seed in SETUP.seeds:
        save_weights(folder / f"encoder-seed{seed}.safetensors", SETUP.encoder.build(InputShape(4, 16)).state_dict())
    (folder / "encoder.json").write_text(json.dumps({"encoder": {"hidden": 3}, "transform": {"class": "LogReturns"}}))
    files = {path.name: "" for path in folder.iterdir()}
    return {**inputs, "encoder": Artifact("pretrain", "0" * 64, "1" * 64, folder, {"files": files})}


def finetuned(inputs: Inputs, folder: Path, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the stage wrote about the classifiers, and what it said on the way."""
    (folder / "encoder").mkdir(parents=True)
    events, seen = EventLog(), []
    events.listen(seen.append)
    stage = Finetune(SETUP, FIT, FinetunedEncoder(frozen_epochs=0, **changes), (Scaling(),))
    stage.run(with_encoder(inputs, folder / "encoder"), Workspace(folder, "run", "finetune", events, folder / "units"))
    return json.loads((folder / "classifier.json").read_text()), seen


def test_marks_arrive_at_their_windows_whichever_way_they_are_counted(marked: Inputs, tmp_path: Path) -> None:
    relative = data_stages(tmp_path / "relative", relative=True)
    for inputs in (marked, relative):
        data = Dataset.open(inputs)
        windows = data.gather(data.labels["row"], data.labels["label"], LogReturns())
        number = data.windows.starts[data.labels["row"].to_numpy()] // 2
        odd = number % 2 == 1
        expected = np.where(odd[:, None], np.stack([6 + number % 4, 12 + number % 3], axis=1), -1)
        assert windows.pointers is not None and windows.pointers.dtype == np.int64
        np.testing.assert_array_equal(windows.pointers, expected)
        assert odd.any() and not odd.all()


def test_without_marks_there_are_no_columns_for_them_and_no_pointers(tmp_path: Path) -> None:
    data = Dataset.open(data_stages(tmp_path / "plain", relative=False, marked=False))
    assert not [name for name in data.table.columns if name.startswith(("expansion", "pointer"))]
    assert data.gather(data.labels["row"], data.labels["label"], LogReturns()).pointers is None


def test_marks_are_in_no_input(marked: Inputs, tmp_path: Path) -> None:
    plain = Dataset.open(data_stages(tmp_path / "plain", relative=False, marked=False))
    data = Dataset.open(marked)
    seen, other = (one.gather(one.labels["row"], one.labels["label"], LogReturns()) for one in (data, plain))
    np.testing.assert_array_equal(seen.inputs, other.inputs)
    np.testing.assert_array_equal(seen.bars, other.bars)


def test_windows_know_how_their_inputs_were_made(marked: Inputs) -> None:
    data = Dataset.open(marked)
    windows = data.gather(data.labels["row"], data.labels["label"], LogReturns())
    assert windows.transform is not None
    np.testing.assert_array_equal(windows.transform(torch.from_numpy(windows.bars)).numpy(), windows.inputs)


def test_the_classifier_predicts_spans_of_the_sealed_test(marked: Inputs, tmp_path: Path) -> None:
    told, _ = finetuned(marked, tmp_path)
    found = pl.read_parquet(tmp_path / "pointers.parquet")
    test = Dataset.open(marked).test
    assert found.columns == ["window_id", "seed", "expansion_start", "expansion_end"]
    assert found["window_id"].to_list() == test["window_id"].to_list() * 2
    assert (found["expansion_start"] < found["expansion_end"]).all()
    assert found["expansion_start"].min() >= ZONE[0] and found["expansion_end"].max() < ZONE[1]  # type: ignore[operator]
    assert all(member["pointers"] for member in told["members"])


def test_the_classifier_says_what_was_transferred_and_how_far_it_moved(marked: Inputs, tmp_path: Path) -> None:
    told, events = finetuned(marked, tmp_path, pointer_weight=0.0, members=2)
    assert not (tmp_path / "pointers.parquet").exists()
    names = [f"classifier-seed{seed}/member{member}.safetensors" for seed in (0, 1) for member in (0, 1)]
    assert [member["weights"] for member in told["members"]] == names
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("classifier-seed*/*.safetensors")) == names
    torch.manual_seed(3)
    for number, member in enumerate(told["members"]):
        if number % 2 == 0:
            weights = SETUP.encoder.build(InputShape(4, 16)).state_dict()
        assert member["started_from"] == digest_weights(weights)
        assert set(member["transfer"]["matched"]) == set(weights) and not member["transfer"]["missing"]
        moved = member["relative_weight_change"]
        assert set(moved["tensors"]) == set(weights) and moved["layers"]["recurrent_0"] > 0
    transfers = [event for event in events if event["event"] == "transfer"]
    assert [(event["matched"], event["mismatched"], event["seed"]) for event in transfers] == [
        (len(weights), 0, seed) for seed in (0, 0, 1, 1)
    ]
    assert [set(event["layers"]) for event in events if event["event"] == "movement"] == [{"recurrent_0"}] * 4


def test_a_seed_that_was_done_is_not_done_again_and_nothing_differs(
    marked: Inputs, tmp_path: Path, monkeypatch
) -> None:
    whole, _ = finetuned(marked, tmp_path / "whole")
    expected = pl.read_parquet(tmp_path / "whole" / "pointers.parquet")
    stage = Finetune(SETUP, FIT, FinetunedEncoder(frozen_epochs=0), (Scaling(),))
    (tmp_path / "killed" / "encoder").mkdir(parents=True)
    inputs = with_encoder(marked, tmp_path / "killed" / "encoder")
    workspace = Workspace(tmp_path / "killed", "run", "finetune", EventLog(), tmp_path / "units")
    fit, fitted = FinetunedEncoder.fit, []

    def dies_at_the_second(self, windows, resources):  # type: ignore[no-untyped-def]
        fitted.append(resources.seed)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return fit(self, windows, resources)

    monkeypatch.setattr(FinetunedEncoder, "fit", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        stage.run(inputs, workspace)
    stage.run(inputs, workspace)
    assert fitted == [0, 1, 1]
    assert json.loads((tmp_path / "killed" / "classifier.json").read_text()) == whole
    assert pl.read_parquet(tmp_path / "killed" / "pointers.parquet").equals(expected)


def test_an_encoder_of_another_kind_is_refused_with_what_it_was_made_with(marked: Inputs, tmp_path: Path) -> None:
    inputs = with_encoder(marked, tmp_path)
    save_weights(tmp_path / "encoder-seed0.safetensors", BiLstm(hidden=5).build(InputShape(4, 16)).state_dict())
    stage = Finetune(SETUP, FIT, FinetunedEncoder(frozen_epochs=0))
    with pytest.raises(TransferError, match=r'encoder=\{"hidden": 3\}, transform=\{"class": "LogReturns"\}'):
        stage.run(inputs, Workspace(tmp_path, "run", "finetune", EventLog(), tmp_path / "units"))
