"""What pretraining was worth in a run: diagnose_transfer_learning.py RUN; the last line is the file with it."""

import argparse
from pathlib import Path

from moola.cli import guarded
from moola.layout import write_json
from moola.pipelines.results import find_runs, open_run
from moola.pipelines.transfer_diagnosis import diagnose_transfer


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="RUN", help="run id or run folder")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: transfer.json in the run folder")
    arguments = parser.parse_args()
    run = open_run(find_runs([arguments.run], arguments.artifacts / "results")[0])
    found = diagnose_transfer(run)
    print("\n".join(found.lines()))
    target = arguments.json or run.folder / "transfer.json"
    write_json(target, found.to_json())
    print(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
