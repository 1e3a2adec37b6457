"""``moola sweep show``: one table of a sweep."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from moola.commands.layout import add_artifacts, artifacts_of, check_folder_of
from moola.errors import EXIT_OK


def main(words: Sequence[str]) -> int:
    """Show what differs between the points of a sweep, and what each came to."""
    parser = argparse.ArgumentParser(
        prog="moola sweep show",
        description="One table of a sweep: what differs between its points, and what each came to.",
    )
    parser.add_argument("sweep", nargs="?", metavar="SWEEP", help="id, its first letters, or folder; default: the last")
    parser.add_argument("--model", help="whose figures; default: of the best out of fold but baselines and controls")
    parser.add_argument("--metric", default="balanced_accuracy", help="default: balanced_accuracy")
    parser.add_argument("--split", choices=("oof", "test"), default="oof", help="default: oof, by which one may choose")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    form.add_argument("--markdown", action="store_true", help="print the table as a README shows it")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table, too")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    check_folder_of("--csv", arguments.csv)
    from moola.layout import write_text
    from moola.pipelines.sweep_record import find_sweep, is_under_way, read_sweep, read_sweeps
    from moola.sweeps.table import tabulate_sweep

    results = artifacts_of(arguments) / "results"
    sweep = read_sweep(find_sweep(arguments.sweep, results))
    if arguments.sweep is None:
        for name, error in read_sweeps(results)[1].items():
            print(f"moola: left out: {name} ({error.what})", file=sys.stderr)
    table = tabulate_sweep(sweep, arguments.metric, arguments.split, arguments.model)
    if arguments.json:
        told = {
            "sweep": sweep.folder.name,
            "command": sweep.command,
            "under_way": is_under_way(sweep.folder),
            "figure": table.figure,
            "warnings": table.warnings,
            "points": table.records(),
        }
        print(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(table.markdown() if arguments.markdown else table.text())
    if arguments.csv is not None:
        write_text(arguments.csv, table.csv())
    return EXIT_OK
