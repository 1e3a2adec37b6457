"""``moola pod attach``: follow a run to its end, and bring back what it leaves."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened, report, under_lease
from moola.pods.attending import Ended, attend
from moola.pods.running import PodRun


def main(words: Sequence[str]) -> int:
    """Go on at the line at which the last client left."""
    arguments = parser_of("attach", "Follow a run to its end, and bring back what it leaves.").parse_args(words)
    run = reopened(arguments, Speaker(arguments.json))
    return report(under_lease(run, lambda: _attended(run)), arguments.json)


def _attended(run: PodRun) -> Ended:
    return run.back() or attend(run, *run.found())
