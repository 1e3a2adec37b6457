"""All bars in one contiguous array, memory-mapped and read-only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.data.sources import Bars
from moola.errors import StorageError
from moola.layout import read_json, replace_atomically, write_text


@dataclass(frozen=True)
class BarStore:
    """Bars of all series, one after the other.

    Attributes:
        values: float32 [n_bars, n_channels], read-only.
        timestamps: int64 [n_bars], microseconds since 1970 UTC; bar number inside the case where cases have no time.
        offsets: int64 [n_series + 1]; series i is bars ``offsets[i]`` up to ``offsets[i + 1]``.
        series: names, [n_series].
        series_split: "train", "test" or None for each series.
        series_label: label of the whole series or None.
        channels: channel names, [n_channels].
        independent: series are separate cases, not stretches of one calendar.
    """

    values: np.ndarray
    timestamps: np.ndarray
    offsets: np.ndarray
    series: tuple[str, ...]
    series_split: tuple[str | None, ...]
    series_label: tuple[str | None, ...]
    channels: tuple[str, ...]
    independent: bool

    @property
    def n_bars(self) -> int:
        """Bars in all series."""
        return len(self.values)

    def steps(self) -> np.ndarray:
        """int64 [n_bars]: position of each bar on the calendar of all distinct times.

        Series that trade on the same days share positions, so purge and embargo can be counted in bars across them.
        """
        return np.unique(self.timestamps, return_inverse=True)[1].astype(np.int64)

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
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(
                f"the bars in {folder} cannot be opened", str(error), "delete the folder and run again"
            ) from error
        bars = {"values": len(values), "timestamps": len(timestamps), "offsets": head["offsets"][-1]}
        if len(set(bars.values())) > 1:
            raise StorageError(
                f"the bars in {folder} do not fit together", f"bars a file: {bars}", "delete the folder and run again"
            )
        return cls(
            values=values,
            timestamps=timestamps,
            offsets=np.asarray(head["offsets"], dtype=np.int64),
            series=tuple(head["series"]),
            series_split=tuple(head["series_split"]),
            series_label=tuple(head["series_label"]),
            channels=tuple(head["channels"]),
            independent=head["independent"],
        )


def save_bars(bars: Bars, folder: Path) -> None:
    """Write ``values.npy``, ``timestamps.npy`` and ``bars.json``; the frame must be grouped by series."""
    names = bars.series["series"].to_list()
    runs = bars.frame.group_by("series", maintain_order=True).len()
    if runs["series"].to_list() != names:
        raise ValueError("bars must come series after series, in the order of the series table")
    _save_array(folder / "values.npy", bars.frame.select(bars.channels).to_numpy().astype(np.float32, order="C"))
    _save_array(folder / "timestamps.npy", bars.frame["timestamp"].dt.epoch("us").to_numpy().astype(np.int64))
    head = {
        "offsets": [0, *runs["len"].cum_sum().to_list()],
        "series": names,
        "series_split": bars.series["split"].to_list(),
        "series_label": bars.series["label"].to_list(),
        "channels": list(bars.channels),
        "independent": bars.independent,
    }
    write_text(folder / "bars.json", json.dumps(head))


def times(microseconds: np.ndarray) -> pl.Series:
    """int64 microseconds as UTC times."""
    return pl.Series(microseconds).cast(pl.Datetime("us", "UTC"))


def _save_array(path: Path, array: np.ndarray) -> None:
    with replace_atomically(path) as handle:
        np.save(handle, array, allow_pickle=False)
