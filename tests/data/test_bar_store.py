"""What is written is what is opened, mapped and read-only, however it came in pieces."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.data.bar_store import BarStore, times
from moola.data.bar_writer import BarWriter
from moola.data.sources import series_table
from moola.errors import DataError, StorageError
from moola.layout import remove_torn_files
from moola.schemas import TIMESTAMP

MINUTE = 60_000_000


def bars_of(series: list[str], minutes: list[int]) -> pl.DataFrame:
    """Bars at the given minutes; their values tell series and minute."""
    first = pl.Series([ord(name[0]) * 1000.0 + minute for name, minute in zip(series, minutes, strict=True)])
    return pl.DataFrame(
        {
            "series": pl.Series(series, dtype=pl.String),
            "timestamp": pl.Series(minutes, dtype=pl.Int64).cast(pl.Int64) * MINUTE,
            "x": first.cast(pl.Float64),
            "y": -first.cast(pl.Float64),
        }
    ).with_columns(pl.col("timestamp").cast(TIMESTAMP))


BARS = bars_of(["b", "b", "b", "a", "a"], [0, 1, 5, 1, 2])
SERIES = series_table(["b", "a"], ["train", "test"], ["label b", "label a"])


def write(folder: Path, *frames: pl.DataFrame, series: pl.DataFrame | None = None) -> BarStore:
    with BarWriter(folder, ("x", "y")) as writer:
        for frame in frames:
            writer.append(frame)
        return writer.finish(series)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write(tmp_path, BARS, series=SERIES)
    return tmp_path


def test_an_opened_store_holds_what_was_written(saved: Path) -> None:
    store = BarStore.open(saved)
    np.testing.assert_array_equal(store.values, BARS.select("x", "y").to_numpy())
    assert store.values.dtype == np.float32
    assert store.values.flags.c_contiguous
    assert (store.timestamps // MINUTE).tolist() == [0, 1, 5, 1, 2]
    assert store.timestamps.dtype == np.int64
    assert store.offsets.tolist() == [0, 3, 5]
    assert store.series == ("b", "a")
    assert store.series_split == ("train", "test")
    assert store.series_label == ("label b", "label a")
    assert (store.channels, store.independent, store.n_bars) == (("x", "y"), False, 5)
    assert times(store.timestamps).dtype == TIMESTAMP
    store.verify()


def test_an_opened_store_is_mapped_and_cannot_be_changed(saved: Path) -> None:
    store = BarStore.open(saved)
    assert isinstance(store.values, np.memmap)
    assert isinstance(store.timestamps, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.values[0, 0] = 1


@given(data=st.data())
def test_neither_cuts_nor_alternating_series_change_the_store(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    minutes = {name: sorted(data.draw(st.sets(st.integers(0, 50), min_size=1, max_size=12))) for name in "abc"}
    tickets = data.draw(st.permutations([name for name, times in minutes.items() for _ in times]))
    left = {name: iter(times) for name, times in minutes.items()}
    mixed = bars_of(list(tickets), [next(left[name]) for name in tickets])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(mixed)), max_size=6)) | {0, len(mixed)})
    names = data.draw(st.permutations("abc"))
    folder = tmp_path_factory.mktemp("store")
    frames = [mixed[start:end] for start, end in itertools.pairwise(cuts)]
    came_mixed = write(folder / "mixed", *frames, series=series_table(names))
    ordered = bars_of(
        [name for name in names for _ in minutes[name]], [minute for name in names for minute in minutes[name]]
    )
    came_ordered = write(folder / "ordered", ordered)
    assert came_mixed.digest == came_ordered.digest
    for name in ("values.npy", "timestamps.npy", "bars.json"):
        assert (folder / "mixed" / name).read_bytes() == (folder / "ordered" / name).read_bytes()
    came_mixed.verify()


def test_the_digest_knows_values_times_names_splits_labels_and_order(tmp_path: Path) -> None:
    changed = [
        (BARS, SERIES),
        (BARS.with_columns(x=pl.col("x") + 1), SERIES),
        (BARS.with_columns(pl.col("timestamp").dt.offset_by("1us")), SERIES),
        (BARS.with_columns(pl.col("series").replace("a", "c")), series_table(["b", "c"], ["train", "test"])),
        (BARS, SERIES.reverse()),
        (BARS, SERIES.with_columns(split=pl.lit("train"))),
        (BARS, SERIES.with_columns(label=pl.lit("one"))),
    ]
    digests = [write(tmp_path / str(i), frame, series=series).digest for i, (frame, series) in enumerate(changed)]
    assert len(set(digests)) == len(changed)


def test_series_share_positions_on_the_calendar_of_all_their_times(saved: Path) -> None:
    store = BarStore.open(saved)
    assert (store.calendar() // MINUTE).tolist() == [0, 1, 2, 5]


def test_the_calendar_of_one_series_is_not_copied(tmp_path: Path) -> None:
    store = write(tmp_path, BARS[:3])
    assert np.shares_memory(store.calendar(), store.timestamps)


def test_what_fits_no_float32_is_refused_and_not_stored_as_infinity(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"series 'b' are too large") as caught:
        write(tmp_path, BARS.with_columns(y=pl.lit(1e39)))
    assert "column 'y'" in caught.value.why
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (BARS.with_columns(x=pl.lit(None, dtype=pl.Float64)), "5 cells are empty"),
        (BARS.reverse(), "time does not go forward in series 'a'"),
        (pl.concat([BARS, BARS[-1:]]), "time does not go forward in series 'a'"),
    ],
)
def test_a_writer_takes_no_rows_that_the_audit_would_keep_out(tmp_path: Path, frame: pl.DataFrame, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        write(tmp_path, frame)


@pytest.mark.parametrize("names", [["b"], ["b", "a", "c"], ["b", "b"]])
def test_a_table_of_other_series_is_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ValueError, match="the table of series and the bars differ"):
        write(tmp_path, BARS, series=series_table(names))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_breaks_off_leaves_what_was_there(saved: Path, error: type[BaseException]) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def break_off() -> None:
        with BarWriter(saved, ("x", "y")) as writer:
            writer.append(BARS[:2])
            raise error

    with pytest.raises(error):
        break_off()
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


_KILLED = """
import os, sys
from pathlib import Path
import polars as pl
from moola import layout
from moola.data import bar_writer
folder, step = Path(sys.argv[1]), sys.argv[2]
frame = pl.read_parquet(sys.argv[3])
if step != "append":
    def die(file, order=None, publish=bar_writer._GrowingArray.publish):
        if step in str(file._path):
            os._exit(9)
        publish(file, order)
    bar_writer._GrowingArray.publish = die
