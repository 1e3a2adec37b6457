"""Every window of a configuration through a named encoder, into a file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from torch import Tensor

from moola.config import RunConfig
from moola.data.bar_store import BarStore
from moola.data.device_batches import DeviceBatches
from moola.data.gathering import place_bars
from moola.data.window_index import WindowIndex
from moola.encoders.loading import load_encoder
from moola.encoders.shelf import ROOM
from moola.encoders.vector_files import check_suffix, open_vectors
from moola.encoders.windows import check_channels, told_difference
from moola.features import Transform
from moola.features.summary import summary_spans
from moola.layout import Layout
from moola.models.encoder import InputShape
from moola.pipelines.artifacts import Artifact
from moola.pipelines.assembly import assemble
from moola.pipelines.context import Context
from moola.pipelines.dataset import open_index
from moola.pipelines.events import Event, EventLog
from moola.pipelines.pipeline import Pipeline
from moola.training.device import choose_device
from moola.training.embedding import embeddings

BESIDE = ("window_id", "series", "first_time", "last_time")
"""Columns of the windows table that stand beside the numbers in Parquet."""
_BATCH = {"cpu": 256, "cuda": 8192}
"""Windows at once; on a CPU larger batches leave its cache: half as fast at 512 for a BiLSTM of 64 units."""


@dataclass(frozen=True)
class Embedded:
    """What `embed_windows` did.

    Attributes:
        name: of the encoder.
        seed: whose weights.
        n_windows: rows written.
        n_bars: bars a window.
        difference: in which way the windows differ from those that the encoder learned from; empty if in none.
        width: numbers a row, E.
        device: where it was computed.
        seconds: from the first batch to the file on disk.
        path: the file.
    """

    name: str
    seed: int
    n_windows: int
    n_bars: int
    difference: str
    width: int
    device: str
    seconds: float
    path: Path

    @property
    def windows_per_s(self) -> float:
        """Windows a second, writing included."""
        return self.n_windows / max(self.seconds, 1e-9)


def embed_windows(
    config: RunConfig,
    name: str,
    path: Path,
    *,
    seed: int | None = None,
    batch_size: int | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    listener: Callable[[Event], None] | None = None,
) -> Embedded:
    """Embed every window that ``data`` of a configuration gives; labels are not asked for.

    Args:
        config: of the windows; its own transform, encoder and objective have no say.
        name: of the encoder, or the folder of one.
        path: file to write; see `moola.encoders.vector_files.open_vectors`.
        seed: which weights; None: the first.
        batch_size: windows at once; None: what suits the device.
        device: None: that of `config`.
        listener: called with every event.

    Raises:
        DataError: the windows do not fit the encoder.
        MoolaError: the encoder, its weights or the device are not there; see `load_encoder` and `choose_device`.
    """
    check_suffix(path)
    layout = Layout(Path(config.paths.data).absolute(), Path(config.paths.artifacts).absolute())
    place = choose_device(device or config.device)
    ready = load_encoder(name, seed, layout.room(ROOM))  # what is wrong with it is said before anything is computed
    events = EventLog()
    if listener is not None:
        events.listen(listener)
    artifacts = _windows(config, layout, events)
    store, windows = BarStore.open(artifacts["bars"].folder), open_index(artifacts["windows"])
    check_channels(ready.record, ready.transform, store.channels)
    shape = InputShape(len(ready.record.inputs), windows.visible, summary_spans(windows.visible, windows.zone))
    encoder = ready.for_windows(shape).encoder.to(place)
    batches = _batches(store, windows, ready.transform, place, batch_size or _BATCH[place])
    clock, done = time.monotonic(), 0
    with open_vectors(path, len(windows), encoder.embedding_width, _names(artifacts["windows"])) as write:
        for vectors in embeddings(encoder, batches):
            write(np.asarray(vectors))
            done += len(vectors)
            events.emit("progress", stage="embed", done=done, total=len(windows), what="windows embedded")
    return Embedded(
        ready.record.name,
        ready.seed,
        len(windows),
        windows.visible,
        told_difference(ready.record, encoder, shape),
        encoder.embedding_width,
        place,
        time.monotonic() - clock,
        path,
    )


def _windows(config: RunConfig, layout: Layout, events: EventLog) -> Mapping[str, Artifact]:
    """Bars and windows as the pipeline makes them; the same for every task, so none is asked for labels."""
    config = dataclasses.replace(config, task={"labels": "unlabelled"}, encoder_from=None)
    stages = assemble(config, "windows").stages
    return Pipeline(stages).run(Context("", layout, events, force=config.force)).artifacts


def _batches(
    store: BarStore, windows: WindowIndex, transform: Transform, device: str, batch_size: int
) -> DeviceBatches:
    """Every window once, in the order of the windows table."""
    values = place_bars(store.values, device)

    def apply(bars: Tensor) -> Tensor:
        return transform.apply(bars, store.channels)

    return DeviceBatches(values, windows.starts, windows.visible, apply, batch_size, seed=0, shuffle=False)


def _names(windows: Artifact) -> Callable[[int, int], pl.DataFrame]:
    """Rows of the windows table, read from the file when they are asked for."""
    table = pl.scan_parquet(windows.path("windows.parquet")).select(BESIDE)
    return lambda first, past: table.slice(first, past - first).collect()
