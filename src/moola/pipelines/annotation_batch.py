"""Drawing a batch of windows to annotate from what a run knows: its windows, its encoder, its classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.config import RunConfig
from moola.features import Fittable, Transform
from moola.features.candles import OHLC
from moola.labels.batch_files import BATCH_PLACE, batches_locked, handed_out, next_name, write_batch
from moola.labels.batches import BatchConfig, ChosenWindows, normalised_entropy, thirds, touched
from moola.labels.blacklist import touches_blacklisted
from moola.labels.events import LOG_PLACE, LabelLog, now, window_digest
from moola.labels.folding import WindowState, fold
from moola.labels.neighbours import Standardisation
from moola.layout import Layout, read_json
from moola.models import FitResources, LabelledWindows
from moola.models.saved import load_model
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.setup import EncoderSetup, evenly_spaced
from moola.pipelines.stages.finetune import saved_folder
from moola.training.schedule import TrainerSection

_SESSIONS = ("early", "middle", "late")
_VOLATILITIES = ("calm", "usual", "wild")
_DAY_US = 86_400_000_000
_PROBE_C = 0.1
"""Inverse strength of the probe's penalty, as `moola.training.probe.EncoderProbe` has it."""


@dataclass(frozen=True)
class DrawnBatch:
    """What `draw_batch` did.

    Attributes:
        name: of the batch.
        path: of its table.
        table: its windows.
        told: how they were chosen, as the manifest says it.
    """

    name: str
    path: Path
    table: pl.DataFrame
    told: Mapping[str, Any]


def draw_batch(
    inputs: Mapping[str, Artifact], config: RunConfig, layout: Layout, choice: BatchConfig, run_id: str = ""
) -> DrawnBatch:
    """Choose the next windows to annotate and write them down.

    Args:
        inputs: artifacts of a run that came as far as ``splits``. With ``encoder`` windows are compared in its space,
            else by simple features; with ``classifier`` that one says where it is unsure, else a linear probe on the
            labels there are, else nobody.
        config: of that run.
        layout: where batches and the log of decisions lie.
        choice: how many, and how.
        run_id: of the run, for the manifest.

    Raises:
        DataError: no window is left to annotate.
    """
    folder = layout.data / BATCH_PLACE
    with batches_locked(folder):
        drawing = _Drawing(inputs, config, layout)
        rows = evenly_spaced(drawing.free, choice.pool) if len(drawing.free) else drawing.free
        spaces = _Spaces.open(drawing, rows) if len(rows) else _Spaces.empty()
        strata, names = drawing.strata(rows)
        spans = drawing.data.spans[rows]
        chosen = choice.choose(spans, strata, spaces.vectors, spaces.known, spaces.uncertainty)
        table = drawing.table(rows, chosen, names, spaces)
        told = {
            "run_id": run_id,
            "made": now(),
            "choice": dataclasses.asdict(choice),
            "compared_by": spaces.compared_by,
            "uncertainty_by": spaces.uncertainty_by,
            "asked": choice.size,
            "looked_at": len(rows),
            "free_windows": len(drawing.free),
            "labelled_windows": len(drawing.known),
            "bars_digest": drawing.data.store.digest,
        }
        name = next_name(folder)
        path = write_batch(folder, name, table, told, drawing.data.windows.zone)
    return DrawnBatch(name, path, table, told)


