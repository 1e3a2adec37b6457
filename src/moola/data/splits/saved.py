"""The split of an earlier run, used again on the data that it was made for and on no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.config import digest_json, reject
from moola.data.bar_store import BarStore
from moola.data.splits import Coverage, Fold
from moola.data.splits.proof import refuse_stale, spans_digest
from moola.data.window_index import WindowSpans
from moola.errors import StorageError
from moola.layout import digest_file, read_json

FILES = ("splits.parquet", "folds.json", "proof.json")


@dataclass(frozen=True)
class Saved:
    """Spans and folds read from a folder; refused where the bars, the windows or the labelled windows differ.

    What the split was made with (margins, the date of the test) is promised again, so that it is measured again.

    Attributes:
        folder: artifact of the stage ``splits`` (``data/splits/splits-...``) or a copy of it.
    """

    folder: str

    def __post_init__(self) -> None:
        reject((not self.folder, "folder: names the folder of an earlier split and is empty"))

    @property
    def coverage(self) -> Coverage:
        """As it was."""
        return self._proof["coverage"]

    @property
    def test_from(self) -> str | None:
        """As it was."""
        return (self._proof["seal"] or {}).get("test_from")

    @property
    def purge_bars(self) -> int:
        """As it was declared."""
        return self._proof["declared"]["purge_bars"]

    @property
    def embargo_bars(self) -> int:
        """As it was declared."""
        return self._proof["declared"]["embargo_bars"]

    @property
    def purge_time(self) -> str:
        """As it was declared."""
        return f"{self._proof['declared']['purge_us']}us"

    @property
    def embargo_time(self) -> str:
        """As it was declared."""
        return f"{self._proof['declared']['embargo_us']}us"

    def fingerprint(self) -> str:
        """Digest of the files.

        Raises:
            StorageError: the folder holds no split.
        """
        return digest_json({name: digest_file(self._path(name)) for name in FILES})

    def spans(self, store: BarStore, windows: WindowSpans) -> np.ndarray:
        """As they were.

        Raises:
            StorageError: the folder holds no split, or one of other bars or other windows.
        """
        self._refuse_stale({"bars": store.digest, "spans": spans_digest(windows)})
        return pl.read_parquet(self._path("splits.parquet"))["span"].to_numpy().astype(str)

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """As they were.

        Raises:
            StorageError: other windows are labelled than those that were folded.
        """
        self._refuse_stale({"labelled": spans_digest(windows)})
        saved = read_json(self._path("folds.json"))
        return [Fold(*(np.array(fold[part], dtype=np.int64) for part in ("train", "held_out"))) for fold in saved]

    def _refuse_stale(self, today: Mapping[str, str]) -> None:
        """Splitting again would only read the same folder again, so another split is the way out."""
        way_out = (
            "choose another split (split=purged_kfold), or give the folder of one that was made for these data: "
            "split.folder=data/splits/splits-..."
        )
        refuse_stale(self._proof, today, f"the split in {self.folder}", way_out)

    @cached_property
    def _proof(self) -> dict[str, Any]:
        return read_json(self._path("proof.json"))

    def _path(self, name: str) -> Path:
        path = Path(self.folder) / name
        if not path.is_file():
            raise StorageError(
                f"there is no split in {self.folder}",
                f"{path} is missing",
                "give the folder of an earlier split: split.folder=data/splits/splits-...",
            )
        return path
