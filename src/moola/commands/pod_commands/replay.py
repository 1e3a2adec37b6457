"""``moola pod replay``: what a run said, at the pace at which it said it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import Speaker, parser_of
from moola.errors import EXIT_OK, DataError, did_you_mean
from moola.pods.attaching import LogCopy, log_copies
from moola.pods.publishing import RESULTS, result_folder

_LONGEST_PAUSE_S = 2.0


def main(words: Sequence[str]) -> int:
    """From the copies that are here; no pod is asked."""
    parser = parser_of("replay", "Show what a run said, at the pace at which it said it, from what is here.")
    parser.add_argument("--speed", type=float, default=10.0, metavar="X", help="times faster; default: 10")
    arguments = parser.parse_args(words)
    if not arguments.speed > 0:
        parser.error(f"--speed: {arguments.speed:g} must be above 0")
    layout, speaker = layout_of(arguments), Speaker()
    logs = log_copies(result_folder(layout, arguments.run))
    if not logs:
        known = [path.parents[1].name for path in layout.room(RESULTS).glob("*/logs/*.jsonl")]
        raise DataError(f"nothing that '{arguments.run}' said is here", did_you_mean(arguments.run, known))
    before: datetime | None = None
    for log in logs:
        for record in LogCopy(log).records():
            at = datetime.fromisoformat(record["at"]) if record["at"] else before
            pause_s = (at - before).total_seconds() / arguments.speed if at and before else 0.0
            time.sleep(min(max(pause_s, 0.0), _LONGEST_PAUSE_S))
            speaker.show(record)
            before = at
    return EXIT_OK
