"""The market default: what each idea gives the BiLSTM, fine-tuned beside scratch and beside a random forest.

``--protocol sealed`` (the default) trains on windows that end before 2013 and scores those that start after; it is for
reporting. Choices are made with ``--protocol early`` and ``late``, which know no bar from 2013 on: they learn before
2008 and score 2008 to 2012, or learn from 2005 on and score what ends before.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from measurement import Row, write_rows
from moola.data.bar_store import BarStore
from moola.data.device_batches import DeviceBatches
from moola.data.gathering import shared_tensor
from moola.data.ingestion import ingest
from moola.data.sources.arch_indices import ArchIndices
from moola.data.window_index import WindowConfig, WindowIndex
from moola.evaluation.comparison import compare, estimates
from moola.evaluation.estimates import Estimate
from moola.evaluation.intervals import moving_block_weights
from moola.features.anchored import Anchored
from moola.features.summary import summarise, summary_spans
from moola.labels.planting import LabelDraw
from moola.labels.structure_rule import StructureRule
from moola.models import EncoderConfig, FitResources, LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.classical import LogisticRegression, RandomForest
from moola.models.encoder import InputShape
from moola.models.patch_transformer import PatchTransformer
from moola.pretraining import ObjectiveConfig, WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.pretraining.mixture import Mixture
from moola.pretraining.path_statistics import PathStatistics
from moola.pretraining.structure_labels import StructureLabels
from moola.training.finetuning import FinetunedEncoder
from moola.training.loop import fit
from moola.training.losses import ClassLoss
from moola.training.schedule import FitConfig

VISIBLE, LENGTH, ZONE = 75, 105, (30, 75)
SPANS = summary_spans(VISIBLE, ZONE)
DEFAULT = "the default"
FINETUNING = FitConfig(epochs=30, batch_size=32, lr=2e-3, weight_decay=1e-2)


@dataclass(frozen=True)
class Variant:
    """One step of the ablation."""

    name: str
    transform: Anchored = field(default_factory=Anchored)
    encoder: EncoderConfig = field(default_factory=BiLstm)
    objective: ObjectiveConfig = field(default_factory=MaskedAutoencoder)
    schedule: FitConfig = field(default_factory=lambda: FitConfig(epochs=8, batch_size=256, lr=2e-3))
    finetuned: FinetunedEncoder = field(default_factory=FinetunedEncoder)

    @property
    def scratch(self) -> FinetunedEncoder:
        """The same recipe without pretraining: nothing is frozen, the encoder trains at the full rate."""
        return replace(self.finetuned, init="random", frozen_epochs=0, encoder_lr_factor=1.0)


def ablation() -> Iterator[Variant]:
    """Each step adds to the one before it, up to the default; the last ones put something else in its place."""
    yield (before := Variant("before: 64 units, mean, maximum and last state, masked patches"))
    spans = BiLstm(64, pooling="spans", span_width=32)
    yield (step := replace(before, name="+ context and zone pooled by themselves", encoder=spans))
    yield (step := replace(step, name="+ path statistics for masked patches", objective=PathStatistics()))
    levels = replace(step, transform=Anchored(returns=False), encoder=replace(spans, hidden=32))
    levels = replace(levels, schedule=FitConfig(epochs=12, batch_size=128, lr=2e-3))
    yield (step := replace(levels, name="+ levels alone, 32 units, 12 epochs of batches of 128"))
    smoothed = FinetunedEncoder(frozen_epochs=8, loss=ClassLoss(label_smoothing=0.2))
    yield (step := replace(step, name="+ label smoothing .2, 8 frozen epochs", finetuned=smoothed))
    mixed = replace(spans, hidden=32, mixing=32)
    relations = PathStatistics(n_spans=3, relations_weight=1.0)
    yield (step := replace(step, name="+ parts mixed, relations of neighbours", encoder=mixed, objective=relations))
    shown = {"name": "masked_autoencoder", "weight": 0.1, "variance_weight": 0.0}
    both = Mixture(({"name": "path_statistics", "n_spans": 3, "relations_weight": 1.0}, shown))
    yield replace(step, name=f"{DEFAULT}: + masked patches with a weight of .1", objective=both)
    yield replace(step, name="the same with masked patches alone", objective=MaskedAutoencoder())
    yield replace(step, name="the same with path statistics alone", objective=PathStatistics())
    yield replace(step, name="the same with structure labels alone", objective=StructureLabels())
    patches = PatchTransformer(patch_bars=5, width=64, layers=2, heads=4)
    long = FitConfig(epochs=30, batch_size=256, lr=1e-3)
    yield replace(before, name="patch transformer, masked patches, 30 epochs", encoder=patches, schedule=long)


@dataclass(frozen=True)
class Market:
    """The bars of both indices, their windows and who plays which part."""

    store: BarStore
    windows: WindowIndex
    candidates: pl.DataFrame
    train: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    classes: tuple[str, ...]

    @classmethod
    def open(cls, protocol: str) -> Market:
        """Windows and labels of the default job; `protocol` says what trains and what is scored."""
        with tempfile.TemporaryDirectory() as folder:
            ingest(ArchIndices().scan(), Path(folder))
            store = BarStore.open(Path(folder))
            store = replace(store, values=np.array(store.values), timestamps=np.array(store.timestamps))
        windows = WindowIndex.build(store, WindowConfig(length=LENGTH, visible=VISIBLE, zone=ZONE, max_gap="8d"))
        table = windows.table(store)
        labels = StructureRule().label(store, windows, table)
        spans = windows.spans(store)
        train, test = _parts(protocol, spans.first_time, spans.last_time)
        known = labels.values.is_not_null().to_numpy()
        table = table.with_columns(true_label=labels.values, row=pl.Series(np.arange(len(table))))
        candidates = table[np.flatnonzero(train & known).tolist()]
        rows = np.flatnonzero(test & known)
        truth = _numbers(table["true_label"][rows.tolist()], labels.classes)
        return cls(store, windows, candidates, np.flatnonzero(train), rows, truth, labels.classes)

    def gather(self, rows: np.ndarray, labels: np.ndarray, transform: Anchored) -> LabelledWindows:
        """Bars and inputs of some windows."""
        bars = self.windows.gather(self.store.values, rows)
        inputs = transform.apply(torch.from_numpy(bars), self.store.channels).numpy()
        return LabelledWindows(bars, inputs, labels, len(self.classes))

    def draw(self, number: int, transform: Anchored) -> LabelledWindows:
        """174 labels, 17 of them flipped."""
        given = LabelDraw(174, 17, number).choose(self.candidates, self.classes)
        rows = given.join(self.candidates.select("window_id", "row"), on="window_id", maintain_order="left")["row"]
        return self.gather(rows.to_numpy(), _numbers(given["label"], self.classes), transform)


def _numbers(names: pl.Series, classes: tuple[str, ...]) -> np.ndarray:
    return np.array([classes.index(name) for name in names], dtype=np.int64)


def _parts(protocol: str, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which windows train and which are scored."""
    border = {name: np.datetime64(name).astype("datetime64[us]").astype(np.int64) for name in ("2005", "2008", "2013")}
    if protocol == "sealed":
        return last < border["2013"], first >= border["2013"]
    before = last < border["2013"]
    if protocol == "early":
        return last < border["2008"], before & (first >= border["2008"])
    return before & (first >= border["2005"]), last < border["2005"]


