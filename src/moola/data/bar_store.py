"""All bars in one contiguous array, memory-mapped and read-only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.config import digest_json
from moola.errors import StorageError
from moola.layout import read_json

_ROWS_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class BarStore:
    """Bars of all series, one after the other; inside a series time goes forward.

    Attributes:
        values: float32 [n_bars, n_channels], read-only.
        timestamps: int64 [n_bars], microseconds since 1970 UTC; bar number inside the case where cases have no time.
        offsets: int64 [n_series + 1]; series i is bars ``offsets[i]`` up to ``offsets[i + 1]``.
        series: names, [n_series].
        series_split: "train", "test" or None for each series.
        series_label: label of the whole series or None.
        channels: channel names, [n_channels].
        independent: series are separate cases, not stretches of one calendar.
        digest: SHA-256 of everything above (`StoreDigest`); empty for a store that was never written.
    """

    values: np.ndarray
    timestamps: np.ndarray
    offsets: np.ndarray
    series: tuple[str, ...]
    series_split: tuple[str | None, ...]
    series_label: tuple[str | None, ...]
    channels: tuple[str, ...]
    independent: bool
    digest: str = ""

    @property
    def n_bars(self) -> int:
        """Bars in all series."""
        return len(self.values)

    def calendar(self) -> np.ndarray:
        """int64 [n_times]: every time at which some series has a bar, ascending; no copy where there is one series."""
        return self.timestamps if len(self.series) == 1 else np.unique(self.timestamps)

    @classmethod
    def open(cls, folder: Path) -> BarStore:
        """Open a saved store; nothing is read before it is used.

        Raises:
            StorageError: a file is missing or does not fit the others.
        """
        head = read_json(folder / "bars.json")
        try:
            values = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
            timestamps = np.load(folder / "timestamps.npy", mmap_mode="r", allow_pickle=False)
            store = cls(
                values=values,
                timestamps=timestamps,
                offsets=np.asarray(head["offsets"], dtype=np.int64),
                series=tuple(head["series"]),
                series_split=tuple(head["series_split"]),
                series_label=tuple(head["series_label"]),
                channels=tuple(head["channels"]),
                independent=head["independent"],
                digest=head["digest"],
            )
        except KeyError as error:
            raise _not_opened(folder, f"bars.json has no {error}") from error
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise _not_opened(folder, str(error)) from error
        bars = {"values": len(values), "timestamps": len(timestamps), "offsets": int(store.offsets[-1])}
        if len(set(bars.values())) > 1 or values.shape[1:] != (len(store.channels),):
            raise StorageError(
                f"the bars in {folder} do not fit together",
                f"bars a file: {bars}; channels: {values.shape[1:]} for {len(store.channels)} names",
                "delete the folder and run again",
            )
        return store

    def verify(self) -> None:
        """Read every bar and compare with the digest that was taken while they were written.

        Raises:
            StorageError: they are not what was written.
        """
        content = StoreDigest()
        for number, name in enumerate(self.series):
            first, end = int(self.offsets[number]), int(self.offsets[number + 1])
            for start in range(first, end, _ROWS_HASHED_AT_ONCE):
                rows = slice(start, min(start + _ROWS_HASHED_AT_ONCE, end))
                content.update(name, self.values[rows], self.timestamps[rows])
        if content.total(self.series, self.series_split, self.series_label, self.channels, self.independent) != (
            self.digest
        ):
            raise StorageError(
                "the bars are not what was written",
                "their SHA-256 differs from the one in bars.json",
                "ingest them again",
            )


class StoreDigest:
    """SHA-256 of a store, taken series by series, so that it does not depend on the order in which rows came."""

    def __init__(self) -> None:
        self._values: dict[str, hashlib._Hash] = {}
        self._times: dict[str, hashlib._Hash] = {}

    def update(self, series: str, values: np.ndarray, timestamps: np.ndarray) -> None:
        """Add the next bars of a series: float32 [n, n_channels] and int64 [n], both contiguous."""
        if series not in self._values:
            self._values[series], self._times[series] = hashlib.sha256(), hashlib.sha256()
        self._values[series].update(values.data)
        self._times[series].update(timestamps.data)

    def total(
        self,
        series: tuple[str, ...],
        series_split: tuple[str | None, ...],
        series_label: tuple[str | None, ...],
        channels: tuple[str, ...],
        independent: bool,
    ) -> str:
        """Digest (hex) of all series in the order given, with what is known of them."""
        content = [(self._values[name].hexdigest(), self._times[name].hexdigest()) for name in series]
        rows = list(zip(series, series_split, series_label, content, strict=True))
        return digest_json({"channels": list(channels), "independent": independent, "series": rows})


def times(microseconds: np.ndarray) -> pl.Series:
    """int64 microseconds as UTC times."""
    return pl.Series(microseconds).cast(pl.Datetime("us", "UTC"))


def _not_opened(folder: Path, why: str) -> StorageError:
    return StorageError(f"the bars in {folder} cannot be opened", why, "delete the folder and run again")
