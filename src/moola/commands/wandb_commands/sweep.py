"""``moola wandb sweep``: a W&B sweep whose runs are runs of moola."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.wandb_commands.options import write_out
from moola.errors import EXIT_OK, StorageError

if TYPE_CHECKING:
    from moola.config import RunConfig

_MARK = "# Written by `moola wandb sweep`, which may replace this file."
_METHODS = ("grid", "random", "bayes")


def main(words: Sequence[str]) -> int:
    """Write the file, and say how an agent is started."""
    parser = argparse.ArgumentParser(
        prog="moola wandb sweep",
        description="Write a W&B sweep over overrides of `moola run`: KEY=A,B and range(...) are searched, interval(A, "
        "B) is drawn from, tag(log, interval(A, B)) evenly in its logarithm; what has one value stays as it is.",
    )
    parser.add_argument("overrides", nargs="+", metavar="OVERRIDE", help="KEY=VALUES, search=NAME or FILE.yaml")
    parser.add_argument("--method", choices=_METHODS, help="default: grid, or random where something is drawn")
    parser.add_argument("--metric", metavar="NAME", help="of the run's summary; bayes needs one")
    parser.add_argument("--goal", choices=("maximize", "minimize"), default="maximize", help="default: maximize")
    parser.add_argument("--name", default="moola", help="of the sweep; default: moola")
    parser.add_argument("--runs", type=int, metavar="N", help="end after so many runs")
    parser.add_argument("--out", type=Path, default=Path("sweep.yaml"), metavar="FILE", help="default: sweep.yaml")
    arguments = parser.parse_intermixed_args(words)
    is_there = _is_ours(arguments.out)
    import yaml

    from moola.sweeps.wandb_sweep import checked, read_space, sweep_of

    sweep = sweep_of(
        checked(read_space(arguments.overrides), _config_of),
        name=arguments.name,
        method=arguments.method,
        metric=arguments.metric,
        goal=arguments.goal,
        runs=arguments.runs,
    )
    write_out(arguments.out, f"{_MARK}\n{yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True)}")
    print(arguments.out)
    if is_there:
        print("the sweep that was in it is replaced")
    print(f"start it:   {shlex.join(['wandb', 'sweep', str(arguments.out)])}")
    print("then, on every machine that is to work:   wandb agent ENTITY/PROJECT/SWEEP   (as `wandb sweep` prints it)")
    return EXIT_OK


def _is_ours(path: Path) -> bool:
    """Whether there is a sweep of this command's already; False: there is no file.

    Raises:
        StorageError: something else is there.
    """
    if not path.exists():
        return False
    first = b""
    if path.is_file():
        with path.open("rb") as handle:
            first = handle.readline()
    if first.rstrip() != _MARK.encode():
        way_out = "choose another place: --out FILE, or remove it"
        raise StorageError(f"--out: {path} is there already", "`moola wandb sweep` did not write it", way_out)
    return True


def _config_of(words: Sequence[str]) -> RunConfig:
    """The configuration of a point, as a run would find it: keys of its stages checked, too.

    Raises:
        ConfigError: all that is wrong with it.
    """
    from moola.pipelines.assembly import assemble
    from moola.pods.composed_run import compose

    config = compose(words, Path.cwd()).config
    assemble(config, here=False)
    return config
