"""``moola pod stop``: end a run with its checkpoint, bring that here, and end the pod."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened, report, under_lease
from moola.errors import EXIT_OK
from moola.pods.attending import Ended
from moola.pods.running import PodRun
from moola.pods.stopping import pass_on_stop, stop


def main(words: Sequence[str]) -> int:
    """0 where it stopped, or had ended before."""
    parser = parser_of("stop", "End a run with its checkpoint, bring that here, and end the pod.")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(arguments.json))
    ended = _passed_on(run) or under_lease(run, lambda: stop(run))
    code = report(ended, arguments.json)
    return EXIT_OK if ended.outcome == "stopped" else code


def _passed_on(run: PodRun) -> Ended | None:
    """What came of it where another client follows the run and stops it for us."""
    holder = run.ledger.lease_holder(run.run)
    if holder is None:
        return None
    try:
        return pass_on_stop(run, holder)
    finally:
        run.close()
