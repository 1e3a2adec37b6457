"""``moola pod logs``: what a run says."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened
from moola.errors import EXIT_OK
from moola.pods.attaching import POLL_S, LogCopy, log_copies
from moola.pods.running import PodRun

_ALL = 1 << 62


def main(words: Sequence[str]) -> int:
    """The lines that are here, then those that the pod has; nothing is changed, so others may follow the run."""
    parser = parser_of("logs", "Print what a run says, from every pod that it was on.")
    parser.add_argument("-f", "--follow", action="store_true", help="wait for more until the job has ended")
    parser.add_argument("-n", "--lines", type=int, default=_ALL, metavar="N", help="the last N only")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(as_json=True))

    def show(record: Mapping[str, Any]) -> None:
        print(json.dumps(record) if arguments.json else f"{record['step']:>11} | {record['text']}", flush=True)

    for record in deque(_said(run), maxlen=arguments.lines) if arguments.lines < _ALL else _said(run):
        show(record)
    if arguments.follow:
        for record in _news(run):
            show(record)
    return EXIT_OK


def _said(run: PodRun) -> Iterator[Mapping[str, Any]]:
    """Of pods that are gone, what came here; of the one that is there, all."""
    found = run.find()
    for path in log_copies(run.folder):
        if found is None or path.stem != found[0].pod_id:
            yield from LogCopy(path).records()
    if found is not None:
        offset, lines = 0, [""]
        while lines:
            lines, offset = found[1].tail(offset, 0.0)
            yield from map(json.loads, lines)


def _news(run: PodRun) -> Iterator[Mapping[str, Any]]:
    """What the pod says from now on, until the job has ended."""
    found = run.find()
    if found is None:
        return
    _, pod = found
    offset = pod.log_size()
    while True:
        lines, offset = pod.tail(offset, POLL_S)
        yield from map(json.loads, lines)
        if not lines and pod.status().get("phase") in ("waiting", "ending", "over"):
            return
