"""``moola pod pull``: what a run has left so far."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened, report, under_lease
from moola.pods.attending import Ended
from moola.pods.running import PodRun


def main(words: Sequence[str]) -> int:
    """Results of a finished run are published; of another one, its working state comes as a checkpoint."""
    parser = parser_of("pull", "Bring here what a run has left so far; results of a finished one are published.")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(arguments.json))
    return report(under_lease(run, lambda: _pulled(run)), arguments.json)


def _pulled(run: PodRun) -> Ended:
    return run.back() or run.pull(*run.found())
