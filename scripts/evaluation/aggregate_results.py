"""All finished runs in one table: aggregate_results.py [RESULTS_FOLDER] [--csv FILE]; the last line is the file."""

import argparse
import sys
from pathlib import Path

from moola.cli import guarded
from moola.layout import replace_atomically
from moola.pipelines.results import aggregate_results


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=Path("artifacts/results"))
    parser.add_argument("--csv", type=Path, default=None, help="default: RESULTS_FOLDER/aggregate.csv")
    arguments = parser.parse_args()
    table, broken = aggregate_results(arguments.results)
    for error in broken:
        print(f"left out: {error.what}", file=sys.stderr)
    print(f"{table.height} figures of {table['run_id'].n_unique()} runs")
    target = arguments.csv or arguments.results / "aggregate.csv"
    with replace_atomically(target) as handle:
        table.write_csv(handle)
    print(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
