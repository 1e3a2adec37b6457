"""``moola pod run``: one command from here to a pod and back."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.layout import layout_of
from moola.commands.pod_commands.pod_options import add_pod_options, given_keys
from moola.commands.pod_commands.run_options import Speaker, parser_of, report, under_lease

if TYPE_CHECKING:
    from moola.pods.running import PodRun


def main(words: Sequence[str]) -> int:
    """Pack, find a pod, send, run, follow, bring back, end the pod."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(words)
    speaker = Speaker(arguments.json)
    run = _prepared(arguments, speaker)
    if arguments.dry_run:
        speaker.tell("nothing was asked for (--dry-run)")
        return 0
    return report(under_lease(run, lambda: run.go(detach=arguments.detach, again=run.is_forced)), arguments.json)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "run",
        "Run a configuration on a pod. On RunPod unless --provider says otherwise; keys of the pod are listed in "
        "configs/pod/default.yaml. After anything that cuts this off, the same command goes on.",
        run=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as of `moola run`, or pod.KEY=VALUE")
    add_pod_options(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="leave when the run has started")
    parser.add_argument("--allow", action="append", default=[], metavar="PATH[:LINE]", help="a finding that may travel")
    parser.add_argument("--dry-run", action="store_true", help="pack and estimate, ask for nothing")
    return parser


def _prepared(arguments: argparse.Namespace, speaker: Speaker) -> PodRun:
    """Everything that can be found wrong before a pod exists."""
    from moola.pods.estimating import check_budget
    from moola.pods.last_digits import moved_digits
    from moola.pods.packing import PackLimits, pack
    from moola.pods.resuming import open_run
    from moola.pods.settings import load_settings, split_words

    of_pod, overrides = split_words(arguments.overrides)
    settings = load_settings(of_pod, given_keys(arguments))
    layout = layout_of(arguments)
    packed = pack(Path.cwd(), overrides, layout, limits=PackLimits(allowed=tuple(arguments.allow)))
    facts, files = packed.bundle.facts, packed.bundle.files
    size = sum(file.size for file in files) / 1e6
    speaker.tell(f"run {facts['run_id']}, bundle {packed.bundle.bundle_id}: {len(files)} files, {size:.1f} MB")
    words = moved_digits(os.environ, settings.env) if settings.provider != "local" else ""  # it inherits them
    if words:
        speaker.tell(words)
    run = open_run(packed.bundle, settings, layout, tell=speaker.tell, show=speaker.show)
    check_budget(run)
    return run
