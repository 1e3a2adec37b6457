"""``moola search ls``: every search, and how far it is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from moola.commands.layout import add_artifacts, artifacts_of
from moola.errors import EXIT_OK


def main(words: Sequence[str]) -> int:
    """List searches, the one that was written last at the end."""
    parser = argparse.ArgumentParser(prog="moola search ls", description="Every search, and how far it is.")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    from moola.evaluation.metrics import METRICS
    from moola.sweeps.search.folder import read_search, searches_in
    from moola.sweeps.search.results import counted, counts_of
    from moola.sweeps.search.study import best_of

    found = [read_search(folder) for folder in searches_in(artifacts_of(arguments))]
    if arguments.json:
        rows = [{**one.told, "status": one.status, "trials": counts_of(one.trials)} for one in found]
        print(json.dumps(rows, indent=2))
        return EXIT_OK
    for one in found:
        told = one.told
        best = best_of(one.trials, METRICS[told["metric"]].higher_is_better)
        figure = f"{told['metric']} {best.value:.4f}" if best is not None else f"no {told['metric']} yet"
        when = told.get("finished", told.get("started", ""))[:16].replace("T", " ")
        print(f"{when}  {told['name']}  {one.status}  {figure}  {told['model']}, {counted(one.trials)}")
    if not found:
        print("there is no search here yet; begin one: moola search search=logistic_regression")
    return EXIT_OK
