"""``moola pod resume``: go on with a run, on a new pod where the old one is gone."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened, report, under_lease


def main(words: Sequence[str]) -> int:
    """The bundle, the settings and the last checkpoint are those of before."""
    parser = parser_of("resume", "Go on with a run from its last checkpoint, on a new pod where the old one is gone.")
    parser.add_argument("-d", "--detach", action="store_true", help="leave when the run has started")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(arguments.json))
    return report(under_lease(run, lambda: run.go(detach=arguments.detach)), arguments.json)
