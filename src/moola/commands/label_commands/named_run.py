"""The run that words on the command line mean: one that is named, or one that overrides describe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.errors import ConfigError

if TYPE_CHECKING:
    from moola.config import RunConfig


_TAKE_A_WORD = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--cfg", "-c", "--package", "-p")
"""Options of Hydra whose next word names no run."""


def named_run(words: Sequence[str], artifacts: Path, command: str, target: str, newest: str = "") -> Path | None:
    """The run folder of a run that is named, else of the one that overrides describe, made as far as it takes.

    Args:
        words: a run id or a run folder, or overrides.
        artifacts: where run ids are looked up.
        command: ``labels batch`` and the like, for messages.
        target: stage to which overrides are run.
        newest: a file; without any word it is the run that was finished last and has it. Empty: the default job is run.

    Returns:
        None where Hydra has answered (``--cfg``).

    Raises:
        ConfigError: a run and overrides, or several runs.
        DataError: there is no such run.
        StorageError: no run has the file.
    """
    if newest and not words:
        from moola.pipelines.run_artifacts import newest_run

        return newest_run(artifacts.absolute() / "results", newest)
    taken = {number + 1 for number, word in enumerate(words) if word in _TAKE_A_WORD}
    others = (word for number, word in enumerate(words) if number not in taken)
    named = [word for word in others if "=" not in word and word[:1] not in ("-", "+", "~")]
    if not named:
        return _made(list(words), command, target)
    if len(words) > 1:
        told = f"{' '.join(words)}: name one run, or give overrides of one"
        raise ConfigError([told], f"moola {command} RUN, or moola {command} KEY=VALUE ...")
    from moola.pipelines.results import find_runs

    folders = find_runs(named, artifacts.absolute() / "results")
    if len(folders) != 1:
        raise ConfigError([f"{named[0]}: holds {len(folders)} runs; name one of them"])
    return folders[0]


def _made(overrides: list[str], command: str, target: str) -> Path | None:
    from moola.commands.jobs import for_each
    from moola.pipelines.console_run import run_once

    folders: list[Path] = []
    line = shlex.join(["moola", *command.split(), *overrides])

    def work(config: RunConfig, config_yaml: str) -> None:
        folders.append(run_once(config, config_yaml, target, line))

    for_each(command, overrides, work)
    return folders[-1] if folders else None
