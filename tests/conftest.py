"""Fixtures of more than one room. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from moola.data.bar_store import BarStore

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
