"""Files of embeddings: what goes in comes out, however it was cut into batches, and nothing is left half-written."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moola.encoders.vector_files as vector_files
from moola.encoders.vector_files import open_vectors
from moola.errors import ConfigError

N_ROWS = 23
TABLE = pl.DataFrame({"window_id": [f"w{i}" for i in range(N_ROWS)], "series": ["s"] * N_ROWS})
VECTORS = np.random.default_rng(0).normal(size=(N_ROWS, 5)).astype(np.float32)


def names(first: int, past: int) -> pl.DataFrame:
    return TABLE.slice(first, past - first)


@pytest.mark.parametrize("group_rows", [1, 4, 100])
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, N_ROWS), max_size=5))
def test_rows_come_back_in_order_with_their_names_however_they_were_cut(tmp_path_factory, group_rows, cuts):
    folder = tmp_path_factory.mktemp("vectors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_files, "_GROUP_BYTES", group_rows * 4 * 5)
        for name in ("a.parquet", "a.npy"):
            with open_vectors(folder / name, N_ROWS, 5, names) as write:
                for first, past in pairwise([0, *sorted(cuts), N_ROWS]):
                    write(VECTORS[first:past])
    table = pl.read_parquet(folder / "a.parquet")
    assert table.columns == ["window_id", "series", "e0", "e1", "e2", "e3", "e4"]
    assert table[:, :2].equals(TABLE)
    assert np.array_equal(table[:, 2:].to_numpy(), VECTORS)
    assert np.array_equal(np.load(folder / "a.npy", mmap_mode="r", allow_pickle=False), VECTORS)


@pytest.mark.parametrize("name", ["a.parquet", "a.npy"])
def test_a_failure_leaves_the_file_that_was_there(tmp_path, name):
    (tmp_path / name).write_text("before")

    def stop() -> None:
        with open_vectors(tmp_path / name, N_ROWS, 5, names) as write:
            write(VECTORS[:3])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "before"


@pytest.mark.parametrize("name", ["a.parquet", "a.npy"])
@pytest.mark.parametrize("n_rows", [N_ROWS - 1, N_ROWS + 1])
def test_other_than_the_announced_rows_are_refused_and_leave_no_file(tmp_path, name, n_rows):
    with (
        pytest.raises(ValueError, match=f"{N_ROWS} rows were written, and {n_rows}"),
        open_vectors(tmp_path / name, n_rows, 5, names) as write,
    ):
        write(VECTORS)
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.parquet or \.npy"):
        open_vectors(tmp_path / "a.csv", 1, 1, names)
