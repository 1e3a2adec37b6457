"""The best model of some runs, by its out-of-fold figure on the labels as given: select_best_model.py [RUN ...].

The last line is the run of the best. A RUN is a run id, a run folder or a folder of them; default: all there are.
"""

import argparse
import sys
from pathlib import Path

from moola.cli import guarded
from moola.pipelines.results import find_runs, open_runs
from moola.pipelines.run_table import tabulate_runs


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    arguments = parser.parse_args()
    results = arguments.artifacts / "results"
    runs, broken = open_runs(find_runs(arguments.runs or [str(results)], results))
    table = tabulate_runs(runs, split="oof")
    for why in (*(error.what for error in broken), *table.skipped, *table.warnings):
        print(why, file=sys.stderr)
    print(table.text())
    print(table.rows[0].run.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
