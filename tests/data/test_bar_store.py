"""What is saved is what is opened, mapped and read-only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore, save_bars, times
from moola.data.sources import Bars, series_table
from moola.errors import StorageError
from moola.schemas import TIMESTAMP

MINUTE = 60_000_000


def bars_of(**series: list[int]) -> Bars:
    """Bars at the given minutes, a number counting up as their one value."""
    rows = [(name, minute) for name, minutes in series.items() for minute in minutes]
    frame = pl.DataFrame(
        {
            "series": [name for name, _ in rows],
            "timestamp": pl.Series([minute * MINUTE for _, minute in rows]).cast(TIMESTAMP),
            "x": np.arange(len(rows)) + 0.5,
            "y": -np.arange(len(rows)) * 1.0,
        }
    )
    names = list(series)
    return Bars(frame, series_table(names, ["train"] * len(names), [f"label {n}" for n in names]), independent=False)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_bars(bars_of(b=[0, 1, 5], a=[1, 2]), tmp_path)
    return tmp_path


def test_an_opened_store_holds_what_was_saved(saved: Path) -> None:
    store = BarStore.open(saved)
    np.testing.assert_array_equal(store.values[:, 0], np.arange(5) + 0.5)
    assert store.values.dtype == np.float32 and store.values.flags.c_contiguous
    assert (store.timestamps // MINUTE).tolist() == [0, 1, 5, 1, 2]
    assert store.offsets.tolist() == [0, 3, 5]
    assert store.series == ("b", "a")
    assert store.series_split == ("train", "train")
    assert store.series_label == ("label b", "label a")
    assert (store.channels, store.independent, store.n_bars) == (("x", "y"), False, 5)
    assert times(store.timestamps).dtype == TIMESTAMP


def test_an_opened_store_is_mapped_and_cannot_be_changed(saved: Path) -> None:
    store = BarStore.open(saved)
    assert isinstance(store.values, np.memmap) and isinstance(store.timestamps, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.values[0, 0] = 1


def test_series_share_positions_on_the_calendar_of_all_their_times(saved: Path) -> None:
    assert BarStore.open(saved).steps().tolist() == [0, 1, 3, 1, 2]


def test_bars_out_of_the_order_of_their_series_are_not_saved(tmp_path: Path) -> None:
    bars = bars_of(a=[0], b=[0])
    with pytest.raises(ValueError, match="series after series"):
        save_bars(Bars(bars.frame.reverse(), bars.series, independent=False), tmp_path)


@pytest.mark.parametrize("name", ["values.npy", "timestamps.npy", "bars.json"])
@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_a_missing_or_broken_file_is_a_storage_error(saved: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (saved / name).unlink()
    else:
        (saved / name).write_bytes(content)
    with pytest.raises(StorageError, match=str(saved)):
        BarStore.open(saved)


def test_a_truncated_array_is_a_storage_error(saved: Path) -> None:
    content = (saved / "values.npy").read_bytes()
    (saved / "values.npy").write_bytes(content[:-4])
    with pytest.raises(StorageError, match="cannot be opened"):
        BarStore.open(saved)


def test_files_of_different_stores_do_not_open_together(saved: Path) -> None:
    np.save(saved / "timestamps.npy", np.arange(4))
    with pytest.raises(StorageError, match="do not fit together"):
        BarStore.open(saved)
    head = json.loads((saved / "bars.json").read_text())
    assert head["offsets"][-1] == 5
