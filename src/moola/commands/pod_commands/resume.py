"""``moola pod resume``: go on with a run, on a new pod where the old one is gone."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened, report, under_lease
from moola.pods.pod_job import KEEPS
from moola.pods.provider import PodError


def main(words: Sequence[str]) -> int:
    """The bundle, the settings and the last checkpoint are those of before."""
    parser = parser_of("resume", "Go on with a run from its last checkpoint, on a new pod where the old one is gone.")
    parser.add_argument("-d", "--detach", action="store_true", help="leave when the run has started")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(arguments.json))
    if run.bundle.facts.get(KEEPS):
        why, way_out = "without the sweep no point would come to it", "the command of the sweep rents what it needs"
        raise PodError(f"{arguments.run} rented a pod for a sweep", why, way_out)
    return report(under_lease(run, lambda: run.go(detach=arguments.detach)), arguments.json)
