"""The data layer: windows a second to the model, time and memory to the first batch, ingest, split with its proof."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from measurement import Row, benchmark_main, compare, seconds
from moola.data.bar_store import BarStore
from moola.data.device_batches import DeviceBatches
from moola.data.splits import SPLITTERS
from moola.data.splits.proof import prove
from moola.data.window_index import WindowConfig, WindowIndex

LENGTH, CHANNELS, BATCH = 105, 4, 512
N_WINDOWS = 2_200_000
MB = 1e6


class WindowDataset(Dataset):
    """One window at a time out of an array, the way a user would write it."""

    def __init__(self, values: torch.Tensor, starts: np.ndarray) -> None:
        self.values, self.starts = values, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> torch.Tensor:
        start = int(self.starts[number])
        return self.values[start : start + LENGTH]


class BatchedWindowDataset(WindowDataset):
    """The same with a whole batch fetched at once, which `DataLoader` asks for where it is there."""

    def __getitems__(self, numbers: list[int]) -> torch.Tensor:
        first = torch.from_numpy(self.starts[numbers])
        return self.values[first[:, None] + torch.arange(LENGTH)]


def measure(quick: bool) -> list[Row]:
    """(a) windows a second, (b) open to first batch, (c) ingest, (d) split and proof."""
    with tempfile.TemporaryDirectory() as folder:
        return [*loading(quick), *opening(quick, Path(folder)), *ingesting(quick, Path(folder))]


def loading(quick: bool) -> Iterator[Row]:
    """One shuffled epoch over overlapping windows on the CPU, nothing done with the batches."""
    n, n_whole = (100_000, 100_000) if quick else (1_000_000, 200_000)
    values = torch.randn(n + LENGTH - 1, CHANNELS)
    starts = np.arange(n)

    def ours(n_windows: int) -> Callable[[], float]:
        batches = DeviceBatches(values, starts[:n_windows], LENGTH, lambda bars: bars, BATCH, seed=0)
        return lambda: n_windows / seconds(lambda: sum(len(batch.index) for batch in batches))

    def row(name: str, target: float | None, epoch: Callable[[], object], n_windows: int = n) -> Row:
        return compare(
            f"shuffled epoch of {n_windows:,} windows of {LENGTH}x{CHANNELS} on the CPU",
            "windows/s",
            ours(n_windows),
            lambda: n_windows / seconds(epoch),
            name,
            higher_is_better=True,
            target=target,
            repeats=3 if quick else 7,
        )

    def loader(workers: int) -> DataLoader:
        return DataLoader(WindowDataset(values, starts), batch_size=BATCH, shuffle=True, num_workers=workers)

    def shuffled(array: torch.Tensor) -> int:
        batches = (array[index] for index in torch.randperm(len(array)).split(BATCH))
        return sum(len(batch) for batch in batches)  # holds a batch while the next one is made, as all of them do

    batched = BatchedWindowDataset(values, starts)
    by_batch = DataLoader(batched, batch_size=BATCH, shuffle=True, collate_fn=lambda batch: batch)
    for workers in (0, 2):
        per_item = loader(workers)
        name = f"Dataset + DataLoader, {workers} workers"
        yield row(name, 5.0, lambda per_item=per_item: sum(len(batch) for batch in per_item))
    yield row("Dataset with __getitems__ + DataLoader", 3.0, lambda: sum(len(batch) for batch in by_batch))
    unfolded = values.unfold(0, LENGTH, 1)
    yield row("bare loop: unfold once, index with a shuffled batch", 0.95, lambda: shuffled(unfolded))
    whole = unfolded[:n_whole].transpose(1, 2).contiguous()
    size = f"{whole.nbytes / MB:,.0f} MB; {N_WINDOWS:,} windows would take {N_WINDOWS * whole[0].nbytes / MB:,.0f} MB"
    yield row(f"bare loop over a materialised array ({size})", None, lambda: shuffled(whole), n_whole)


def opening(quick: bool, folder: Path) -> Iterator[Row]:
    """2.2 million windows out of as many bars on disk: to the first batch in a fresh process; split and proof."""
    n_bars = N_WINDOWS + LENGTH - 1
    store_folder = folder / "store"
    child("make_store", str(store_folder), str(n_bars))
    runs = Runs("first_batch", str(store_folder))
    bars_mb = n_bars * CHANNELS * 4 / MB
    what = f"{N_WINDOWS:,} windows of {LENGTH}x{CHANNELS}"
    repeats = 3 if quick else 7
    yield compare(
        f"{what}: from the store on disk to the first shuffled batch",
        "s",
        lambda: runs.once().wall_s,
        None,
        None,
        higher_is_better=False,
        target=1.0,
        repeats=repeats,
    )
    yield absolute(
        f"{what}: peak anonymous memory to the first batch, above that of the imports",
        "MB",
        [run.extra_mb for run in runs.done[1:]],
        round(bars_mb + 200),
    )
    split = split_and_proof(BarStore.open(store_folder))
    name = f"{what}: sealed test, five purged folds over every training window, and the proof"
    yield compare(name, "s", lambda: seconds(split), None, None, higher_is_better=False, target=2.0, repeats=repeats)


def split_and_proof(store: BarStore) -> Callable[[], object]:
    """Everything between the windows and a proven split."""
    windows = WindowIndex.build(store, WindowConfig(length=LENGTH))
    border = store.timestamps[int(store.n_bars * 0.8)].astype("datetime64[us]").astype("datetime64[D]")
    section = {"name": "purged_kfold", "test_from": str(border), "n_folds": 5, "embargo_bars": LENGTH}
    splitter = SPLITTERS.build_section(section, "split")
    labels = np.zeros(len(windows), dtype=np.int64)

    def split() -> dict[str, Any]:
        spans = windows.spans(store)
        part = splitter.spans(store, spans)
        rows = np.flatnonzero(part == "train")
        folds = splitter.folds(store, spans[rows], labels[rows])
        return prove(splitter, store, windows, spans, part, rows, folds)

    return split


def ingesting(quick: bool, folder: Path) -> Iterator[Row]:
    """Synthetic minute bars out of Parquet: audit, store and windows beside polars' own reading of the file."""
    n_bars = 5_000_000 if quick else 100_000_000
    file = folder / "synthetic.parquet"
    child("make_parquet", str(file), str(n_bars))
    store, copy = folder / "ingested", folder / "copy.arrow"
    ours = Runs("ingest_and_window", str(file), str(store), after=lambda: shutil.rmtree(store))
    judged = Runs("validate_bars", str(file), str(folder / "quarantine.csv"))
    scanned = Runs("scan_with_polars", str(file))
    what = f"{n_bars:,} synthetic minute bars out of a Parquet file of {file.stat().st_size / MB:,.0f} MB"
    scan = "polars, scan_parquet and the sum of every column, streaming"
    references = {
        scan: (scanned, 0.5),
        "polars, read_parquet into memory": (Runs("read_with_polars", str(file)), None),
        "polars, scan_parquet and sink_ipc to disk, streaming": (
            Runs("copy_with_polars", str(file), str(copy), after=copy.unlink),
            None,
        ),
    }

    def rate(work: str, mine: Runs, name: str, reference: Runs, target: float | None) -> Row:
        return compare(
            f"{what}: {work}",
            "bars/s",
            lambda: n_bars / mine.once().wall_s,
            lambda: n_bars / reference.once().wall_s,
            name,
            higher_is_better=True,
            target=target,
            repeats=3,
        )

    for name, (reference, target) in references.items():
        yield rate("ingest, validate and window", ours, name, reference, target)
    yield rate("validate alone", judged, scan, scanned, None)
    peaks = absolute(f"{what}: peak anonymous memory of the process", "MB", [run.peak_mb for run in ours.done], 2000.0)
    yield peaks
    for name, (reference, _) in references.items():
        other = [run.peak_mb for run in reference.done]
        yield beside(replace(peaks, target=None), name, other)


