"""``moola pod logs``: what a run says."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moola.commands.pod_commands.pod_parser import count
from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened
from moola.errors import EXIT_OK, MoolaError
from moola.pods.attaching import FINAL_PHASES, POLL_S, LogCopy, log_copies
from moola.pods.log_records import log_line, read_record
from moola.pods.provider import PodError, PodRecord
from moola.pods.running import PodRun
from moola.pods.session import RunOnPod

_ALL = 1 << 62


def main(words: Sequence[str]) -> int:
    """The lines that are here, then those that the pod has; nothing is changed, so others may follow the run."""
    parser = parser_of("logs", "Print what a run says, from every pod that it was on.")
    parser.add_argument("-f", "--follow", action="store_true", help="wait for more until the job has ended")
    parser.add_argument("-n", "--lines", type=count, default=_ALL, metavar="N", help="the last N only")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(as_json=True))

    def show(record: Mapping[str, Any]) -> None:
        print(json.dumps(record) if arguments.json else log_line(record), flush=True)

    found, why_not = _found(run)
    read = _Reading(run.folder, found)
    try:
        for record in deque(read.said(), maxlen=arguments.lines) if arguments.lines < _ALL else read.said():
            show(record)
        if arguments.follow:
            for record in read.news():
                show(record)
    finally:
        run.close()
    if why_not is not None:
        print(why_not.spoken(), file=sys.stderr)
    return EXIT_OK


def _found(run: PodRun) -> tuple[tuple[PodRecord, RunOnPod] | None, MoolaError | None]:
    """The pod, or why there is none that answers: what came here before can be read all the same."""
    try:
        found = run.find()
        return found, None if found is not None else run.what_became()
    except PodError as error:
        return None, error


class _Reading:
    """Reads on from one byte, so that nothing is lost or there twice between what was said and the news."""

    def __init__(self, folder: Path, found: tuple[PodRecord, RunOnPod] | None) -> None:
        self._folder, self._found, self._offset = folder, found, 0

    def said(self) -> Iterator[Mapping[str, Any]]:
        """Of pods that are gone, what came here; of the one that is there, all."""
        for path in log_copies(self._folder):
            if self._found is None or path.stem != self._found[0].pod_id:
                yield from LogCopy(path).records()
        if self._found is not None:
            for line, offset in self._found[1].said():
                self._offset = offset
                yield read_record(line)

    def news(self) -> Iterator[Mapping[str, Any]]:
        """What the pod says from then on, until the job has ended."""
        if self._found is None:
            return
        _, pod = self._found
        while True:
            lines, self._offset = pod.tail(self._offset, POLL_S)
            yield from map(read_record, lines)
            if not lines and pod.status().get("phase") in FINAL_PHASES:
                return
