"""What overrides mean: the configuration that they compose to in a project, and the run that it is."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from moola.config import ConfigProblems, RunConfig, from_omegaconf
from moola.errors import ConfigError, MoolaError
from moola.layout import Layout

NO_SWEEPS = "one pod has one configuration; a run of each value: `moola pod run -m`"
_NO_OPTION = "there is no such option"
_MAY_SWEEP = re.compile("[,(]")
_SEARCHED = "configurations in a folder of the project are found with 'hydra.searchpath=[file://FOLDER]'"


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
    problems = ConfigProblems()
    for word in overrides:
        name, _, value = word.partition("=")
        if name == "--force":
            words.append(f"force=[{value or 'all'}]")
        elif name in ("-m", "--multirun"):
            problems.append(f"{word}: {NO_SWEEPS}")
        elif word.startswith("-"):
            problems.take(ConfigError([f"{word}: only KEY=VALUE and --force[=STAGE] travel"], _SEARCHED))
        elif _is_sweep(word):
            problems.append(f"{word}: {NO_SWEEPS}; a list is written {name}='[{value}]'")
        else:
            words.append(word)
    if problems:
        raise problems.error()
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
            _compose_all(list(words), job)
    finally:
        sys.argv = typed
    [outcome] = found
    if isinstance(outcome, MoolaError):
        raise outcome
    return outcome


def _compose_all(words: list[str], job: Callable[[Any], None]) -> None:
    """Give `job` the composed configuration; Hydra stops at the first option that is missing, this tells of all.

    Raises:
        ConfigError: what Hydra finds, and every option that is missing.
    """
    from moola.composition import compose_and_call

    try:
        compose_and_call("run", words, job)
    except ConfigError as error:
        first = str(error.problems[0])
        left = [word for word in words if not first.startswith(f"{word.lstrip('+')}: {_NO_OPTION}")]
        if len(left) == len(words):
            raise
        others = ConfigProblems()
        others.attempt(lambda: _compose_all(left, lambda _: None))
        missing = [problem for problem in others if _NO_OPTION in problem]  # the rest may follow from what was left out
        raise ConfigError([*error.problems, *missing], error.way_out) from error


def layout_of(run: ComposedRun, project: Path) -> Layout:
    """The folders that a run of this configuration in this folder reads and writes."""
    return Layout(project / run.config.paths.data, project / run.config.paths.artifacts)


@dataclass(frozen=True)
class RunName:
    """What a run is called, and where its artifacts will lie.

    Attributes:
        run_id: as `moola run` gives it.
        rooms: stage -> the room of its artifacts, below the project.
    """

    run_id: str
    rooms: Mapping[str, str]


def name_run(run: ComposedRun, project: Path) -> RunName:
    """The name that `moola run` gives this configuration in this folder; files that it names are read for it.

    Raises:
        MoolaError: it cannot run: wrong keys in its sections, or files that are missing or cannot be fetched.
    """
    from moola.pipelines.assembly import assemble, run_identity

    gc.disable()  # half a second: a million objects are imported, and none of them is garbage
    try:
        with contextlib.chdir(project):
            pipeline = assemble(run.config, here=False)
            return RunName(run_identity(run.config, pipeline), {stage.name: stage.room for stage in pipeline.stages})
    finally:
        gc.enable()
