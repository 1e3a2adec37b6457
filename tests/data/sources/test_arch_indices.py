"""The index bars that the arch package ships."""

from __future__ import annotations

import datetime
import importlib.util
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.sources.arch_indices import ArchIndices
from moola.errors import ConfigError, MissingPackageError
from moola.testing import check_source


@pytest.mark.parametrize("source", [ArchIndices(), ArchIndices(("nasdaq",))])
def test_the_indices_keep_the_source_suite(source: Any) -> None:
    check_source(source)


def test_the_indices_are_5_031_daily_bars_each_on_the_same_dates() -> None:
    scan = ArchIndices().scan()
    assert scan.channels == ("open", "high", "low", "close", "volume") and not scan.independent
    one, other = (chunk.frame for chunk in scan.chunks)
    assert one["series"].unique().to_list() == ["sp500"] and other["series"].unique().to_list() == ["nasdaq"]
    assert one.height == other.height == 5_031
    assert not one.null_count().sum_horizontal()[0]
    assert one["timestamp"].equals(other["timestamp"])
    assert one["timestamp"][0] == datetime.datetime(1999, 1, 4, tzinfo=datetime.UTC)
    assert one["timestamp"][-1] == datetime.datetime(2018, 12, 31, tzinfo=datetime.UTC)
    returns = [frame["close"].log().diff().drop_nulls().to_numpy() for frame in (one, other)]
    assert round(float(np.corrcoef(np.stack(returns))[0, 1]), 2) == 0.89


def test_the_longest_pause_between_index_bars_is_seven_days() -> None:
    frame = pl.concat(chunk.frame for chunk in ArchIndices(("sp500",)).scan().chunks)
    assert frame["timestamp"].diff().max() == datetime.timedelta(days=7)


def test_the_choice_of_symbols_is_in_the_fingerprint() -> None:
    chosen = [ArchIndices(), ArchIndices(("sp500",)), ArchIndices(("nasdaq",)), ArchIndices(("nasdaq", "sp500"))]
    assert len({source.fingerprint() for source in chosen}) == 4


@pytest.mark.parametrize("symbols", [(), ("sp500", "sp500")])
def test_no_symbol_and_one_twice_are_refused(symbols: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="symbols: "):
        ArchIndices(symbols)


def test_a_missing_package_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (ArchIndices().fingerprint, ArchIndices().scan):
        with pytest.raises(MissingPackageError, match=r"pip install 'moola\[data\]'"):
            ask()
