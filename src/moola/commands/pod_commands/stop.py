"""``moola pod stop``: end a run with its checkpoint, bring that here, and end the pod."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened, report, under_lease
from moola.errors import EXIT_OK
from moola.pods.attending import Ended, attend
from moola.pods.running import PodRun


def main(words: Sequence[str]) -> int:
    """0 where it stopped, or had ended before."""
    parser = parser_of("stop", "End a run with its checkpoint, bring that here, and end the pod.")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(arguments.json))
    ended = under_lease(run, lambda: _stopped(run))
    code = report(ended, arguments.json)
    return EXIT_OK if ended.outcome == "stopped" else code


def _stopped(run: PodRun) -> Ended:
    record, pod = run.found()
    pod.write("stop.json", {"attempt": pod.job().get("attempt"), "why": "moola pod stop"})
    return attend(run, record, pod)
