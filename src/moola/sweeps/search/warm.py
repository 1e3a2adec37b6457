"""What a worker of a search imports, done once in the process that all are forked from; nothing is computed here."""

from __future__ import annotations

import importlib

from moola.models import ENCODERS, MODELS
from moola.pipelines.stage import STAGES

_IN_FUNCTIONS = (
    "optuna.importance",
    "pandera.polars",
    "pytorch_lightning",
    "safetensors.torch",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "moola.sweeps.search.scoring",
    "moola.sweeps.search.workers",
    "moola.training.loop",
)
"""What is imported only when it is needed."""
for name in _IN_FUNCTIONS:
    importlib.import_module(name)
for registry in (STAGES, ENCODERS, MODELS):
    for name in registry.built_in:
        registry.get(name)
    vars(registry).pop("_announced", None)  # a search may have packages that this process has not
