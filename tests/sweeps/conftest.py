"""A small project of real files: bars, labels and a configuration that searches run on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

BARS, TRAIN, TEST = 8, 120, 60
"""Bars a window, windows that may train and windows that are sealed; none of them overlap."""


@pytest.fixture(scope="session")
def search_words(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Overrides for a project whose labels a test gives: class ``up`` where windows rise, unless they are `drawn`."""
    import polars as pl

    def make(labels: Sequence[str] | None = None, seed: int = 0) -> list[str]:
        folder = tmp_path_factory.mktemp("project")
        n = TRAIN + TEST
        rng = np.random.default_rng(seed)
        rises = rng.normal(size=n)
        closes = 1000 + np.arange(BARS) * 0.1 * rises[:, None] + rng.normal(size=(n, BARS))
        named = list(np.where(rises > 0, "up", "down")) if labels is None else list(labels)
        close = closes.ravel()
        first = pl.datetime(2024, 1, 1)
        times = pl.datetime_range(first, first + pl.duration(hours=len(close) - 1), "1h", eager=True)
        bars = dict.fromkeys(("open", "high", "low", "close"), close)
        pl.DataFrame({"timestamp": times, **bars}).write_csv(folder / "bars.csv")
        ids = [f"bars_{BARS * number:07d}" for number in range(n)]
        pl.DataFrame({"window_id": ids, "label": named}).write_csv(folder / "labels.csv")
        return [
            "debug=fast",
            "data=files",
            f"data.path={folder}/bars.csv",
            f"data.window={{length:{BARS},stride_bars:{BARS},visible:{BARS},zone:[0,{BARS}],max_gap:null}}",
            "task=label_file",
            f"task.path={folder}/labels.csv",
            "transform=standardised",
            "objective=masked_autoencoder",
            "objective.patch_bars=2",
            "trainer.pretrain.batch_size=32",
            f"split.test_from={times[BARS * TRAIN]:%Y-%m-%dT%H:%M}",
            "split.n_folds=3",
            "split.embargo_bars=0",
            f"paths.data={folder}/data",
            f"paths.artifacts={folder}/artifacts",
        ]

    return make


@pytest.fixture(scope="session")
def search_of() -> Callable[..., object]:
    """A checked search from overrides."""
    from moola.commands.search import _parted
    from moola.sweeps.search.base import compose_words
    from moola.sweeps.search.running import Search

    def make(words: Sequence[str]) -> Search:
        of_run, of_search = _parted(words)
        with contextlib.redirect_stdout(None):
            own = compose_words([*of_run, *of_search])
        assert own is not None
        return Search(of_run, own)

    return make
