"""The data that other packages ship."""

from __future__ import annotations

import datetime
import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.sources.arch_indices import ArchIndices
from moola.data.sources.ucr import Ucr
from moola.errors import ConfigError, DataError, MissingPackageError
from moola.testing import check_source


@pytest.mark.parametrize("source", [ArchIndices(), ArchIndices(("nasdaq",)), Ucr("GunPoint"), Ucr("BasicMotions")])
def test_bundled_sources_keep_the_source_suite(source: Any) -> None:
    check_source(source)


def test_the_indices_are_5_031_daily_bars_each_on_the_same_dates() -> None:
    bars = ArchIndices().load()
    assert bars.series["series"].to_list() == ["sp500", "nasdaq"]
    assert bars.channels == ("open", "high", "low", "close", "volume")
    one, other = (bars.frame.filter(series=name) for name in ("sp500", "nasdaq"))
    assert one.height == other.height == 5_031
    assert one["timestamp"].equals(other["timestamp"])
    assert one["timestamp"][0] == datetime.datetime(1999, 1, 4, tzinfo=datetime.UTC)
    assert one["timestamp"][-1] == datetime.datetime(2018, 12, 31, tzinfo=datetime.UTC)
    returns = [frame["close"].log().diff().drop_nulls().to_numpy() for frame in (one, other)]
    assert round(float(np.corrcoef(*returns)[0, 1]), 2) == 0.89


def test_the_longest_pause_between_index_bars_is_seven_days(market: SimpleNamespace) -> None:
    pauses = np.diff(market.store.timestamps[:5_031]) / 86_400_000_000
    assert pauses.max() == 7.0


def test_the_choice_of_symbols_is_in_the_fingerprint() -> None:
    chosen = [ArchIndices(), ArchIndices(("sp500",)), ArchIndices(("nasdaq",)), ArchIndices(("nasdaq", "sp500"))]
    assert len({source.fingerprint() for source in chosen}) == 4


@pytest.mark.parametrize("symbols", [(), ("sp500", "sp500")])
def test_no_symbol_and_one_twice_are_refused(symbols: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="symbols: "):
        ArchIndices(symbols)


def test_gunpoint_is_50_cases_to_train_and_150_to_test_of_150_steps() -> None:
    bars = Ucr("GunPoint").load()
    assert bars.independent
    assert dict(bars.series["split"].value_counts().iter_rows()) == {"train": 50, "test": 150}
    assert set(bars.series["label"]) == {"1", "2"}
    assert bars.frame.group_by("series").len()["len"].unique().to_list() == [150]
    first = bars.frame.filter(pl.col("series") == bars.series["series"][0])
    assert first["timestamp"].dt.epoch("us").to_list() == list(range(150))


def test_a_case_with_several_channels_keeps_them() -> None:
    assert Ucr("BasicMotions").load().channels == tuple(f"channel_{i}" for i in range(6))


def test_cases_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="JapaneseVowels holds cases of different lengths"):
        Ucr("JapaneseVowels").load()


def test_an_unknown_set_is_told_with_the_near_name() -> None:
    with pytest.raises(DataError, match=r"no set named 'Gunpoint'\ndid you mean 'GunPoint'\?"):
        Ucr("Gunpoint").fingerprint()


@pytest.mark.parametrize("source", [ArchIndices(), Ucr("GunPoint")])
def test_a_missing_package_is_told_with_the_way_to_get_it(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'moola\[data\]'"):
        source.fingerprint()
