"""``moola pod ps``: pods that may bill, and the runs they are for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import parser_of, tell_aside
from moola.commands.pod_commands.tables import duration, print_table, usd
from moola.errors import EXIT_OK

if TYPE_CHECKING:
    from moola.pods.overview import PodRow


def main(words: Sequence[str]) -> int:
    """Print them, the oldest first."""
    parser = parser_of("ps", "Pods that have not ended, the runs they are for, and what they cost so far.", run=False)
    parser.add_argument("--offline", action="store_true", help="ask nobody: what the ledger heard last")
    arguments = parser.parse_args(words)
    from moola.pods.overview import overview
    from moola.pods.providers import askable_providers, open_ledger

    layout = layout_of(arguments)
    ledger = open_ledger(layout)
    asked = [] if arguments.offline else askable_providers(ledger, layout, tell_aside)
    rows = overview(ledger, asked)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return EXIT_OK
    if not rows:
        print("no pods")
        return EXIT_OK
    head = ("run", "pod", "provider", "GPU", "where", "state", "age", "per hour", "so far", "")
    print_table(head, map(_row, rows))
    print(f"together {usd(sum(row.price_per_h for row in rows))} an hour, {usd(sum(row.cost for row in rows))} so far")
    return EXIT_OK


def _row(row: PodRow) -> list[str]:
    what = [row.run, row.pod_id, row.provider, row.gpu or "-", row.where or "-", row.status.lower()]
    return [*what, duration(row.seconds), usd(row.price_per_h), usd(row.cost), row.note]
