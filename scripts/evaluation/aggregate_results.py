"""All finished runs in one table: aggregate_results.py [RESULTS_FOLDER] [--csv FILE]; the last line is the file."""

import argparse
import sys
from pathlib import Path

from moola.errors import MoolaError
from moola.pipelines.results import aggregate_results


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=Path("artifacts/results"))
    parser.add_argument("--csv", type=Path, default=None, help="default: RESULTS_FOLDER/aggregate.csv")
    arguments = parser.parse_args()
    try:
        table = aggregate_results(arguments.results)
    except MoolaError as error:
        print(error.spoken(), file=sys.stderr)
        return error.exit_code
    target = arguments.csv or arguments.results / "aggregate.csv"
    table.write_csv(target)
    print(f"{table.height} figures of {table['run_id'].n_unique()} runs")
    print(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
