"""How far the encoder is from each bar when that bar is hidden: a band around the closes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.encoders.loading import load_encoder
from moola.errors import MoolaError
from moola.features import Restorable
from moola.features.summary import summary_spans
from moola.models.encoder import InputShape
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.stages.pretrain import OBJECTIVE_WEIGHTS
from moola.review.windows import Band

if TYPE_CHECKING:
    import torch

    from moola.pretraining import Reconstructing, WindowInputs

_DRAWS = 24
"""Masks of a window, rebuilt in one batch: at the usual share of 15 % a bar stays unhidden in 2 % of windows."""


def reconstruction_band(encoder: Artifact, folder: Path, data: Dataset) -> Band | None:
    """The band of a run whose objective rebuilds candles; None where it rebuilds none, or an older moola made it.

    Args:
        encoder: artifact of the pretraining.
        folder: of the named encoder that it was published as.
        data: of the run.
    """
    from moola.pretraining import OBJECTIVES, Reconstructing, WindowInputs
    from moola.training.weights import load_weights, transfer_weights

    if OBJECTIVE_WEIGHTS not in encoder.manifest["files"]:
        return None
    windows, store = data.windows, data.store
    try:
        ready = load_encoder(str(folder))
        if not isinstance(ready.transform, Restorable):
            return None
        shape = InputShape(len(ready.record.inputs), windows.visible, summary_spans(windows.visible, windows.zone))
        inputs = WindowInputs(shape, store.channels, functools.partial(ready.transform.apply, channels=store.channels))
        objective = OBJECTIVES.build_section(section_of_record(ready.record.objective), "objective").build(
            ready.for_windows(shape).encoder, inputs
        )
        if not isinstance(objective, Reconstructing):
            return None
        transfer_weights(cast("torch.nn.Module", objective).eval(), load_weights(encoder.path(OBJECTIVE_WEIGHTS)))
    except MoolaError:
        return None  # the encoder was changed, or a component is not installed: the page does without
    return band_of(objective, inputs, ready.transform, store, windows)


def band_of(
    objective: Reconstructing, inputs: WindowInputs, transform: Restorable, store: BarStore, windows: WindowIndex
) -> Band:
    """How far an objective is from the closes of a window.

    A bar's half width is the mean of |rebuilt close - close| over the masks that hide it. NaN where none does, and in
    bars that no model sees.

    Args:
        objective: that rebuilds candles, in the mode in which it judges.
        inputs: where its inputs come from.
        transform: back from them to candles.
        store: the bars.
        windows: where windows start.
    """
    import torch

    from moola.data.device_batches import Batch

    @functools.lru_cache(maxsize=256)
    @torch.no_grad()
    def band(row: int) -> np.ndarray:
        bars = torch.from_numpy(windows.gather(store.values, np.array([row]))).repeat(_DRAWS, 1, 1)
        nothing = torch.empty(0, dtype=torch.int64)
        batch = Batch(inputs.transform(bars), nothing, torch.full((_DRAWS,), row), 0, 0, bars, 0, _DRAWS)
        rebuilt, mask = objective.reconstruct(batch)
        close = bars[0, :, store.channels.index("close")].double().numpy()
        error = np.abs(transform.restore(rebuilt, bars, store.channels)[..., 3].double().numpy() - close)
        hidden = mask.numpy()
        times = hidden.sum(axis=0)
        half = np.divide((error * hidden).sum(axis=0), times, out=np.full(len(close), np.nan), where=times > 0)
        edges = np.full((windows.length, 2), np.nan)
        edges[: len(close)] = np.stack([close - half, close + half], axis=1)
        return edges

    return band


def section_of_record(told: Mapping[str, Any]) -> dict[str, Any]:
    """The section that an objective was built from, of what an encoder's record tells: parts hold theirs inside."""
    own = {key: value for key, value in told.items() if key != "class"}
    if "parts" in own:
        own["parts"] = [section_of_record({**part, **part["objective"]}) for part in own["parts"]]
    return {key: value for key, value in own.items() if key != "objective"}
