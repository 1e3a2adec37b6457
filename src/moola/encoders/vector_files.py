"""Files of embeddings that grow a batch at a time: Parquet with the names of the windows, or one ``.npy`` array.

Memory does not grow with the number of windows, and a file is there whole or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from moola.config import reject
from moola.layout import replace_file_atomically

Write = Callable[[np.ndarray], None]
"""Takes the next rows, float32 [B, E]."""
Names = Callable[[int, int], Any]
"""First row and past-the-end row -> polars frame of what stands beside the numbers."""

SUFFIXES = (".parquet", ".npy")
_GROUP_BYTES = 32 * 2**20
"""Numbers in a row group."""


def open_vectors(path: Path, n_rows: int, width: int, names: Names) -> AbstractContextManager[Write]:
    """A file for `n_rows` rows of `width` numbers, in the format of its suffix.

    Args:
        path: ends in ``.parquet`` (columns of `names`, then ``e0`` to ``eN``) or ``.npy`` (float32 [n_rows, width]).
        n_rows: how many there will be.
        width: E.
        names: what stands beside the numbers in Parquet.

    Raises:
        ConfigError: another suffix.
        ValueError: at the end, other than `n_rows` rows were written; no file is left.
    """
    check_suffix(path)
    file = _npy(path, n_rows, width) if path.suffix == ".npy" else _parquet(path, width, names)
    return _counted(file, n_rows)


def check_suffix(path: Path) -> None:
    """Refuse a file name that says no format.

    Raises:
        ConfigError: it ends in neither of `SUFFIXES`.
    """
    reject((path.suffix not in SUFFIXES, f"--out: {path} must end in {' or '.join(SUFFIXES)}"))


@contextlib.contextmanager
def _counted(file: AbstractContextManager[Write], n_rows: int) -> Iterator[Write]:
    """The same file, which must get so many rows: the header of an array and the names beside numbers rely on it."""
    done = 0
    with file as write:

        def counted(vectors: np.ndarray) -> None:
            nonlocal done
            done += len(vectors)
            write(vectors)

        yield counted
        if done != n_rows:
            raise ValueError(f"{done} rows were written, and {n_rows} were announced")


@contextlib.contextmanager
def _npy(path: Path, n_rows: int, width: int) -> Iterator[Write]:
    with replace_file_atomically(path) as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "<f4", "fortran_order": False, "shape": (n_rows, width)})

        def write(vectors: np.ndarray) -> None:
            handle.write(np.ascontiguousarray(vectors, dtype="<f4").data)

        yield write


@contextlib.contextmanager
def _parquet(path: Path, width: int, names: Names) -> Iterator[Write]:
    import pyarrow
    from pyarrow import parquet

    beside = names(0, 0).to_arrow().schema
    columns = [f"e{number}" for number in range(width)]
    schema = pyarrow.schema([*beside, *(pyarrow.field(name, pyarrow.float32()) for name in columns)])
    # Numbers of an encoder do not compress, and there is nothing to find by their smallest and largest.
    settings: Any = {name: "zstd" if name in beside.names else "none" for name in schema.names}
    group = np.empty((width, max(_GROUP_BYTES // (4 * width), 1)), dtype=np.float32)
    done = filled = 0
    with (
        replace_file_atomically(path) as handle,
        parquet.ParquetWriter(
            handle, schema, compression=settings, use_dictionary=beside.names, write_statistics=beside.names
        ) as writer,
    ):

        def flush() -> None:
            nonlocal done, filled
            if filled:
                told = names(done, done + filled).to_arrow().cast(beside)
                arrays = [*told.columns, *(pyarrow.array(row[:filled]) for row in group)]
                writer.write_table(pyarrow.table(arrays, schema=schema), row_group_size=filled)
                done, filled = done + filled, 0

        def write(vectors: np.ndarray) -> None:
            nonlocal filled
            while len(vectors):
                taken = min(group.shape[1] - filled, len(vectors))
                group[:, filled : filled + taken] = vectors[:taken].T
                filled, vectors = filled + taken, vectors[taken:]
                if filled == group.shape[1]:
                    flush()

        yield write
        flush()
