"""Batches drawn from a run: nothing twice, nothing sealed, traceable to bars, also before the first label."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.commands.label_commands.batch import summary_line
from moola.config import RunConfig
from moola.data.bar_store import BarStore
from moola.data.sources.files import Files
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.window_index import WindowConfig
from moola.errors import DataError
from moola.labels import Labeller
from moola.labels.batch_files import BATCH_PLACE, read_batch
from moola.labels.batches import BatchConfig
from moola.labels.events import LOG_PLACE, LabelEvent, LabelLog, window_digest
from moola.labels.exchange.batch_json import read
from moola.labels.planting import LabelDraw
from moola.labels.structure_rule import StructureRule
from moola.labels.unlabelled import Unlabelled
from moola.layout import Layout, read_json
from moola.pipelines.annotation_batch import DrawnBatch, draw_batch
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.dataset import Dataset
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows

N_BARS, REACH = 3_000, 20
CONFIG = RunConfig(
    name="batches",
    transform={"name": "anchored"},
    encoder={"name": "lstm", "hidden": 4},
    trainer={"pretrain": {"epochs": 1, "batch_size": 8}, "finetune": {"epochs": 1, "batch_size": 8}},
    device="cpu",
    **{name: {} for name in ("data", "task", "augment", "split", "objective", "model", "evaluation", "stage")},
)
Made = tuple[Mapping[str, Artifact], Layout]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(1)
    close = 100 * np.exp(0.002 * generator.normal(size=N_BARS).cumsum())
    first = pl.datetime(2024, 1, 1)
    times = pl.datetime_range(first, first + pl.duration(hours=N_BARS - 1), "1h", eager=True)
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    pl.DataFrame(
        {"timestamp": times, "open": close, "high": close * 1.0006, "low": close * 0.9994, "close": close}
    ).write_csv(path)
    return path


@pytest.fixture
def made(bars: Path, tmp_path: Path, kept: dict[Labeller, Mapping[str, Artifact]]) -> Callable[[Labeller], Made]:
    """Artifacts of one labeller, made once, and a data folder of the test's own."""

    def make(labeller: Labeller) -> Made:
        stages = [
            Ingest(Files(path=str(bars))),
            Windows(WindowConfig(length=REACH, visible=15, zone=(5, 15)), None, labeller),
            Splits(PurgedKFold(test_from="2024-04-01", n_folds=2), LabelDraw(n_given=20)),
        ]
        if labeller not in kept:
            layout = Layout(bars.parent / "data", bars.parent / "artifacts")
            kept[labeller] = Pipeline(stages).run(Context("batches", layout, processes=1)).artifacts
        return kept[labeller], Layout(tmp_path / "data", tmp_path / "artifacts")

    return make


@pytest.fixture(scope="module")
def kept() -> dict[Labeller, Mapping[str, Artifact]]:
    return {}


def drawn(made: Made, **choice: int) -> DrawnBatch:
    return draw_batch(made[0], CONFIG, made[1], BatchConfig(**{"size": 12, "pool": 800, **choice}), "run-1")


def test_batches_meet_nothing_that_is_labelled_decided_blacklisted_handed_out_or_sealed(made) -> None:
    one = made(StructureRule(1.0, 0.3, 12.0, 6.0))
    data = Dataset.open(one[0])
    rejected = data.table.row(400, named=True)
    event = LabelEvent(
        decision="blacklist",
        window_id="bars_longgone",  # of another stride: its time alone says where it was
        annotator="ann",
        first_time=f"{rejected['first_time']:%Y-%m-%dT%H:%M:%SZ}",
        last_time=f"{rejected['last_time']:%Y-%m-%dT%H:%M:%SZ}",
    )
    decided = LabelEvent(decision="relabel", window_id=data.table["window_id"][800], label="retracement", annotator="b")
    LabelLog(one[1].data / LOG_PLACE).append(event, decided)
    first, second = drawn(one), drawn(one)
    assert (first.name, second.name) == ("batch_0001", "batch_0002")
    assert first.told["uncertainty_by"] == "probe" and first.told["compared_by"] == "summary"
    assert first.table["uncertainty"].median() > 0.5
    rows = np.concatenate([first.table["row"].to_numpy(), second.table["row"].to_numpy()])
    starts = data.table["start"].to_numpy()
    taken = np.concatenate([data.labels["row"].to_numpy(), [400, 800], np.flatnonzero(data.table["span"] == "test")])
    assert np.abs(starts[rows][:, None] - starts[taken]).min() >= REACH
    assert np.diff(np.sort(starts[rows])).min() >= REACH
    assert set(data.table["span"].gather(rows)) == {"train"}
    counts = first.table.group_by("session", "volatility").len()["len"]
    assert counts.max() - counts.min() <= 1 and len(counts) == 9


