"""Where a run is configured otherwise than a named encoder was made, and the overrides with which it is not."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moola.config import RunConfig, override, shipped_options
from moola.encoders.record import EncoderRecord
from moola.errors import ConfigError
from moola.features import TRANSFORMS
from moola.models import ENCODERS
from moola.pipelines.setup import EncoderSetup

_ABSENT = object()
_DESCRIBED: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "encoder": lambda section: ENCODERS.section_of(ENCODERS.build_section(section, "encoder")),
    "transform": lambda section: TRANSFORMS.section_of(TRANSFORMS.build_section(section, "transform")),
}
"""Section of the configuration -> itself with all its keys, as a record holds it."""


def check_agreement(config: RunConfig, setup: EncoderSetup, record: EncoderRecord) -> None:
    """Whether a run is configured as a named encoder was, so that its weights and its transform fit.

    Args:
        config: of the run.
        setup: made of it.
        record: of the encoder.

    Raises:
        ConfigError: it is not; every difference, and the overrides that would mend them all.
    """
    problems: list[str] = []
    overrides: list[str] = []
    given = {"encoder": config.encoder, "transform": config.transform}
    for name, theirs in (("encoder", record.encoder), ("transform", record.configured_transform)):
        found = [
            f"{path}: {ours!r} here, {other!r} in {record.name}"
            for path, ours, other in _differences(name, _DESCRIBED[name](given[name]), theirs)
        ]
        problems += found
        overrides += agreeing_overrides(name, given[name], theirs) if found else []
    absent = [seed for seed in setup.seeds if seed not in record.seeds]
    if absent:
        problems.append(f"seeds: {record.name} has {list(record.seeds)}, so none for {', '.join(map(str, absent))}")
        overrides.append(override("seeds", [seed for seed in setup.seeds if seed in record.seeds] or record.seeds))
    if problems:
        words = " ".join(map(shlex.quote, overrides))
        told = f"give {words} in place of what contradicts {record.name}; or pretrain: encoder_from=null"
        raise ConfigError(problems, told)


def agreeing_overrides(name: str, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The shortest list of overrides that makes a section of a configuration another one.

    Args:
        name: of the section, ``encoder`` or ``transform``.
        given: the section as it was composed.
        wanted: as it is to be, with all its keys.
    """
    described = _DESCRIBED[name]
    starts: list[tuple[list[str], Mapping[str, Any]]] = [([], given)]
    starts += [([override(name, option)], section) for option, section in shipped_options(name).items()]
    ways = [
        [*first, *_changes(name, section, described(section), wanted)]
        for first, section in starts
        if section["name"] == wanted["name"]
    ]
    return min(ways, key=len, default=[f"~{name}", override(f"+{name}", wanted)])


def _differences(path: str, ours: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every key that differs, with both values; of components of different kinds the name alone."""
    if not (isinstance(ours, Mapping) and isinstance(theirs, Mapping)):
        if ours != theirs:
            yield path, ours, theirs
    elif ours.get("name") != theirs.get("name"):
        yield f"{path}.name", ours.get("name"), theirs.get("name")
    else:
        for key in {**theirs, **ours}:
            yield from _differences(f"{path}.{key}", ours.get(key), theirs.get(key))


def _changes(path: str, written: Any, ours: Any, theirs: Any) -> Iterator[str]:
    """Overrides from a value to another.

    Args:
        path: where it stands.
        written: the value as the configuration holds it, or `_ABSENT` where it is left to its default.
        ours: the same with all its keys.
        theirs: what it is to be.
    """
    if ours == theirs:
        return
    if written is _ABSENT:
        yield override(f"+{path}", theirs)
    elif not isinstance(written, Mapping):
        yield override(path, theirs)
    elif isinstance(theirs, Mapping) and ours.get("name") == theirs.get("name"):
        for key in {**theirs, **ours}:
            yield from _changes(f"{path}.{key}", written.get(key, _ABSENT), ours.get(key), theirs.get(key))
    else:  # two groups of keys would be merged
        yield from (f"~{path}", override(f"+{path}", theirs))
