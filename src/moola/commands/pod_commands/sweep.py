"""``moola pod run -m``: a sweep whose points are runs on pods, several of them at once."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.pod_commands.pack import limits_of
from moola.commands.pod_commands.pod_options import given_keys
from moola.commands.pod_commands.pod_parser import whole
from moola.errors import EXIT_OK

if TYPE_CHECKING:
    from moola.layout import Layout
    from moola.pods.ledger import Ledger

BY_NAME = "by its id or its first letters, where no other begins so, or by its folder"
"""How commands about the pods of a sweep have it named."""
SWEEP_FLAGS = ("pods", "jobs_per_pod", "yes")
_OF_ONE_RUN = {
    "detach": "Ctrl-C leaves a sweep, and what has begun goes on",
    "dry_run": "`moola pod pack --dry-run` tells of one point",
    "json": "`moola sweep show --json` tells of it",
}
"""Options that mean nothing to a sweep -> what does."""


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """What only a sweep takes."""
    parser.add_argument("-m", "--multirun", action="store_true", help="a run of each combination: seeds=[0],[1]")
    parser.add_argument(
        "--pods", type=whole, metavar="K", help="with -m: pods at once; all hosts, or one that is rented for them"
    )
    parser.add_argument("--jobs-per-pod", type=whole, metavar="N", help="with -m: points at a time on each (1)")
    parser.add_argument("--yes", action="store_true", help="with -m: rent without asking")


def runs_of_sweep(sweep: str, layout: Layout, ledger: Ledger) -> list[str]:
    """Runs of the points of a sweep, which is named as `find_sweep` takes it, then those that rented pods for it."""
    from moola.pipelines.sweep_record import find_sweep, read_sweep
    from moola.pods.lending import pod_runs

    folder = find_sweep(sweep, layout.results)
    return [point.run_id for point in read_sweep(folder).points if point.run_id] + pod_runs(folder.name, ledger)


def call_off(sweep: str, layout: Layout, ledger: Ledger) -> None:
    """Have a client that is at a sweep begin no more of its points."""
    from moola.pipelines.sweep_record import find_sweep
    from moola.pods.lending import CALLED_OFF

    ledger.add_event(find_sweep(sweep, layout.results).name, "", CALLED_OFF, "by a command")


def sweep(arguments: argparse.Namespace, line: Sequence[str]) -> int:
    """Run the sweep that the arguments tell of.

    Args:
        arguments: of ``moola pod run``.
        line: its words as they were given, for the record.

    Raises:
        MoolaError: see `moola.sweeps.multirun.multirun`.
    """
    from moola.config import ConfigProblems
    from moola.pipelines.console_run import end_on_signals
    from moola.pods.packing import PackLimits
    from moola.sweeps.multirun import multirun
    from moola.sweeps.pod_launcher import LAUNCHER, POD_WORDS, PodWords

    given = vars(arguments)
    problems = ConfigProblems()
    idle = {name: told for name, told in _OF_ONE_RUN.items() if given[name]}
    problems.extend(f"--{name.replace('_', '-')}: not with -m; {told}" for name, told in idle.items())
    limits = problems.attempt(lambda: limits_of(arguments)) or PackLimits()
    words = ["-m", f"hydra/launcher={LAUNCHER}", *arguments.overrides]
    words += [f"hydra.launcher.{name}={given[name]}" for name in SWEEP_FLAGS[:2] if given[name] is not None]
    words += [f"paths.{name}='{given[name]}'" for name in ("data", "artifacts") if given[name] != Path(name)]
    words += ["--yes"] if arguments.yes else []
    said = POD_WORDS.set(PodWords(flags=given_keys(arguments), limits=limits, problems=tuple(problems)))
    try:
        end_on_signals()
        multirun("run", words, shlex.join(["moola", "pod", "run", *line]))
    finally:
        POD_WORDS.reset(said)
    return EXIT_OK
