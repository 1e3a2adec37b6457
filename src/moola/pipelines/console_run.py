"""One run that a person watches: it tells how far it is, and a signal ends it with everything finished kept."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.config import RunConfig

if TYPE_CHECKING:
    from moola.pipelines.events import Event

_OF_PRETRAINING = ("objective", "augment.pretrain", "trainer.pretrain", "trainer.monitoring")
"""Keys that only pretraining reads."""


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


interruptions = Interruptions()
"""Of this process, with its memory of signals that came."""


def end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end this process with everything finished kept."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interruptions)


def run_once(config: RunConfig, config_yaml: str, target: str | None, line: str, words: Sequence[str] = ()) -> Path:
    """Run one configuration as far as a stage, tell how far it is, and return the run folder.

    Args:
        config: of the run.
        config_yaml: the same as YAML, to repeat it.
        target: stage that it ends with; None: all of them.
        line: the command.
        words: overrides that it comes from; those that change nothing are told.
    """
    from moola.pipelines.console import open_console
    from moola.pipelines.run import execute

    console = open_console()

    def listener(event: Event) -> None:
        interruptions.look(event)
        console(event)

    try:
        return execute(config, config_yaml, target, [line], listener, _idle(config, words))
    finally:
        console.close()


def _idle(config: RunConfig, words: Sequence[str]) -> list[str]:
    """What to tell of words that change nothing, because a named encoder takes the place of pretraining."""
    keys = {word: re.split(r"[=@]", word.lstrip("+~"), maxsplit=1)[0] for word in words}
    idle = [word for word, key in keys.items() if any(f"{key}.".startswith(f"{own}.") for own in _OF_PRETRAINING)]
    if config.encoder_from is None or not idle:
        return []
    return [f"nothing is pretrained, because encoder_from is given: without effect are {' '.join(idle)}"]
