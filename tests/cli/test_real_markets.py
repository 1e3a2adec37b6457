"""Three real minute markets through the documented commands; the figures are those of a query that knows no moola."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LENGTH, MAX_GAP_MINUTES = 105, 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the real minute bars are not beside this checkout"),
]


@dataclass(frozen=True)
class Market:
    file: str
    timestamp: str
    offset_h: int
    timezone: str
    volume: bool

    def words(self, folder: Path) -> list[str]:
        channels = "open,high,low,close" + (",volume" if self.volume else "")
        return [
            "data=files",
            f"data.path={folder / self.file}",
            f"data.timestamp={self.timestamp}",
            f"data.timezone={self.timezone}",
            f"data.channels=[{channels}]",
            f"data.window.length={LENGTH}",
            f"data.window.max_gap={MAX_GAP_MINUTES}m",
            "task=unlabelled",
        ]

    def bars(self, folder: Path) -> pl.DataFrame:
        """Read without moola: time in UTC and the values, with the pause before each bar."""
        raw = pl.read_csv(folder / self.file, try_parse_dates=True)
        time = pl.col(self.timestamp).cast(pl.Datetime("us")) + pl.duration(hours=self.offset_h)
        return raw.with_columns(time=time).with_columns(pause=pl.col("time").diff())


MARKETS = [
    Market("eurusd_m1_2017H1.csv.gz", "timestamp_est", 5, "Etc/GMT+5", volume=False),
    Market("6e_h4_futures_m1_2024-01.csv.gz", "timestamp_utc", 0, "UTC", volume=True),
    Market("btc_perp_m1_2022-01.csv.gz", "timestamp", 0, "UTC", volume=True),
]


@pytest.fixture(params=MARKETS, ids=lambda market: market.file.split("_")[0])
def market(request: pytest.FixtureRequest) -> Market:
    return request.param


def windows_that_fit(bars: pl.DataFrame) -> int:
    stretch = (pl.col("pause") > pl.duration(minutes=MAX_GAP_MINUTES)).fill_null(True).cum_sum()
    lengths = bars.group_by(stretch.alias("stretch")).len()["len"].cast(pl.Int64)  # a UInt32 would wrap below 0
    return int((lengths - LENGTH + 1).clip(lower_bound=0).sum())


def test_a_market_is_validated_described_and_windowed_as_an_independent_query_finds_it(moola, market: Market) -> None:
    bars = market.bars(SHARED)
    words = market.words(SHARED)

    validated = moola("data", "validate", *words)
    assert validated.code == 0, validated.err
    report = json.loads((validated.run_folder / "validation.json").read_text())
    assert (report["rows"], report["kept"], report["bad"], report["passed"]) == (len(bars), len(bars), 0, True)

    described = json.loads((moola("data", "describe", *words).run_folder / "description.json").read_text())
    (series,) = described["series"]
    step = bars["pause"].median()
    gaps = bars.filter(pl.col("pause") > 1.5 * step)
    assert described["bars"] == series["bars"] == len(bars)
    assert series["first_time"] == bars["time"][0].strftime("%Y-%m-%dT%H:%M:%SZ")
    assert series["last_time"] == bars["time"][-1].strftime("%Y-%m-%dT%H:%M:%SZ")
    assert series["gaps"] == len(gaps)
    assert series["longest_gap_s"] == bars["pause"].max().total_seconds()
    longest = gaps["pause"].dt.total_seconds().sort(descending=True).head(20).to_list()
    assert [gap["seconds"] for gap in described["gaps"]] == longest
    assert described["windows"] == windows_that_fit(bars)

    cut = moola("windows", *words)
    assert cut.code == 0, cut.err
    stages = {stage["stage"]: stage for stage in json.loads((cut.run_folder / "manifest.json").read_text())["stages"]}
    table = pl.read_parquet(Path(stages["windows"]["folder"]) / "windows.parquet")
    assert len(table) == windows_that_fit(bars)
    assert (table["last_time"] - table["first_time"]).max() < pl.select(pl.duration(minutes=LENGTH * 5)).item()
    first = bars["time"].dt.replace_time_zone("UTC")
    assert table["first_time"].is_in(first.implode()).all()
