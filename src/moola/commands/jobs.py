"""The jobs of the pipeline: compose the configuration, run it as far as the job goes, print what came out."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import EXIT_OK, MoolaError

if TYPE_CHECKING:
    from moola.config import RunConfig
    from moola.pipelines.events import Event


_OF_PRETRAINING = ("objective", "augment.pretrain", "trainer.pretrain", "trainer.monitoring")
"""Keys that only pretraining reads."""


def main(command: str, words: Sequence[str]) -> int:
    """Run a job, e.g. ``main("oof", ["seeds=[0]"])``; with ``-m`` once for each combination."""
    line = shlex.join(["moola", command, *words])

    def job(config: RunConfig, config_yaml: str) -> None:
        folder = run_once(config, config_yaml, None if command == "run" else command, line, _idle(config, words))
        if _speaks(os.environ):
            _print_outcome(folder)

    for_each(command, words, job)
    return EXIT_OK


def _speaks(environment: Mapping[str, str]) -> bool:
    """Whether this process tells the outcome: of those that ``torchrun`` started, the first one does."""
    return "TORCHELASTIC_RUN_ID" not in environment or environment.get("RANK") == "0"


def _idle(config: RunConfig, words: Sequence[str]) -> list[str]:
    """What to tell of words that change nothing, because a named encoder takes the place of pretraining."""
    keys = {word: re.split(r"[=@]", word.lstrip("+~"), maxsplit=1)[0] for word in words}
    idle = [word for word, key in keys.items() if any(f"{key}.".startswith(f"{own}.") for own in _OF_PRETRAINING)]
    if config.encoder_from is None or not idle:
        return []
    return [f"nothing is pretrained, because encoder_from is given: without effect are {' '.join(idle)}"]


def for_each(command: str, words: Sequence[str], work: Callable[[RunConfig, str], None]) -> None:
    """Call `work` with each composed configuration, checked, and as YAML.

    Raises:
        MoolaError: of the last configuration that failed; what went wrong in the others has been printed.
    """
    from moola.composition import compose_and_call

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interruptions)
    failures: list[BaseException] = []

    def job(composed: Any) -> None:
        from omegaconf import OmegaConf

        from moola.config import from_omegaconf

        try:
            config = from_omegaconf(composed)
            kept = OmegaConf.merge(composed, {"force": []})  # to repeat is not to force
            work(config, OmegaConf.to_yaml(kept, resolve=True))
        except Exception as error:  # Hydra would print its own words around it; raised again below
            failures.append(error)

    compose_and_call(command, list(words), job)
    for failure in failures[:-1]:
        if not isinstance(failure, MoolaError):
            raise failure
        print(failure.spoken(), file=sys.stderr)
    if failures:
        raise failures[-1]


class Interruptions:
    """Ends a job on SIGTERM as on Ctrl-C: with everything finished kept.

    An exception that is raised while a weak reference or a destructor calls back is dropped by Python, so the signal is
    remembered and raised again at the next event that says that work goes on.
    """

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: object) -> None:
        """What the signals call."""
        self.came = True
        raise KeyboardInterrupt

    def look(self, event: Mapping[str, Any]) -> None:
        """Raise what was dropped.

        Raises:
            KeyboardInterrupt: a signal came, and the job goes on all the same.
        """
        if self.came and event["event"] in ("progress", "stage_started"):
            raise KeyboardInterrupt


_interruptions = Interruptions()


def run_once(config: RunConfig, config_yaml: str, target: str | None, line: str, notes: Sequence[str] = ()) -> Path:
    """Run one configuration as far as the stage `target`, tell how far it is, and return the run folder."""
    from moola.pipelines.console import open_console
    from moola.pipelines.run import execute

    console = open_console()

    def listener(event: Event) -> None:
        _interruptions.look(event)
        console(event)

    try:
        return execute(config, config_yaml, target, [line], listener, notes)
    finally:
        console.close()


def _print_outcome(folder: Path) -> None:
    from moola.layout import read_json

    if (folder / "summary.json").exists():
        summary = read_json(folder / "summary.json")
        print()
        for sentence in summary["verdict"]:
            print(sentence + "\n")
        for alarm in summary["alarms"]:
            print(f"{alarm['severity']}: {alarm['message']}")
        print(f"\nopen {folder / 'report.html'}")
    print(folder)
