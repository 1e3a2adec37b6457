"""What overrides mean: the configuration that they compose to in a project, and the run that it is."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from moola.config import RunConfig, from_omegaconf
from moola.errors import ConfigError, MoolaError
from moola.layout import Layout

NO_SWEEPS = "sweeps on pods are not there yet: one bundle is one configuration, start a run of each"
_MAY_SWEEP = re.compile("[,(]")


@dataclass(frozen=True)
class ComposedRun:
    """One composed configuration.

    Attributes:
        words: overrides without flags.
        config: checked.
        plain: the same as plain values.
        text: the same as YAML.
    """

    words: tuple[str, ...]
    config: RunConfig
    plain: dict[str, Any]
    text: str


def words_of(overrides: Sequence[str]) -> tuple[str, ...]:
    """Overrides with ``--force[=STAGE]`` as the key that it stands for.

    Raises:
        ConfigError: other flags of `moola run`, and sweeps.
    """
    words: list[str] = []
    problems: list[str] = []
    for word in overrides:
        name, _, value = word.partition("=")
        if name == "--force":
            words.append(f"force=[{value or 'all'}]")
        elif name in ("-m", "--multirun"):
            problems.append(f"{word}: {NO_SWEEPS}")
        elif word.startswith("-"):
            problems.append(f"{word}: only KEY=VALUE and --force[=STAGE] travel")
        elif _is_sweep(word):
            problems.append(f"{word}: {NO_SWEEPS}; a list is written {name}='[{value}]'")
        else:
            words.append(word)
    if problems:
        way_out = "configurations in a folder of the project are found with 'hydra.searchpath=[file://FOLDER]'"
        raise ConfigError(problems, way_out)
    return tuple(words)


def _is_sweep(word: str) -> bool:
    """Whether Hydra would make several runs of it; what it cannot read it tells itself."""
    if not _MAY_SWEEP.search(word):
        return False
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word).is_sweep_override()
    except HydraException:
        return False


def compose(words: Sequence[str], project: Path) -> ComposedRun:
    """Compose and check the configuration of `moola run` with these words in this folder.

    Raises:
        ConfigError: every problem of the configuration.
    """
    from omegaconf import OmegaConf

    from moola.composition import compose_and_call

    found: list[ComposedRun | MoolaError] = []

    def job(composed: Any) -> None:
        try:
            config = from_omegaconf(composed)
            plain = cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True))
            found.append(ComposedRun(tuple(words), config, plain, OmegaConf.to_yaml(composed, resolve=True)))
        except MoolaError as error:  # Hydra would print its own words around it
            found.append(error)

    typed = sys.argv
    try:
        with contextlib.chdir(project):
            compose_and_call("run", list(words), job)
    finally:
        sys.argv = typed
    [outcome] = found
    if isinstance(outcome, MoolaError):
        raise outcome
    return outcome


def layout_of(run: ComposedRun, project: Path) -> Layout:
    """The folders that a run of this configuration in this folder reads and writes."""
    return Layout(project / run.config.paths.data, project / run.config.paths.artifacts)


def run_id_of(run: ComposedRun, project: Path) -> str:
    """The id that `moola run` gives this configuration in this folder; files that it names are read for it.

    Raises:
        MoolaError: it cannot run: wrong keys in its sections, or files that are missing or cannot be fetched.
    """
    from moola.pipelines.assembly import assemble, run_identity

    gc.disable()  # half a second: a million objects are imported, and none of them is garbage
    try:
        with contextlib.chdir(project):
            return run_identity(run.config, assemble(run.config, here=False))
    finally:
        gc.enable()
