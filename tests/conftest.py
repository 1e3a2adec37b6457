"""Fixtures of more than one room. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from moola.data.bar_store import BarStore
    from moola.models import Model
    from moola.pipelines.artifacts import Artifact

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny: threads cost more than they give
settings.register_profile("moola", deadline=None, derandomize=True)
settings.load_profile("moola")


@pytest.fixture(scope="session")
def store_of() -> Callable[..., BarStore]:
    """Builds a store in memory from the times of each series; every value in it is different."""
    from moola.data.bar_store import BarStore

    def build(*times: np.ndarray, channels: tuple[str, ...] = ("x",), independent: bool = False) -> BarStore:
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in times])]).astype(np.int64)
        values = np.arange(offsets[-1] * len(channels), dtype=np.float32).reshape(-1, len(channels))
        nothing = (None,) * len(times)
        names = tuple(f"s{i}" for i in range(len(times)))
        stamps = np.concatenate(times).astype(np.int64)
        return BarStore(values, stamps, offsets, names, nothing, nothing, channels, independent)

    return build


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The bars of the default job with their windows, rule labels and spans, as the pipeline makes them."""
    import polars as pl

    from moola.data.bar_store import BarStore
    from moola.data.ingestion import ingest
    from moola.data.sources.arch_indices import ArchIndices
    from moola.data.splits.purged_kfold import PurgedKFold
    from moola.data.window_index import WindowConfig, WindowIndex
    from moola.labels.structure_rule import StructureRule

    folder = tmp_path_factory.mktemp("market")
    ingest(ArchIndices().scan(), folder)
    store = BarStore.open(folder)
    windows = WindowIndex.build(store, WindowConfig(length=105, visible=75, zone=(30, 75), max_gap="8d"))
    table = windows.table(store)
    labels = StructureRule().label(store, windows, table)
    spans = PurgedKFold(test_from="2013-01-01").spans(store, windows.spans(store))
    table = table.with_columns(true_label=labels.values, span=pl.Series(spans, dtype=pl.String))
    return SimpleNamespace(store=store, windows=windows, table=table, classes=labels.classes)


PLANTED_BARS, PLANTED_TEST = 8, 150
"""Bars a window, none of which overlap, and windows that are sealed."""


@pytest.fixture(scope="session")
def planted_models() -> Callable[..., dict[str, Model]]:
    """Cheap models under the names that the verdict asks for; `finetuned` sees every bar, `logistic_regression` few."""
    from dataclasses import dataclass
    from typing import ClassVar

    from moola.models import Classifier, FitResources, LabelledWindows, Role
    from moola.models.classical import FittedOnFeatures, LogisticRegression, linear_probe
    from moola.models.controls import Majority

    @dataclass(frozen=True)
    class EveryBar(LogisticRegression):
        """The baseline with every bar as an input."""

        role: ClassVar[Role] = "model"

        def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
            def features(some: LabelledWindows) -> np.ndarray:
                return some.inputs.reshape(len(some.inputs), -1)

            return FittedOnFeatures(
                linear_probe(self.c).fit(features(windows), windows.labels), features, windows.n_classes
            )

    def build() -> dict[str, Model]:
        return {
            "finetuned": EveryBar(c=1.0),
            "scratch": EveryBar(c=0.003),
            "logistic_regression": LogisticRegression(),
            "majority": Majority(),
        }

    return build


