"""What is learned without labels stays valid when labels change."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from moola.data.sources.files import Files
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.window_index import WindowConfig
from moola.errors import StorageError
from moola.features.log_returns import LogReturns
from moola.labels.label_file import LabelFile
from moola.labels.planting import LabelDraw
from moola.layout import Layout
from moola.models.bilstm import BiLstm
from moola.pipelines.context import Context
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Stage
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.pretrain import Pretrain
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.training.schedule import FitConfig, Monitoring

N_BARS, LENGTH = 400, 20


def stages(folder: Path, labels: str, n_flipped: int = 0, test_from: str = "2024-01-13") -> list[Stage]:
    (folder / "labels.csv").write_text(labels)
    setup = EncoderSetup((0,), "cpu", LogReturns(), BiLstm(hidden=2))
    brief = FitConfig(epochs=1, batch_size=64)
    return [
        Ingest(Files(path=str(folder / "bars.csv"))),
        Windows(WindowConfig(length=LENGTH), None, LabelFile(str(folder / "labels.csv"))),
        Splits(PurgedKFold(test_from=test_from, n_folds=2), LabelDraw(n_flipped=n_flipped)),
        Pretrain(setup, MaskedAutoencoder(decoder_hidden=4), (), brief, Monitoring()),
    ]


def labels_of(n: int) -> str:
    rows = (f"bars_{start:07d},{'ab'[start // 5 % 2]}" for start in range(0, 5 * n, 5))
    return "\n".join(("window_id,label", *rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first = pl.datetime(2024, 1, 1)
    close = pl.Series([100 + (3 * i) % 7 for i in range(N_BARS)], dtype=pl.Float64)
    times = pl.datetime_range(first, first + pl.duration(hours=N_BARS - 1), "1h", eager=True)
    frame = pl.DataFrame({"timestamp": times, "open": close, "high": close + 1, "low": close - 1, "close": close})
    frame.write_csv(tmp_path / "bars.csv")
    return tmp_path


def reused(folder: Path, pipeline: list[Stage]) -> tuple[str, ...]:
    return Pipeline(pipeline).run(Context("run", Layout(folder / "data", folder / "artifacts"))).reused


def test_labels_that_change_or_come_leave_the_encoder_valid_and_another_span_does_not(folder: Path) -> None:
    assert reused(folder, stages(folder, labels_of(40))) == ()
    assert reused(folder, stages(folder, labels_of(44))) == ("ingest", "pretrain")
    assert reused(folder, stages(folder, labels_of(44), n_flipped=3)) == ("ingest", "windows", "pretrain")
    assert reused(folder, stages(folder, labels_of(40), test_from="2024-01-12")) == ("ingest", "windows")


def test_pretraining_cannot_read_a_label(folder: Path) -> None:
    class Curious(Pretrain):
        def run(self, inputs, workspace):  # type: ignore[no-untyped-def]
            inputs["splits"].path("labels.parquet")

    pipeline = stages(folder, labels_of(40))
    curious = Curious(*vars(pipeline[-1]).values())
    with pytest.raises(StorageError, match=r"has no file labels\.parquet"):
        reused(folder, [*pipeline[:-1], curious])
