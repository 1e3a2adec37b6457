"""A bundle as a task of SkyPilot, for work that outgrows single pods: the same files, packages and overrides.

Where it runs and what that costs is SkyPilot's affair. The keys are those of its documentation
(https://docs.skypilot.co/en/latest/reference/yaml-spec.html); schema and parser of SkyPilot 0.14.1 take them.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moola.errors import StorageError
from moola.layout import replace_file_atomically, write_text
from moola.pods.bundle import Bundle
from moola.pods.settings import PodSettings
from moola.tracking.delivery import JOURNAL_ONLY

TASK = "task.yaml"
_PROJECT = "project"
_REQUIREMENTS = "requirements-of-moola.txt"


def export_skypilot(bundle: Bundle, settings: PodSettings, folder: Path) -> Path:
    """Write the project as it would lie on a pod, and the task file beside it.

    Args:
        bundle: what travels.
        settings: of the pod; image, GPUs, highest price, disk and environment go into the task.
        folder: must not be there yet.

    Returns:
        The task file: ``sky launch task.yaml`` in that folder runs it.

    Raises:
        StorageError: the folder is there, or a file is no longer what was packed.
    """
    if folder.exists():
        raise StorageError(
            f"{folder} is there already", "an export never writes over files", "choose another --to-folder"
        )
    for file in bundle.files:
        target = folder / _PROJECT / os.fsencode(file.path).decode("utf-8", "surrogateescape")
        target.parent.mkdir(parents=True, exist_ok=True)
        with bundle.open_object(file.sha256) as source, replace_file_atomically(target) as copy:
            shutil.copyfileobj(source, copy)
        if file.executable:
            target.chmod(0o755)
    write_text(folder / _PROJECT / _REQUIREMENTS, "".join(f"{pin}\n" for pin in bundle.facts["requirements"]))
    write_text(folder / TASK, _yaml(task_of(bundle, settings)))
    return folder / TASK


def task_of(bundle: Bundle, settings: PodSettings) -> dict[str, Any]:
    """The task as plain values."""
    resources: dict[str, Any] = {"image_id": f"docker:{settings.image}", "disk_size": settings.disk_gb}
    if settings.gpus:
        resources["accelerators"] = {_spelt(name): settings.count for name in settings.gpus}
    if settings.max_price_per_h is not None:
        resources["max_hourly_cost"] = settings.max_price_per_h
    words = ["python3", "-m", "moola", "run", *bundle.facts["overrides"]]
    own = {name: str(value) for name, value in settings.env.items()}
    path = str(bundle.facts["moola"]["path"] or ".")
    return {
        "name": str(bundle.facts["run_id"]).replace("_", "-").lower(),
        "workdir": _PROJECT,
        "resources": resources,
        "envs": {**own, "PYTHONPATH": path, "WANDB_MODE": "offline", **JOURNAL_ONLY},
        "setup": _setup(settings.pod_python if settings.python else "python3"),
        "run": f". .venv-moola/bin/activate\n{shlex.join(words)}\n",
    }


def _setup(python: str) -> str:
    """Packages on top of the torch that is there."""
    return (
        "set -e\n"
        f"{shlex.quote(python)} -m venv --system-site-packages .venv-moola\n"
        ". .venv-moola/bin/activate\n"
        'python3 -c \'import importlib.metadata as m; print("torch==" + m.version("torch"))\' > torch.txt\n'
        f"python3 -m pip install -c torch.txt -r {_REQUIREMENTS}\n"
    )


def _spelt(gpu: str) -> str:
    """As SkyPilot spells GPUs: ``RTX4090``, ``A100-80GB``."""
    return "-".join(part for part in gpu.replace("RTX ", "RTX").replace("NVIDIA ", "").split() if part)


def _yaml(task: Mapping[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Scripts as blocks, so that people can read them."""

    def script(dumper: Dumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, script)
    return yaml.dump(dict(task), Dumper=Dumper, sort_keys=False, allow_unicode=True)
