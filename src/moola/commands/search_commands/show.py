"""``moola search show``: the best trials of a search, what failed, and what the winner is worth."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from moola.commands.layout import add_artifacts
from moola.errors import EXIT_OK, printable


def main(words: Sequence[str]) -> int:
    """Show a search, finished or not."""
    parser = argparse.ArgumentParser(
        prog="moola search show", description="The best trials of a search, what failed, and what the winner is worth."
    )
    parser.add_argument("search", nargs="?", metavar="NAME", help="default: the one that was written last")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    from moola.evaluation.metrics import METRICS
    from moola.sweeps.search.folder import find_search, read_search
    from moola.sweeps.search.results import counted, table_of

    found = read_search(find_search(arguments.search, arguments.artifacts))
    told = found.told
    if arguments.json:
        print(json.dumps({**told, "status": found.status, "records": [vars(one) for one in found.trials]}, indent=2))
        return EXIT_OK
    print(f"{told['name']}: {told['model']}, {found.status}, {counted(found.trials)}, in {told['storage']}")
    print(table_of(found.trials, METRICS[told["metric"]].higher_is_better, told["metric"]))
    for one in found.trials:
        if one.status == "failed":
            print(f"trial {one.number} failed: {(one.why.splitlines() or [''])[0]}")
    if found.status == "interrupted":
        print(f"the same command goes on: {printable(told['command'], keep='')}")
    for sentence in [*told.get("verdict", ()), *(f"note: {warning}" for warning in told.get("warnings", ()))]:
        print(sentence)
    if "experiment" in told:
        print(told["experiment"])
    return EXIT_OK
