"""Mistakes that the projects before moola shipped, put back one by one: each is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.config import structure
from moola.data.ingestion import ingest
from moola.data.sources import BarScan, Chunk
from moola.data.sources.files import Files
from moola.data.sources.window_table import WindowTable
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.saved import Saved
from moola.data.window_index import WindowConfig
from moola.errors import ConfigError, StorageError
from moola.labels.planting import LabelDraw
from moola.labels.structure_rule import StructureRule
from moola.layout import Layout
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.dataset import Dataset
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stages.ingest import Ingest
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows
from moola.schemas.bars import BarRule, bar_rules
from moola.testing import check_bar_rules

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
