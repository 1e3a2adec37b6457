"""``moola wandb sweep``: a W&B sweep whose runs are runs of moola."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from moola.errors import EXIT_OK

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
    import yaml

    from moola.config import ConfigProblems
    from moola.layout import write_text
    from moola.pods.composed_run import compose
    from moola.sweeps.wandb_sweep import read_space, sweep_of

    space = read_space(arguments.overrides)
    sweep = sweep_of(
        space,
        name=arguments.name,
        method=arguments.method,
        metric=arguments.metric,
        goal=arguments.goal,
        runs=arguments.runs,
    )
    problems = ConfigProblems()
    for words_of_point in space.samples:
        problems.attempt(lambda words_of_point=words_of_point: compose(words_of_point, Path.cwd()))
    if problems:
        raise problems.error()
    write_text(arguments.out, yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True))
    print(arguments.out)
    print(f"start it:   wandb sweep {arguments.out}")
    print("then, on every machine that is to work:   wandb agent ENTITY/PROJECT/SWEEP   (as `wandb sweep` prints it)")
    return EXIT_OK
