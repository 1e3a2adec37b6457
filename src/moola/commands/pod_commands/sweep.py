"""``moola pod run -m``: a sweep whose points are runs on pods, several of them at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from moola.commands.pod_commands.pack import limits_of
from moola.commands.pod_commands.pod_options import given_keys
from moola.commands.pod_commands.pod_parser import whole
from moola.errors import EXIT_OK, ConfigError

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
        "--pods", type=whole, metavar="K", help="with -m: pods at once; all hosts, or one that is rented"
    )
    parser.add_argument("--jobs-per-pod", type=whole, metavar="N", help="with -m: points at a time on a host (1)")
    parser.add_argument("--yes", action="store_true", help="with -m: rent without asking")


def sweep(arguments: argparse.Namespace) -> int:
    """Run the sweep that the arguments tell of.

    Raises:
        MoolaError: see `moola.sweeps.multirun.multirun`.
    """
    from moola.pipelines.console_run import end_on_signals
    from moola.sweeps.multirun import multirun
    from moola.sweeps.pod_launcher import LAUNCHER, POD_WORDS, PodWords

    given = vars(arguments)
    idle = [f"--{name.replace('_', '-')}: not with -m; {told}" for name, told in _OF_ONE_RUN.items() if given[name]]
    if idle:
        raise ConfigError(idle)
    words = ["-m", f"hydra/launcher={LAUNCHER}", *arguments.overrides]
    words += [f"hydra.launcher.{name}={given[name]}" for name in SWEEP_FLAGS[:2] if given[name] is not None]
    words += [f"paths.{name}='{given[name]}'" for name in ("data", "artifacts") if given[name] != Path(name)]
    words += ["--yes"] if arguments.yes else []
    POD_WORDS.set(PodWords(flags=given_keys(arguments), limits=limits_of(arguments)))
    end_on_signals()
    multirun("run", words)
    return EXIT_OK
