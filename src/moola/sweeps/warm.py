"""What a job imports and reads of its own source, done once in the process that points are forked from.

Imported by that process alone, for what it does. Nothing is computed here: threads do not survive a fork.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

_IN_FUNCTIONS = (
    "cleanlab.filter",
    "jinja2",
    "mapie.classification",
    "pandera.polars",
    "pytorch_lightning",
    "safetensors.torch",
    "sklearn.linear_model",
)
"""Packages that stages import when they need them."""


def warm_up() -> None:
    """Import the packages that are installed, and build the default pipeline, which reads the source of every stage."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from moola.config import config_folder, from_omegaconf
    from moola.pipelines.assembly import assemble, run_identity

    gc.disable()  # half a second: a million objects are imported, and none of them is garbage
    for name in _IN_FUNCTIONS:
        with contextlib.suppress(ImportError):  # a point that needs it says so
            importlib.import_module(name)
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = from_omegaconf(compose("config"))
    GlobalHydra.instance().clear()
    with contextlib.suppress(Exception):  # whatever is wrong, points tell it
        run_identity(config, assemble(config))
    gc.enable()
    gc.freeze()  # what is here stays shared by all that are forked


warm_up()
