"""A fitted transform as a JSON file: the same section that a configuration would hold, checked when it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from moola.errors import ConfigError, StorageError
from moola.features import TRANSFORMS, Fittable, Transform
from moola.layout import read_json, write_json


def save_transform(path: Path, transform: Transform) -> None:
    """Write a transform with its numbers, whole or not at all.

    Raises:
        ConfigError: its class is not in the registry, so nobody could read it again.
    """
    write_json(path, section_of(transform))


def load_transform(path: Path) -> Transform:
    """Read what `save_transform` wrote: a name of the registry, fields of the right types, nothing else.

    Raises:
        StorageError: the file is missing, or is not a fitted transform; every problem in one go.
    """
    section = read_json(path)
    try:
        transform = TRANSFORMS.build_section(section, "transform")
    except ConfigError as error:
        raise _unusable(path, error.why) from error
    if isinstance(transform, Fittable):
        raise _unusable(path, "it holds a transform that was never fitted")
    return transform


def section_of(transform: Transform) -> dict[str, Any]:
    """A transform as `TRANSFORMS.build_section` takes it: its name and its fields.

    Raises:
        ConfigError: its class, or that of a transform inside it, is not in the registry.
    """
    name = TRANSFORMS.name_of(transform)
    if name is None:
        raise ConfigError(
            [f"the transform {type(transform).__name__} has no name, so it cannot be kept"],
            "register its class: TRANSFORMS.register(NAME), or an entry point of the group moola.transforms",
        )
    return {"name": name, **_fields(transform)}


def _plain(value: Any) -> Any:
    """JSON values; a transform becomes its section, another dataclass its fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return section_of(cast("Transform", value)) if hasattr(value, "output_channels") else _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _fields(value: Any) -> dict[str, Any]:
    return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}


def _unusable(path: Path, why: str) -> StorageError:
    return StorageError(f"{path} is not a fitted transform", why, "run the same command with --force=pretrain")
