"""What pretraining was worth in a run: diagnose_transfer_learning.py RUN; the last line is transfer.json."""

import argparse
import sys
from pathlib import Path

from moola.errors import MoolaError
from moola.layout import write_json
from moola.pipelines.results import find_runs, open_run
from moola.pipelines.transfer_diagnosis import diagnose_transfer


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="RUN", help="run id or run folder")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    arguments = parser.parse_args()
    try:
        run = open_run(find_runs([arguments.run], arguments.artifacts / "results")[0])
        found = diagnose_transfer(run)
    except MoolaError as error:
        print(error.spoken(), file=sys.stderr)
        return error.exit_code
    print("\n".join(found.lines()))
    write_json(run.folder / "transfer.json", found.to_json())
    print(run.folder / "transfer.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