@dataclass(frozen=True)
class _Drawing:
    """What is known of the windows of a run."""

    inputs: Mapping[str, Artifact]
    config: RunConfig
    layout: Layout

    @cached_property
    def data(self) -> Dataset:
        return Dataset.open(self.inputs)

    @cached_property
    def setup(self) -> EncoderSetup:
        return EncoderSetup.from_config(self.config)

    @cached_property
    def states(self) -> dict[str, WindowState]:
        """What people decided so far."""
        return fold(LabelLog(self.layout.data / LOG_PLACE).read().events)

    @cached_property
    def labelled(self) -> np.ndarray:
        """Windows that have a label or were decided about, by number.

        Labels of a formula that were not given count as unknown: where a formula labels, giving them is tried out.
        """
        from_rule = read_json(self.inputs["windows"].path("labels.json"))["from_rule"]
        known = [name for name, state in self.states.items() if state.annotators]
        of_people = pl.col("true_label").is_not_null() if not from_rule else pl.lit(False)
        table = self.data.table
        rows = table.filter(of_people | pl.col("window_id").is_in(known))["row"].to_numpy()
        return np.union1d(rows, self.data.labels["row"].to_numpy()).astype(np.int64)

    @cached_property
    def known(self) -> np.ndarray:
        """Those of them that lie in training, by number: what is sealed has no say in which windows come next."""
        return np.intersect1d(self.labelled, self.data.rows_of("train"))

    @cached_property
    def free(self) -> np.ndarray:
        """Training windows that share no bar with one that is labelled, blacklisted or in a batch, by number."""
        data = self.data
        starts = np.asarray(data.windows.starts)[self.labelled]
        intervals = np.concatenate([np.stack([starts, starts + data.windows.reach], axis=1), self._handed_out()])
        taken = touched(data.windows, intervals)
        taken |= touches_blacklisted(self.states, data.table["window_id"], data.spans, data.store)
        return np.setdiff1d(data.rows_of("train"), np.flatnonzero(taken))

    def _handed_out(self) -> np.ndarray:
        """Bars of the windows of all batches, int64 [m, 2]; by time, so that bars that came before move nothing."""
        store = self.data.store
        found: list[tuple[int, int]] = []
        for row in handed_out(self.layout.data / BATCH_PLACE).iter_rows(named=True):
            if row["series"] not in store.series:
                continue
            number = store.series.index(row["series"])
            first, past = int(store.offsets[number]), int(store.offsets[number + 1])
            bars = (row["raw_start_idx"], row["raw_end_idx"] + 1)
            if not store.independent:
                times = np.asarray(store.timestamps[first:past])
                span = [np.datetime64(row[name].replace(tzinfo=None), "us").astype(np.int64) for name in _TIMES]
                bars = (int(np.searchsorted(times, span[0])), int(np.searchsorted(times, span[1], side="right")))
            found.append((first + bars[0], first + bars[1]))
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def strata(self, rows: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Number of the stratum of each window, and its third of the day and of volatility."""
        data = self.data
        late = data.spans.first_time[rows] % _DAY_US
        session = np.zeros(len(rows), np.int64) if data.store.independent or not len(rows) else thirds(late)
        wild = thirds(volatility(data, rows)) if len(rows) else session
        return session * len(_VOLATILITIES) + wild, (session, wild)

    def table(
        self, rows: np.ndarray, chosen: ChosenWindows, strata: tuple[np.ndarray, np.ndarray], spaces: _Spaces
    ) -> pl.DataFrame:
        """The windows chosen, in their order (`moola.schemas.annotation_batch`)."""
        from moola import schemas
        from moola.schemas import check

        data = self.data
        picked = rows[chosen.rows]
        starts = np.asarray(data.windows.starts)[picked] - data.store.offsets[data.spans.series[picked]]
        session, wild = (part[chosen.rows] for part in strata)
        unsure = None if spaces.uncertainty is None else spaces.uncertainty[chosen.rows]
        bars = data.windows.gather(data.store.values, picked, data.windows.length)
        table = data.table[picked.tolist()].select("window_id", "row", "series", "first_time", "last_time")
        table = table.with_columns(
            pl.col("row").cast(pl.Int64),
            pl.Series("order", np.arange(1, len(picked) + 1), dtype=pl.Int64),
            pl.Series("raw_start_idx", starts, dtype=pl.Int64),
            pl.Series("raw_end_idx", starts + data.windows.length - 1, dtype=pl.Int64),
            pl.Series("session", [_SESSIONS[number] for number in session], dtype=pl.String),
            pl.Series("volatility", [_VOLATILITIES[number] for number in wild], dtype=pl.String),
            pl.Series("uncertainty", [None] * len(picked) if unsure is None else unsure.clip(0, 1), dtype=pl.Float64),
            pl.Series("distance", chosen.distances.clip(0, 2), dtype=pl.Float64),
            pl.Series("window_digest", [window_digest(one) for one in bars], dtype=pl.String),
        )
        schema = schemas.annotation_batch()
        return check(table.select(list(schema.columns)), schema, "the batch", "this is a defect")


_TIMES = ("first_time", "last_time")


@dataclass(frozen=True)
class _Spaces:
    """Candidates and labelled windows as points, and how unsure a model is of the former.

    Attributes:
        vectors: float32 [n, E], of length 1.
        known: the same of labelled training windows.
        uncertainty: [n], 0 to 1; None where nobody can say.
        compared_by: what the vectors are.
        uncertainty_by: who is unsure; empty: nobody was asked.
    """

    vectors: np.ndarray
    known: np.ndarray
    uncertainty: np.ndarray | None
    compared_by: str
    uncertainty_by: str

    @classmethod
    def empty(cls) -> _Spaces:
        nothing = np.zeros((0, 1), dtype=np.float32)
        return cls(nothing, nothing, None, "", "")

    @classmethod
    def open(cls, drawing: _Drawing, rows: np.ndarray) -> _Spaces:
        data, setup, encoder = drawing.data, drawing.setup, drawing.inputs.get("encoder")
        transform = setup.encoder_transform(encoder) if encoder else _own_transform(setup, data, rows)
        windows, labelled = (_gathered(data, some, transform) for some in (rows, drawing.known))
        trainer = TrainerSection.from_config(drawing.config.trainer).finetune
        resources = setup.resources(setup.seeds[0], data, trainer, encoder)
        raw = [_vectors(data, transform, some, resources, encoder) for some in (windows, labelled)]
        scale = Standardisation.of(raw[0])
        vectors, known = (scale.unit(some) for some in raw)
        classifier = drawing.inputs.get("classifier")
        if classifier is not None:
            said = np.mean(
                [
                    load_model(classifier.folder / saved_folder(seed), resources).predict_proba(windows)
                    for seed in setup.seeds
                ],
                axis=0,
            )
            by = "classifier"
        else:
            said, by = _probed(drawing, vectors, known), "probe"
        uncertainty = None if said is None else normalised_entropy(said)
        return cls(vectors, known, uncertainty, "encoder" if encoder else "summary", "" if said is None else by)


def _own_transform(setup: EncoderSetup, data: Dataset, rows: np.ndarray) -> Transform:
    """The transform of the run without an encoder; one that is to be fitted is, on the candidates."""
    return setup.fitted_transform(data, rows) if isinstance(setup.transform, Fittable) else setup.transform


def _gathered(data: Dataset, rows: np.ndarray, transform: Transform) -> LabelledWindows:
    """Windows by number, none of whose labels are known."""
    bars = data.windows.gather(data.store.values, rows)
    labels = np.full(len(rows), -1, dtype=np.int64)
    return data.with_inputs(LabelledWindows(bars, bars[..., :0], labels, max(len(data.classes), 1)), transform)


def _vectors(
    data: Dataset, transform: Transform, windows: LabelledWindows, resources: FitResources, encoder: Artifact | None
) -> np.ndarray:
    """Embeddings of the run's encoder, or simple features: [n, E]."""
    if encoder is None:
        return data.summary(transform, windows.inputs)
    from moola.training.embedding import embed
    from moola.training.probe import build_encoder

    network, _ = build_encoder(windows, "pretrained", resources)
    if not len(windows):
        return np.zeros((0, network.embedding_width), dtype=np.float32)
    return embed(network, windows.inputs, resources.device)


def _probed(drawing: _Drawing, vectors: np.ndarray, known: np.ndarray) -> np.ndarray | None:
    """What a linear probe on the given labels says of the candidates, [n, K]; None without two classes of labels."""
    from moola.models.classical import linear_probe

    given = drawing.data.labels
    if given["label"].n_unique() < 2:
        return None
    place = np.searchsorted(drawing.known, given["row"].to_numpy())
    probe = linear_probe(_PROBE_C).fit(known[place], drawing.data.class_numbers(given["label"]))
    return probe.predict_proba(vectors)


def volatility(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Mean of log high - log low over the visible bars, float64 [n].

    Without candles the mean size of a step, in units of each channel's own spread.
    """
    bars = data.windows.gather(data.store.values, rows).astype(np.float64)
    channels = data.store.channels
    if set(OHLC) <= set(channels):
        high, low = (bars[..., channels.index(name)] for name in ("high", "low"))
        return np.log(high / low).mean(axis=1)
    spread = bars.std(axis=(0, 1))
    steps = np.abs(np.diff(bars, axis=1)).mean(axis=1)
    return np.divide(steps, spread, out=np.zeros_like(steps), where=spread > 0).mean(axis=1)
