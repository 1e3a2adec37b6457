"""The packages that a run needs on a pod, as exact pins of what is installed here; the pod's own torch stays."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

_EXTRAS = ("data", "evidence", "terminal", "neighbours")
"""Of moola, what stages of a run may import."""
_OF_THE_IMAGE = re.compile(r"torch|triton|(?:nvidia|cuda)-.*|pytorch-triton.*")
"""What an image brings with its driver, and no install may replace."""


def pins(package: Path) -> list[str]:
    """``name==version`` of everything that moola needs and that is installed here, without torch, by name.

    Args:
        package: moola's own folder; in a checkout its ``pyproject.toml`` counts, else what the wheel says.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting = _of_moola(package)
    while waiting:
        requirement = waiting.pop()
        name, extras = _normal(requirement.name), tuple(sorted(requirement.extras))
        if (name, extras) in seen or _OF_THE_IMAGE.fullmatch(name):
            continue
        seen.add((name, extras))
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that nobody needed here
        found[name] = installed.version.partition("+")[0]
        waiting += _applying(installed.requires or (), extras)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _of_moola(package: Path) -> list[Requirement]:
    project = package.parents[1] / "pyproject.toml"
    if not project.is_file():
        return _applying(importlib.metadata.requires("moola") or (), _EXTRAS)
    said = tomllib.loads(project.read_text())["project"]
    lines = [*said["dependencies"], *(line for extra in _EXTRAS for line in said["optional-dependencies"][extra])]
    return _applying(lines, ())


def _applying(lines: Iterable[str], extras: tuple[str, ...]) -> list[Requirement]:
    """Requirements whose conditions hold here, or with one of the extras."""
    every = [Requirement(line) for line in lines]
    return [
        each
        for each in every
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