@dataclass
class Trial:
    """Fits of one variant on one market, all seeds and draws."""

    market: Market
    variant: Variant
    seeds: range
    draws: range

    def pretrain(self, seed: int) -> dict[str, torch.Tensor]:
        """Weights learned from the training windows without labels."""
        market, variant = self.market, self.variant

        def apply(bars: torch.Tensor) -> torch.Tensor:
            return variant.transform.apply(bars, market.store.channels)

        shape = InputShape(len(variant.transform.output_channels(market.store.channels)), VISIBLE, SPANS)
        torch.manual_seed(seed)
        encoder = variant.encoder.build(shape)
        objective: Any = variant.objective.build(encoder, WindowInputs(shape, market.store.channels, apply))
        starts = market.windows.starts[market.train]
        size = int(variant.schedule.batch_size)
        batches = DeviceBatches(shared_tensor(market.store.values), starts, VISIBLE, apply, size, seed)
        fit(objective, batches, variant.schedule)
        return encoder.state_dict()

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of the scored windows, [draws x seeds, n, 2]: fine-tuned, and from scratch."""
        test = self.market.gather(self.market.test, np.full(len(self.market.test), -1), self.variant.transform)
        weights = {seed: self.pretrain(seed) for seed in self.seeds}
        found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for draw in self.draws:
            train = self.market.draw(draw, self.variant.transform)
            for seed in self.seeds:
                given = resources(seed, self.variant, weights[seed])
                for arm, model in zip(found, (self.variant.finetuned, self.variant.scratch), strict=True):
                    arm.append(model.fit(train, given).predict_proba(test))
        return np.stack(found[0]), np.stack(found[1])


def resources(seed: int, variant: Variant, weights: dict[str, torch.Tensor] | None = None) -> FitResources:
    """What models of a variant get besides windows."""
    channels = variant.transform.summary_channels(("open", "high", "low", "close", "volume"))

    def summary(inputs: np.ndarray) -> np.ndarray:
        return summarise(inputs, channels, SPANS)

    return FitResources(seed, summary, "cpu", variant.encoder, weights, FINETUNING, spans=SPANS, zone=ZONE)


def measure(protocol: str, quick: bool, only: str) -> Iterator[Row]:
    """Simple models first, then each variant beside scratch and beside the forest."""
    market = Market.open(protocol)
    seeds, draws = (range(1), range(2)) if quick else (range(3), range(10))
    steps = market.windows.spans(market.store)[market.test].first_step
    weights = moving_block_weights(steps, LENGTH, 200 if quick else 1000)

    @cache
    def simple(kind: str, returns: bool) -> np.ndarray:
        variant = Variant(kind, Anchored(returns=returns))
        model = RandomForest() if kind == "random forest" else LogisticRegression()
        test = market.gather(market.test, np.full(len(market.test), -1), variant.transform)
        fits = [(market.draw(draw, variant.transform), seed) for draw in draws for seed in seeds]
        return np.stack([model.fit(train, resources(seed, variant)).predict_proba(test) for train, seed in fits])

    for kind in ("logistic regression", "random forest"):
        yield row(f"{protocol}: {kind}", simple(kind, True), None, None, market.truth, weights)
    variants = [variant for variant in ablation() if only in variant.name]
    if quick and not only:
        variants = [variant for variant in variants if variant.name.startswith(("before", DEFAULT))]
    for variant in variants:
        tuned, scratch = Trial(market, variant, seeds, draws).predictions()
        forest = simple("random forest", variant.transform.returns)
        yield row(f"{protocol}: {variant.name}", tuned, scratch, "the same from scratch", market.truth, weights)
        yield row(f"{protocol}: {variant.name}", tuned, forest, "random forest", market.truth, weights)


def row(
    work: str, ours: np.ndarray, other: np.ndarray | None, name: str | None, truth: np.ndarray, weights: np.ndarray
) -> Row:
    """Mean balanced accuracy over draws and seeds; the spread holds the paired difference with its 95 % intervals."""
    score = _score(ours, truth, weights)
    spread = {"ours": (score.low, score.high)}
    if other is None:
        return Row(work, "balanced accuracy", score.value, None, None, True, None, None, spread)
    reference = _score(other, truth, weights)
    difference = compare(ours, other, truth, weights)
    spread |= {"reference": (reference.low, reference.high), "difference": (difference.low, difference.high)}
    spread["difference over draws and seeds"] = _t_interval(_each(ours, truth) - _each(other, truth))
    ratio = score.value / reference.value
    return Row(work, "balanced accuracy", score.value, reference.value, name, True, ratio, 1.0, spread)


def _score(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> Estimate:
    return estimates(probabilities, truth, weights, names=("balanced_accuracy",))["balanced_accuracy"]


def _each(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Balanced accuracy of every fit."""
    right = probabilities.argmax(axis=2) == truth
    return np.mean([right[:, truth == number].mean(axis=1) for number in np.unique(truth)], axis=0)


def _t_interval(differences: np.ndarray) -> tuple[float, float]:
    """95 %, as if all fits were independent: what draws and seeds alone say."""
    from scipy.stats import t

    n = len(differences)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences.tolist()) / math.sqrt(n)
    return float(differences.mean()) - half, float(differences.mean()) + half


def main() -> int:
    """Measure, print a line as soon as it is known, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two draws, one seed, the default and what was before it")
    parser.add_argument("--json", type=Path, default=None, help="file for the rows")
    parser.add_argument("--protocol", choices=("sealed", "early", "late"), default="sealed")
    parser.add_argument("--only", default="", help="variants whose name holds this")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for found in measure(arguments.protocol, arguments.quick, arguments.only):
        rows.append(found)
        beside = "" if found.reference is None else f"; {found.reference_name} {found.reference:.3f}"
        apart = ", ".join(f"{name} [{low:+.3f}, {high:+.3f}]" for name, (low, high) in found.spread.items())
        print(f"{found.work}: {found.ours:.3f}{beside}; {apart}", flush=True)
    write_rows(rows, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
