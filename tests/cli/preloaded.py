"""What `moola` commands import and read of their own source, done once in the process that they are forked from.

Nothing is computed here: threads, as those of polars, do not survive a fork.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil
from pathlib import Path

import moola
from moola.pods.composed_run import compose, name_run
from moola.registry import Registry

IN_FUNCTIONS = (
    "cleanlab.filter",
    "hypothesis",  # by pandera
    "jinja2",
    "mapie.classification",
    "pandera.polars",
    "pytest",
    "pytorch_lightning",
    "safetensors.torch",
    "sklearn.linear_model",
)
"""Packages that are imported only when they are needed."""
APART = ("__main__", "bench", "pods", "testing", "warm")
"""Rooms of moola that these commands do not enter, and what is imported for what it does."""

modules = (module.name for module in pkgutil.walk_packages(moola.__path__, "moola."))
for name in (*IN_FUNCTIONS, *(name for name in modules if not {*APART}.intersection(name.split(".")))):
    importlib.import_module(name)
name_run(compose([], Path.cwd()), Path.cwd())
for registry in [thing for thing in gc.get_objects() if isinstance(thing, Registry)]:
    vars(registry).pop("_announced", None)  # a command may have packages that this process has not
