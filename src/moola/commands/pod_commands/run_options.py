"""What commands about one run on a pod share: its id, where results go, and how they speak."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moola.commands.layout import add_folders, layout_of
from moola.commands.pod_commands.pod_parser import PodParser
from moola.errors import EXIT_FAILED, EXIT_OK, EXIT_POD, printable
from moola.pods.log_records import log_line

if TYPE_CHECKING:
    from moola.pods.attending import Ended
    from moola.pods.publishing import Published
    from moola.pods.running import PodRun


def parser_of(command: str, description: str, *, run: bool = True) -> PodParser:
    """A parser with RUN where there is one, ``--json``, ``--data`` and ``--artifacts``."""
    parser = PodParser(prog=f"moola pod {command}", description=description)
    if run:
        parser.add_argument("run", metavar="RUN", help="id of the run, e.g. market-584a4514f71f")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout; what happens goes to stderr")
    add_folders(parser)
    return parser


@dataclass
class Speaker:
    """Tells what happens and shows what a run says; with ``--json``, beside stdout.

    Attributes:
        as_json: whether stdout is for JSON.
    """

    as_json: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, line: str) -> None:
        """What moola itself has to say."""
        self._print(line)

    def show(self, record: Mapping[str, Any]) -> None:
        """A line of the run."""
        self._print(log_line(record))

    def _print(self, line: str) -> None:
        told = re.sub(r"\n(?=\S)", "\n  ", printable(line))  # what a pod says in it begins no line of moola's own
        with self._lock:  # checkpoints come on a thread of their own
            print(told, file=sys.stderr if self.as_json else sys.stdout, flush=True)


def tell_aside(line: str) -> None:
    """Say on stderr what happens, for commands whose stdout is an answer."""
    Speaker(as_json=True).tell(line)


def reopened(arguments: argparse.Namespace, speaker: Speaker) -> PodRun:
    """The run that the arguments name.

    Raises:
        DataError: nobody ordered it here.
    """
    from moola.pods.resuming import reopen_run

    return reopen_run(arguments.run, layout_of(arguments), tell=speaker.tell, show=speaker.show)


def report(ended: Ended, as_json: bool) -> int:
    """Tell how a run ended; the exit code."""
    if as_json:
        print(json.dumps(outcome_of(ended), indent=2))
    else:
        for phase, seconds in ended.seconds.items():
            print(f"{printable(phase, keep=''):20}{seconds:8.1f} s")
        if ended.outcome == "detached":
            print(f"the run goes on: moola pod attach {ended.run}")
        elif ended.published is None:
            print(printable(f"{ended.run} {ended.outcome}: {ended.why}", keep="\t"))
        else:
            print(ended.published.folder)
    if ended.outcome in ("finished", "detached"):
        return EXIT_OK
    return ended.exit_code if ended.outcome == "failed" and 0 < ended.exit_code < EXIT_POD else EXIT_FAILED


def outcome_of(ended: Ended) -> dict[str, Any]:
    """How a run ended, for JSON."""
    published: Published | None = ended.published
    return {
        "run": ended.run,
        "outcome": ended.outcome,
        "why": ended.why,
        "folder": None if published is None else str(published.folder),
        "pod_ended": ended.pod_ended,
        "seconds": {phase: round(seconds, 3) for phase, seconds in ended.seconds.items()},
        "exit_code": ended.exit_code,
    }


def under_lease(run: PodRun, work: Callable[[], Ended]) -> Ended:
    """Do something that one client at a time may do; a closed terminal interrupts it as Ctrl-C does.

    Raises:
        PodTakenError: another client is at the run, or took it over.
    """
    from moola.pods.keeping import alone_at, interrupted_by

    with interrupted_by(signal.SIGTERM, signal.SIGHUP):
        return alone_at(run, work)
