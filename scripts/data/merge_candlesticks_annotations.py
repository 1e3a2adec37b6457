"""Merge annotation batches: merge_candlesticks_annotations.py BATCH.json ... [--out FOLDER]; the last line is FOLDER.

FOLDER gets merged.json, conflicts.csv and master_index.csv. With conflicts the exit code is 3; nothing is decided.
"""

import argparse
import sys
from pathlib import Path

from moola.errors import EXIT_DATA, EXIT_OK, MoolaError
from moola.labels.exchange.batch_json import ZONE, read_annotations
from moola.labels.exchange.batch_merging import merge


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("batches", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("data/corrections/candlesticks_annotations"))
    parser.add_argument(
        "--zone", nargs=2, type=int, default=ZONE, metavar=("FIRST", "END"), help="where a file says none: 30 75"
    )
    parser.add_argument("--classes", nargs="+", help="kinds there may be; default: any")
    arguments = parser.parse_args()
    try:
        merged = merge(read_annotations(arguments.batches, tuple(arguments.zone), arguments.classes))
        merged.write(arguments.out)
    except MoolaError as error:
        print(error.spoken(), file=sys.stderr)
        return error.exit_code
    for window_id, over, said in merged.conflicts.iter_rows():
        print(f"{window_id}: they differ about the {over}: {said}")
    print(f"{len(merged.index)} annotations, {len(merged.merged)} windows merged, {len(merged.conflicts)} in conflict")
    print(arguments.out)
    return EXIT_DATA if len(merged.conflicts) else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
