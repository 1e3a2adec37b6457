"""``moola pod reap``: pods of the account that nobody needs any more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import parser_of, tell_aside
from moola.commands.pod_commands.tables import duration, print_table, usd
from moola.errors import EXIT_OK, EXIT_POD

if TYPE_CHECKING:
    from moola.pods.ledger import Ledger
    from moola.pods.reaping import Reaped

_DESCRIPTION = """\
Compare RunPod's account with the ledger, and find pods that nobody waits for any more. Only pods that carry moola's tag
are looked at; without --apply nothing is changed, and the exit code is 6 where something would be ended."""


def main(words: Sequence[str]) -> int:
    """Say what would be ended and why; with ``--apply``, end it."""
    parser = parser_of("reap", _DESCRIPTION, run=False)
    parser.add_argument("--apply", action="store_true", help="end them")
    parser.add_argument("--any-ledger", action="store_true", help="also those of other machines and checkouts")
    arguments = parser.parse_args(words)
    from moola.pods.providers import askable_providers, open_api, open_ledger, run_keys
    from moola.pods.reaping import compare, reap

    layout = layout_of(arguments)
    open_api().close()  # without a key there is nothing to compare with, and silence would look like order
    ledger, keys = open_ledger(layout), run_keys(layout)
    found: list[Reaped] = []
    for provider in askable_providers(ledger, layout, tell_aside):
        of_provider = compare(provider, ledger, any_ledger=arguments.any_ledger)
        found += reap(of_provider, provider, ledger, keys=keys, tell=tell_aside) if arguments.apply else of_provider
    if arguments.json:
        print(json.dumps([_plain(one) for one in found], indent=2))
    else:
        _print(found, ledger, applied=arguments.apply)
    waiting = any(one.verdict == "end" and not one.ended for one in found)
    return EXIT_POD if waiting else EXIT_OK


def _plain(one: Reaped) -> dict[str, Any]:
    pod = one.pod
    return {
        "pod_id": pod.pod_id,
        "provider": pod.provider,
        "run": pod.run,
        "verdict": one.verdict,
        "why": one.why,
        "price_per_h": pod.price_per_h,
        "usd_so_far": one.usd_so_far,
        "ended": one.ended,
    }


def _print(found: Sequence[Reaped], ledger: Ledger, *, applied: bool) -> None:
    if not found:
        print("no pods carry moola's tag")
        return
    words = {"end": "ended" if applied else "would end", "kept": "kept", "foreign": "left alone", "gone": "gone"}
    print_table(
        ("", "pod", "run", "age", "so far", "why"),
        [
            (
                words[one.verdict],
                one.pod.pod_id,
                one.pod.run,
                duration(ledger.age(one.pod)),
                usd(one.usd_so_far),
                one.why,
            )
            for one in found
        ],
    )
    waiting = [one for one in found if one.verdict == "end" and not one.ended]
    if waiting:
        each_hour = sum(one.pod.price_per_h for one in waiting)
        print(f"{len(waiting)} pods would be ended, {usd(each_hour)} an hour: `moola pod reap --apply`")
