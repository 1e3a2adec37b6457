"""``moola pod run``: one command from here to a pod and back."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.commands.layout import layout_of
from moola.commands.pod_commands.pack import add_limits, limits_of
from moola.commands.pod_commands.pod_options import add_pod_options, given_keys
from moola.commands.pod_commands.run_options import Speaker, parser_of, report, under_lease
from moola.commands.pod_commands.sweep import SWEEP_FLAGS, add_sweep_options, sweep

if TYPE_CHECKING:
    from moola.pods.estimating import Estimate
    from moola.pods.packing import PackLimits
    from moola.pods.running import PodRun
    from moola.pods.settings import PodSettings


def main(words: Sequence[str]) -> int:
    """Pack, find a pod, send, run, follow, bring back, end the pod."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(words)
    if arguments.multirun:
        return sweep(arguments, words)
    refused = [flag for flag in SWEEP_FLAGS if getattr(arguments, flag)]
    if refused:
        parser.error("; ".join(f"--{flag.replace('_', '-')}: needs -m" for flag in refused))
    speaker = Speaker(arguments.json)
    run, estimate = _prepared(arguments, speaker)
    if arguments.dry_run:
        speaker.tell("nothing was asked for (--dry-run)")
        if arguments.json:
            print(json.dumps(_planned(run, estimate), indent=2))
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
    add_limits(parser)
    parser.add_argument("--dry-run", action="store_true", help="pack and estimate, ask for nothing")
    add_sweep_options(parser)
    return parser


def _prepared(arguments: argparse.Namespace, speaker: Speaker) -> tuple[PodRun, Estimate | None]:
    """Everything that can be found wrong before a pod exists."""
    from moola.pods.estimating import check_budget
    from moola.pods.last_digits import moved_digits
    from moola.pods.packing import pack
    from moola.pods.resuming import open_run
    from moola.pods.settings import split_words

    of_pod, overrides = split_words(arguments.overrides)
    settings, limits = _checked(arguments, of_pod, overrides)
    layout = layout_of(arguments)
    packed = pack(Path.cwd(), overrides, layout, limits=limits)
    facts, files = packed.bundle.facts, packed.bundle.files
    size = sum(file.size for file in files) / 1e6
    speaker.tell(f"run {facts['run_id']}, bundle {packed.bundle.bundle_id}: {len(files)} files, {size:.1f} MB")
    words = moved_digits(os.environ, settings.env) if settings.provider != "local" else ""  # it inherits them
    if words:
        speaker.tell(words)
    run = open_run(packed.bundle, settings, layout, tell=speaker.tell, show=speaker.show)
    return run, check_budget(run)


def _checked(
    arguments: argparse.Namespace, of_pod: Sequence[str], overrides: Sequence[str]
) -> tuple[PodSettings, PackLimits]:
    """What flags and words mean.

    Raises:
        ConfigError: all that is wrong with them, and a key that is missing: before packing, which takes a while.
    """
    from moola.config import ConfigProblems
    from moola.pods.composed_run import compose, words_of
    from moola.pods.providers import needed_key
    from moola.pods.settings import load_settings

    problems = ConfigProblems()
    settings = problems.attempt(lambda: load_settings(of_pod, given_keys(arguments)))
    limits = problems.attempt(lambda: limits_of(arguments))
    if settings is not None and settings.provider == "runpod":
        problems.attempt(needed_key)
    if settings is None or limits is None or problems:
        problems.attempt(lambda: compose(words_of(overrides), Path.cwd()))  # else packing does it, once
        raise problems.error()
    return settings, limits


def _planned(run: PodRun, estimate: Estimate | None) -> dict[str, Any]:
    files = run.bundle.files
    return {
        "run": run.run,
        "bundle": run.bundle.bundle_id,
        "overrides": run.bundle.facts["overrides"],
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "provider": run.settings.provider,
        "estimate": estimate and estimate.plain,
    }