def test_what_was_decided_about_sealed_windows_has_no_say_in_a_batch(made, tmp_path: Path) -> None:
    inputs, layout = made(Unlabelled())
    table = Dataset.open(inputs).table
    plain = drawn((inputs, layout))
    names = table.filter(pl.col("span") == "test")["window_id"][::25]
    seen = Layout(tmp_path / "seen", layout.artifacts)
    LabelLog(seen.data / LOG_PLACE).append(
        *(LabelEvent(decision="relabel", window_id=name, label="up", annotator="ann") for name in names)
    )
    after = drawn((inputs, seen))
    assert after.table.equals(plain.table) and after.told["labelled_windows"] == 0


def test_a_window_can_be_traced_to_its_bars_before_the_first_label(made) -> None:
    one = made(Unlabelled())
    batch = drawn(one)
    store = BarStore.open(one[0]["bars"].folder)
    assert batch.told["uncertainty_by"] == "" and batch.table["uncertainty"].null_count() == 12
    for row in batch.table.iter_rows(named=True):
        bars = store.values[row["raw_start_idx"] : row["raw_end_idx"] + 1]
        assert len(bars) == REACH and row["window_digest"] == window_digest(bars)
        assert row["window_id"].endswith(f"{row['raw_start_idx']:07d}")
    folder = one[1].data / BATCH_PLACE
    assert read_batch(folder, "batch_0001").equals(batch.table)
    template = folder / "batch_0001.json"
    assert [given["window_id"] for given in read_json(template)["annotations"]] == batch.table["window_id"].to_list()
    assert read(template) == []  # nobody has said anything yet
    assert read_json(folder / "batch_0001.manifest.json")["bars_digest"] == store.digest


def test_where_nothing_is_left_it_is_said_and_no_batch_is_written(made) -> None:
    one = made(Unlabelled())
    while len((last := drawn(one, size=150, pool=5_000)).table) == 150:
        pass
    assert last.told["asked"] == 150
    assert f"150 asked, {len(last.table)} possible: no more fit" in summary_line(last.name, len(last.table), last.told)
    n = len(list((one[1].data / BATCH_PLACE).glob("*.parquet")))
    with pytest.raises(DataError, match="there is no window left to annotate"):
        drawn(one, size=150, pool=5_000)
    assert len(list((one[1].data / BATCH_PLACE).glob("*.parquet"))) == n


def test_an_encoder_and_its_classifier_are_asked_where_the_run_has_them(made, tmp_path: Path) -> None:
    from moola.layout import write_json
    from moola.models.lstm import Lstm
    from moola.models.saved import save_model
    from moola.pipelines.setup import EncoderSetup
    from moola.training.finetuning import FinetunedEncoder
    from moola.training.schedule import FitConfig
    from moola.training.weights import save_weights

    inputs, layout = made(StructureRule(1.0, 0.3, 12.0, 6.0))
    setup = EncoderSetup.from_config(CONFIG)
    data = Dataset.open(inputs)
    folder = tmp_path / "encoder"
    encoder = Lstm(hidden=4).build(setup.input_shape(data))
    save_weights(folder / "encoder-seed0.safetensors", encoder.state_dict())
    write_json(folder / "encoder.json", {})
    files = {"encoder.json": "", "encoder-seed0.safetensors": ""}
    artifact = Artifact("pretrain", "key", "digest", folder, {"files": files})
    windows = data.gather(data.labels["row"], data.labels["label"], setup.transform)
    model = FinetunedEncoder(frozen_epochs=0)
    fitted = model.fit(windows, setup.resources(0, data, FitConfig(epochs=1, batch_size=8), artifact))
    shape = fitted.plan.shape
    save_model(
        tmp_path / "models/classifier-seed0",
        model,
        fitted,
        n_bars=shape.n_bars,
        n_inputs=shape.n_inputs,
        classes=data.classes,
    )
    both = {
        **inputs,
        "encoder": artifact,
        "classifier": dataclasses.replace(artifact, stage="finetune", folder=tmp_path / "models"),
    }
    batch = drawn((both, layout))
    assert (batch.told["compared_by"], batch.told["uncertainty_by"]) == ("encoder", "classifier")
    batch = drawn(({**inputs, "encoder": artifact}, layout))
    assert (batch.told["compared_by"], batch.told["uncertainty_by"]) == ("encoder", "probe")
