"""A finished run, opened for review."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from moola.encoders.shelf import ROOM, published
from moola.errors import DataError, MoolaError
from moola.labels import POINTER_COLUMNS
from moola.labels.batch_files import read_batch
from moola.labels.events import window_digest
from moola.labels.neighbours import Neighbours
from moola.layout import Layout, read_json
from moola.pipelines.dataset import Dataset
from moola.pipelines.run_artifacts import open_artifacts
from moola.review.neighbours import LabelledSpace, shape_vectors
from moola.review.opinions import Opinions
from moola.review.queue import ReviewQueue, open_queue, readable
from moola.review.reconstruction import reconstruction_band
from moola.review.session import ReviewMaterial
from moola.review.similar import open_embeddings
from moola.review.windows import ShownWindows, no_band

MOST_EMBEDDED = 20_000
"""Windows that go through the encoder before the first page: about 20 s of a small one on two cores."""


def open_material(
    run: Path,
    layout: Layout,
    batch: Path | None = None,
    classes: tuple[str, ...] = (),
    embeddings: Path | None = None,
) -> ReviewMaterial:
    """What a run knows of the windows to review.

    Args:
        run: the run folder; for a batch it need not have come further than its windows and splits.
        layout: where named encoders are.
        batch: table of windows to label; None: review the labels of the run.
        classes: labels to choose from; where the run has labels, theirs come first.
        embeddings: of all windows of the run (`moola.review.similar.open_embeddings`).

    Raises:
        MoolaError: the run or the batch cannot be opened; there is nothing to review or no label to choose.
    """
    inputs = open_artifacts(run)
    needed = [name for name in ("bars", "windows", "splits") if name not in inputs]
    if needed:
        raise DataError(f"{run} has no {', '.join(needed)}", "", f"go on: moola run --config-path {run}")
    data = Dataset.open(inputs)
    known = tuple(dict.fromkeys((*data.classes, *classes)))
    if not known:
        raise DataError(
            "there is no label to choose", f"{run} has no labels", "name them: --classes consolidation,retracement"
        )
    queue = open_queue(run, data.labels) if batch is None else batch_queue(batch, data)
    if not len(queue):
        raise DataError(
            "there is nothing to review", f"{run} has no labels", "`moola labels batch` chooses windows to label"
        )
    opinions = read_opinions(run, known, data.classes, queue)
    if queue.table["agreement"].is_null().all():
        agreement = pl.Series("agreement", opinions.agreement()).fill_nan(None)
        queue = ReviewQueue(queue.table.with_columns(agreement))
    rows = queue.table["row"].to_numpy()
    folder = published(layout.room(ROOM), inputs["encoder"].digest) if "encoder" in inputs else None
    band = reconstruction_band(inputs["encoder"], folder, data) if folder is not None else None
    ids = data.table["window_id"].to_list()
    windows = ShownWindows(data.store, data.windows, ids, pointers_of(data), band or no_band)
    return ReviewMaterial(
        name=run.name if batch is None else f"{run.name}, batch {batch.stem}",
        run_id=run.name,
        classes=known,
        windows=windows,
        queue=queue,
        opinions=opinions,
        space=labelled_space(data, rows, folder) if batch is None else None,
        batch="" if batch is None else batch.stem,
        embedded=None if embeddings is None else open_embeddings(embeddings, data.windows, ids, run),
        labels=dict(zip(data.labels["window_id"], data.labels["label"], strict=True)),
    )


def batch_queue(path: Path, data: Dataset) -> ReviewQueue:
    """The windows of a batch in its order, with the labels that the run has for them by now.

    Args:
        path: table of the batch (`moola.labels.batch_files.find_batch`).
        data: of the run.

    Raises:
        DataError: it names windows that the run does not have, or whose bars are not those that were chosen.
    """
    table = read_batch(path.parent, path.stem)
    here = table.join(data.table.select("window_id", found="row"), on="window_id", how="left", maintain_order="left")
    way_out = "name the run that the batch was chosen from: moola review RUN --batch NAME"
    strange = here.filter(pl.col("found").is_null() | (pl.col("found") != pl.col("row")))["window_id"]
    if len(strange):
        raise DataError(
            f"{path} names {len(strange)} windows that this run does not have", ", ".join(strange.head(5)), way_out
        )
    bars = data.windows.gather(data.store.values, here["row"].to_numpy(), data.windows.length)
    others = [
        name
        for name, digest, one in zip(here["window_id"], here["window_digest"], bars, strict=True)
        if digest != window_digest(one)
    ]
    if others:
        raise DataError(
            f"{len(others)} of {len(here)} windows of {path} have other bars in this run",
            f"{', '.join(others[:5])}: bars were changed, or are cut differently, since the batch was chosen",
            f"{way_out}; or choose anew: `moola labels batch`",
        )
    known = data.labels.select("window_id", given_label="label")
    return ReviewQueue(here.join(known, on="window_id", how="left", maintain_order="left"))


def read_opinions(run: Path, classes: tuple[str, ...], learned: tuple[str, ...], queue: ReviewQueue) -> Opinions:
    """What the models of a run that are no controls say, out of fold; nothing where none was asked.

    Args:
        run: the run folder.
        classes: labels to choose from.
        learned: those that models know.
        queue: windows in the order of review.

    Raises:
        StorageError: a file of predictions is damaged.
    """
    if not (run / "oof.parquet").exists():
        return Opinions.none(len(queue), classes)
    kinds = read_json(run / "models.json")["models"]
    models = [name for name, kind in kinds.items() if kind["role"] != "control"]
    parts: list[pl.DataFrame] = []
    for path in (run / "oof.parquet", run / "stack.parquet"):
        if path.exists():
            with readable(path):
                needed = ["window_id", "model", "split", *(f"prob_{name}" for name in learned)]
                parts.append(pl.read_parquet(path, columns=needed))
    table = pl.concat(parts).filter(pl.col("split") == "oof")
    models += [name for name in parts[-1]["model"].unique().sort() if name not in kinds]
    return Opinions.of(table, models, learned, queue.positions)


def pointers_of(data: Dataset) -> np.ndarray | None:
    """First and last marked bar of every window, int64 [n_windows, 2], -1 where nothing is marked; None without any."""
    if POINTER_COLUMNS[0] not in data.table.columns:
        return None
    return data.table.select(pl.col(POINTER_COLUMNS).fill_null(-1)).to_numpy().astype(np.int64)


def labelled_space(data: Dataset, rows: np.ndarray, folder: Path | None) -> LabelledSpace:
    """Where the windows of the queue lie: in the space of the run's encoder, else by the shape of their bars.

    Args:
        data: of the run.
        rows: window numbers, in the order of the queue.
        folder: of the named encoder; None where the run has none.
    """
    vectors, name = None, "by shape"
    if folder is not None and len(rows) <= MOST_EMBEDDED:
        try:
            vectors, name = embedded(folder, data, rows), f"by {folder.name}"
        except MoolaError:
            vectors = None  # the encoder was changed or fits no more; `moola encoders ls` tells
    if vectors is None:
        vectors = shape_vectors(data.windows.gather(data.store.values, rows))
    index = Neighbours.open(vectors, data.table["window_id"].gather(rows).to_list())
    return LabelledSpace(vectors, np.asarray(data.windows.starts)[rows], data.windows.reach, index, name)


def embedded(folder: Path, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Embeddings of windows by a named encoder, float32 [n, E].

    Args:
        folder: of the encoder.
        data: of a run whose windows it learned from.
        rows: window numbers.

    Raises:
        MoolaError: the encoder was changed, or does not take these windows.
    """
    import torch

    from moola.encoders.loading import load_encoder
    from moola.features.summary import summary_spans
    from moola.models.encoder import InputShape
    from moola.training.embedding import embed

    ready = load_encoder(str(folder))
    windows = data.windows
    shape = InputShape(len(ready.record.inputs), windows.visible, summary_spans(windows.visible, windows.zone))
    bars = torch.from_numpy(windows.gather(data.store.values, rows))
    vectors = embed(ready.for_windows(shape).encoder, ready.transform.apply(bars, data.store.channels).numpy(), "cpu")
    return vectors.astype(np.float32)