@dataclass(frozen=True)
class Run:
    """One child process: seconds of its work, largest anonymous memory, and what of that its work added."""

    wall_s: float
    peak_mb: float
    extra_mb: float


@dataclass
class Runs:
    """Runs of one task, all kept, with what is done after each outside the clock."""

    task: str
    arguments: tuple[str, ...]
    done: list[Run]
    after: Callable[[], object]

    def __init__(self, task: str, *arguments: str, after: Callable[[], object] = lambda: None) -> None:
        self.task, self.arguments, self.done, self.after = task, arguments, [], after

    def once(self) -> Run:
        """Run it once more."""
        told, peak = child(self.task, *self.arguments)
        self.after()
        self.done.append(Run(told["wall_s"], peak / MB, (peak - told["anonymous_bytes_before"]) / MB))
        return self.done[-1]


def child(task: str, *arguments: str) -> tuple[dict[str, Any], int]:
    """What a task of `data_tasks` told, and the largest anonymous memory that was seen while it ran, in bytes."""
    program = [sys.executable, str(Path(__file__).with_name("data_tasks.py")), task, *arguments]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        with suppress(OSError):  # it may just have ended
            found = re.search(r"^RssAnon:\s+(\d+) kB", status.read_text(), re.MULTILINE)
            peak = max(peak, int(found.group(1)) * 1024 if found else 0)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.005)
    told, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{task} failed:\n{errors}")
    return (json.loads(told) if told else {}), peak


def absolute(work: str, unit: str, figures: list[float], target: float) -> Row:
    """A row with no reference: the target is of the figure itself."""
    spread = {"ours": (min(figures), max(figures))}
    return Row(work, unit, statistics.median(figures), None, None, False, None, target, spread)


def beside(row: Row, name: str, figures: list[float]) -> Row:
    """The same row beside a reference."""
    middle = statistics.median(figures)
    spread = {**row.spread, "reference": (min(figures), max(figures))}
    ratio = row.ours / middle if row.ours is not None else None
    return replace(row, reference=middle, reference_name=name, ratio=ratio, spread=spread)


if __name__ == "__main__":
    raise SystemExit(benchmark_main(str(__doc__), measure))
