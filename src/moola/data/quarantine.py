"""Where bad rows go: a CSV file with every one of them and all that is wrong with it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import polars as pl

from moola.layout import replace_file_atomically


class Quarantine:
    """A context manager around a CSV file of bad rows.

    When the block ends well the file is there, whole, if there were bad rows; if there were none it is not, and one
    that was there before is gone. When the block breaks off nothing changes.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = ExitStack()
        self._handle: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)
        if self._handle is None and kind is None:
            self._path.unlink(missing_ok=True)

    def append(self, bad: pl.DataFrame) -> None:
        """Add bad rows as `moola.data.quality.Audited` holds them; times are written in ISO 8601, UTC."""
        if bad.is_empty():
            return
        is_first = self._handle is None
        if self._handle is None:
            self._handle = self._files.enter_context(replace_file_atomically(self._path))
        rows = bad.write_csv(include_header=is_first, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
        self._handle.write(rows.encode())  # not by polars, which hides the reason why a disk takes no more
