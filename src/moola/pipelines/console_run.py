"""One run that a person watches: it tells how far it is, and a signal ends it with everything finished kept."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.config import RunConfig

if TYPE_CHECKING:
    from moola.pipelines.events import Event


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


def run_once(config: RunConfig, config_yaml: str, target: str | None, line: str, notes: Sequence[str] = ()) -> Path:
    """Run one configuration as far as the stage `target`, tell how far it is, and return the run folder."""
    from moola.pipelines.console import open_console
    from moola.pipelines.run import execute

    console = open_console()

    def listener(event: Event) -> None:
        interruptions.look(event)
        console(event)

    try:
        return execute(config, config_yaml, target, [line], listener, notes)
    finally:
        console.close()
