"""What a worker of a search imports, done once in the process that all are forked from; nothing is computed here."""

from __future__ import annotations

import importlib

_HEAVY = (
    "optuna.importance",
    "pandera.polars",
    "pytorch_lightning",
    "safetensors.torch",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "moola.pipelines.assembly",
    "moola.pipelines.stages.ingest",
    "moola.pipelines.stages.oof",
    "moola.pipelines.stages.pretrain",
    "moola.pipelines.stages.splits",
    "moola.pipelines.stages.windows",
    "moola.sweeps.search.scoring",
    "moola.sweeps.search.workers",
    "moola.training.loop",
)
for name in _HEAVY:
    importlib.import_module(name)
