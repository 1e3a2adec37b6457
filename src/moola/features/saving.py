"""A fitted transform as a JSON file: the same section that a configuration would hold, checked when it is read."""

from __future__ import annotations

from pathlib import Path

from moola.errors import ConfigError, StorageError
from moola.features import TRANSFORMS, Fittable, Transform
from moola.layout import read_json, write_json


def save_transform(path: Path, transform: Transform) -> None:
    """Write a transform with its numbers, whole or not at all.

    Raises:
        ConfigError: its class, or that of a transform inside it, is not in the registry, so nobody could read it again.
    """
    section = TRANSFORMS.section_of(transform)
    TRANSFORMS.build_section(section, "transform")
    write_json(path, section)


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


def _unusable(path: Path, why: str) -> StorageError:
    return StorageError(f"{path} is not a fitted transform", why, "run the same command with --force=pretrain")