@pytest.fixture(scope="session")
def planted_run(planted_models: Callable[..., dict[str, Model]]) -> Callable[..., Mapping[str, Artifact]]:
    """Windows of 8 bars whose close and labels a test gives, from ingestion to evaluation by the real stages."""
    import polars as pl

    from moola.data.sources.files import Files
    from moola.data.splits.purged_kfold import PurgedKFold
    from moola.data.window_index import WindowConfig
    from moola.features.standardised import Standardised
    from moola.labels.label_file import LabelFile
    from moola.labels.planting import LabelDraw
    from moola.layout import Layout
    from moola.models.bilstm import BiLstm
    from moola.pipelines.context import Context
    from moola.pipelines.judged import EvaluationConfig
    from moola.pipelines.pipeline import Pipeline
    from moola.pipelines.setup import EncoderSetup
    from moola.pipelines.stages.evaluate import Evaluate
    from moola.pipelines.stages.ingest import Ingest
    from moola.pipelines.stages.oof import Oof
    from moola.pipelines.stages.sentinels import Sentinels
    from moola.pipelines.stages.splits import Splits
    from moola.pipelines.stages.stack import Stack
    from moola.pipelines.stages.windows import Windows
    from moola.training.schedule import FitConfig

    first = pl.datetime(2024, 1, 1)

    def run(
        folder: Path,
        closes: np.ndarray,
        labels: Sequence[str],
        models: dict[str, Model] | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
        sentinels: bool = True,
    ) -> Mapping[str, Artifact]:
        """`closes`: [n_windows, 8]; `extra`: channel -> [n_windows * 8]; artifacts of every stage."""
        folder.mkdir(parents=True, exist_ok=True)
        close = 1000 + closes.ravel()
        end = first + pl.duration(hours=len(close) - 1)
        bars = dict.fromkeys(("open", "high", "low", "close"), close) | dict(extra or {})
        times = pl.datetime_range(first, end, "1h", eager=True)
        pl.DataFrame({"timestamp": times, **bars}).write_csv(folder / "bars.csv")
        ids = [f"bars_{PLANTED_BARS * number:07d}" for number in range(len(labels))]
        pl.DataFrame({"window_id": ids, "label": labels}).write_csv(folder / "labels.csv")
        sealed_from = times[PLANTED_BARS * (len(labels) - PLANTED_TEST)]
        setup = EncoderSetup((0,), "cpu", Standardised(), BiLstm())
        source = Files(path=str(folder / "bars.csv"), channels=tuple(bars))
        stages = [
            Ingest(source),
            Windows(
                WindowConfig(length=PLANTED_BARS, stride_bars=PLANTED_BARS), None, LabelFile(str(folder / "labels.csv"))
            ),
            Splits(PurgedKFold(test_from=f"{sealed_from:%Y-%m-%dT%H:%M}", n_folds=5), LabelDraw()),
            *([Sentinels(setup, 19)] if sentinels else []),
            Oof(setup, FitConfig(epochs=1, batch_size=8), models or planted_models()),
            Stack(),
            Evaluate(1, EvaluationConfig(n_resamples=200)),
        ]
        context = Context("planted", Layout(folder / "data", folder / "artifacts"), processes=1)
        return Pipeline(stages).run(context).artifacts

    return run


@pytest.fixture(scope="session")
def noise() -> Callable[[int], tuple[np.ndarray, list[str]]]:
    """Closes [324, 8] and labels that have nothing to do with each other."""

    def draw(seed: int) -> tuple[np.ndarray, list[str]]:
        rng = np.random.default_rng(seed)
        n = 174 + PLANTED_TEST
        return rng.normal(size=(n, PLANTED_BARS)), [str(name) for name in rng.choice(["down", "up"], n)]

    return draw


@pytest.fixture(scope="session")
def summary_of() -> Callable[[Mapping[str, Any]], SimpleNamespace]:
    """Verdict and alarms of a finished run."""

    def read(artifacts: Mapping[str, Artifact]) -> SimpleNamespace:
        from moola.layout import read_json
        from moola.pipelines.scores import Scores

        scores = Scores.from_json(read_json(artifacts["evaluation"].path("scores.json")))
        return SimpleNamespace(
            scores=scores,
            verdict=scores.verdict,
            alarms=scores.alarms.alarms,
            fired=[(alarm.code, alarm.model) for alarm in scores.alarms.alarms],
        )

    return read


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's browser, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program)
        yield browser
        browser.close()
