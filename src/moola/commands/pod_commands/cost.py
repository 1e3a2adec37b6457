"""``moola pod cost``: what runs cost, as estimated here and as billed."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import parser_of, tell_aside
from moola.commands.pod_commands.tables import print_table, usd
from moola.errors import EXIT_OK, DataError, did_you_mean

if TYPE_CHECKING:
    from moola.pods.ledger import Ledger
    from moola.pods.overview import RunCost


def main(words: Sequence[str]) -> int:
    """Print the cost of one run or of all, by run and by experiment."""
    parser = parser_of("cost", "What runs on pods cost: prices times hours, and the bill where it is there.", run=False)
    parser.add_argument("run", nargs="?", metavar="RUN", help="id of a run; default: all")
    parser.add_argument("--offline", action="store_true", help="ask nobody for the bill")
    arguments = parser.parse_args(words)
    from moola.pods.overview import costs
    from moola.pods.providers import open_ledger

    ledger = open_ledger(layout_of(arguments))
    if not arguments.offline:
        _ask_for_bills(arguments, ledger)
    found = costs(ledger, arguments.run)
    if arguments.run and not found:
        known = {one.run for one in costs(ledger)}
        raise DataError(f"no pod was made for a run '{arguments.run}'", did_you_mean(arguments.run, known))
    if arguments.json:
        print(json.dumps({"runs": [asdict(one) for one in found], "total": sum(one.cost for one in found)}, indent=2))
        return EXIT_OK
    _print(found)
    return EXIT_OK


def _ask_for_bills(arguments: argparse.Namespace, ledger: Ledger) -> None:
    """A bill that cannot be had is no reason to tell nothing: the estimate stands."""
    from moola.pods.overview import refresh_bills
    from moola.pods.provider import PodError
    from moola.pods.providers import askable_providers

    try:
        for provider in askable_providers(ledger, layout_of(arguments)):
            refresh_bills(ledger, provider)
    except PodError as error:
        tell_aside(f"the bill cannot be had, estimates only: {error.what}")


def _print(found: Sequence[RunCost]) -> None:
    if not found:
        print("no pods were made")
        return
    print_table(("run", "experiment", "pods", "hours", "estimate", "billed"), map(_row, found))
    by_experiment: defaultdict[str, float] = defaultdict(float)
    for one in found:
        by_experiment[one.experiment or "-"] += one.cost
    if len(by_experiment) > 1:
        print()
        print_table(("experiment", "cost"), [(name, usd(cost)) for name, cost in sorted(by_experiment.items())])
    print(f"\ntogether {usd(sum(one.cost for one in found))}, by the bill where it is there (it lags by up to an hour)")


def _row(one: RunCost) -> list[str]:
    name = one.run + (" (running)" if one.running else "")
    return [name, one.experiment or "-", str(one.pods), f"{one.hours:.2f}", usd(one.estimate), usd(one.billed)]
