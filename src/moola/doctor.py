"""`moola doctor`: what is installed, what it can run on, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import moola

_CORE = ("torch", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "safetensors")
_EXTRAS = {
    "data": ("polars", "pandera", "pyarrow", "arch", "aeon"),
    "evidence": ("scikit-learn", "scipy", "mapie", "skops", "xgboost-cpu", "cleanlab", "jinja2", "resvg-py", "aeon"),
    "terminal": ("rich", "argcomplete"),
}
_OPTIONAL = {
    "wandb": ("wandb", "wandb-workspaces"),
    "mlflow": ("mlflow",),
    "tensorboard": ("tensorboard",),
    "search": ("optuna",),
    "prometheus": ("prometheus-client",),
    "slurm": ("hydra-submitit-launcher",),
}
"""Extras that nothing needs but what asks for them by name: a tracker, a search, a hook, a launcher."""
_MIN_FREE_GB = 3.0


def examine() -> bool:
    """Print the findings; False when something stands in the way of the default job."""
    print(f"moola {moola.__version__}, Python {sys.version.split()[0]}, {sys.platform}")
    missing = _report_packages()
    _report_optional()
    _report_device()
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    writable = os.access(Path.cwd(), os.W_OK)
    print(f"{'disk':20}{free_gb:.1f} GB free in {Path.cwd()}, {'writable' if writable else 'read-only'}")
    problems = list(missing)
    if free_gb < _MIN_FREE_GB:
        problems.append(f"less than {_MIN_FREE_GB:.0f} GB free -> choose another folder with paths.artifacts=FOLDER")
    if not writable:
        problems.append("this folder cannot be written -> paths.data=FOLDER paths.artifacts=FOLDER")
    print("\n" + ("\n".join(f"missing: {problem}" for problem in problems) if problems else "nothing is missing"))
    return not problems


def _report_packages() -> list[str]:
    problems: list[str] = []
    seen: set[str] = set()
    for extra, names in {"": _CORE, **_EXTRAS}.items():
        for name in names:
            if name in seen:
                continue
            seen.add(name)
            version = _version(name)
            print(f"{name:20}{version or 'not installed'}")
            if version is None:
                target = f"'moola[{extra}]'" if extra else "moola"
                problems.append(f"{name} -> pip install -c constraints.txt {target}")
    return problems


def _report_optional() -> None:
    """One line an extra, with the way to have it; none of them is missing."""
    print()
    for extra, names in _OPTIONAL.items():
        found = {name: _version(name) for name in names}
        told = ", ".join(f"{name} {version}" for name, version in found.items())
        way = f"not installed; optional: pip install -c constraints.txt 'moola[{extra}]'"
        print(f"{extra:20}{told if all(found.values()) else way}")
    print()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _report_device() -> None:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        print(f"{'device':20}cpu, {torch.get_num_threads()} threads (no GPU that torch {torch.__version__} can use)")
        return
    properties = torch.cuda.get_device_properties(0)
    print(f"{'device':20}{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
