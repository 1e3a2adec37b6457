"""One run that a person watches: it tells how far it is, and a signal ends it with everything finished kept."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.config import RunConfig
from moola.pipelines.held_signals import HeldSignals

if TYPE_CHECKING:
    from moola.pipelines.events import Event

_OF_PRETRAINING = ("objective", "augment.pretrain", "trainer.pretrain", "trainer.monitoring")
"""Keys that only pretraining reads."""
_STEPS = ("progress", "stage_started")
"""Events which say that work goes on; others are told while a job ends, too."""
_SIGNALS = HeldSignals()
"""Of this process."""


def end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end this process with everything finished kept."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _SIGNALS)


@contextlib.contextmanager
def watched() -> Iterator[Callable[[Event], None]]:
    """What a job's events are told in the block: it shows them to a person, and raises signals that were dropped.

    A signal (`end_on_signals`) after which work goes on is raised again at the next event which says so.
    """
    from moola.pipelines.console import open_console

    console = open_console()

    def listener(event: Event) -> None:
        if _SIGNALS.came and event["event"] in _STEPS:  # again and again: libraries swallow the exception, too
            raise KeyboardInterrupt
        console(event)

    try:
        yield listener
    finally:
        console.close()


def run_once(config: RunConfig, config_yaml: str, target: str | None, line: str, words: Sequence[str] = ()) -> Path:
    """Run one configuration as far as a stage, tell how far it is, and return the run folder.

    Args:
        config: of the run.
        config_yaml: the same as YAML, to repeat it.
        target: stage that it ends with; None: all of them.
        line: the command.
        words: overrides that it comes from; those that change nothing are told.
    """
    from moola.pipelines.run import execute

    with watched() as listener:
        return execute(config, config_yaml, target, [line], listener, _idle(config, words))


def _idle(config: RunConfig, words: Sequence[str]) -> list[str]:
    """What to tell of words that change nothing, because a named encoder takes the place of pretraining."""
    keys = {word: re.split(r"[=@]", word.lstrip("+~"), maxsplit=1)[0] for word in words}
    idle = [word for word, key in keys.items() if any(f"{key}.".startswith(f"{own}.") for own in _OF_PRETRAINING)]
    if config.encoder_from is None or not idle:
        return []
    return [f"nothing is pretrained, because encoder_from is given: without effect are {' '.join(idle)}"]