with bar_writer.BarWriter(folder, ("x", "y")) as writer:
    writer.append(frame)
    assert writer.rows == len(frame)
    if step == "append":
        os._exit(9)
    writer.finish()
"""


@pytest.mark.parametrize("step", ["append", "values", "timestamps"])
def test_a_killed_writer_leaves_nothing_that_opens_and_nothing_that_stays(tmp_path: Path, step: str) -> None:
    BARS.write_parquet(tmp_path / "bars.parquet")
    folder = tmp_path / "store"
    done = subprocess.run([sys.executable, "-c", _KILLED, str(folder), step, str(tmp_path / "bars.parquet")])
    assert done.returncode == 9
    with pytest.raises(StorageError, match=r"bars\.json is missing"):
        BarStore.open(folder)
    remove_torn_files(folder)
    assert not list(folder.glob(".*"))
    assert write(folder, BARS).n_bars == len(BARS)


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


@pytest.mark.parametrize("key", ["offsets", "digest", "channels"])
def test_a_head_that_lacks_something_is_a_storage_error(saved: Path, key: str) -> None:
    head = json.loads((saved / "bars.json").read_text())
    del head[key]
    (saved / "bars.json").write_text(json.dumps(head))
    with pytest.raises(StorageError, match=f"has no '{key}'"):
        BarStore.open(saved)


@pytest.mark.parametrize("name", ["values.npy", "timestamps.npy"])
def test_a_changed_byte_is_found_by_verifying(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-1] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(StorageError, match="not what was written"):
        BarStore.open(saved).verify()
