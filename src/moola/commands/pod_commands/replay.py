"""``moola pod replay``: do a run once more from its bundle, and hold the figures against those recorded."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from moola.commands.layout import layout_of
from moola.commands.pod_commands.pod_options import add_pod_options, given_keys
from moola.commands.pod_commands.pod_parser import number
from moola.commands.pod_commands.run_options import Speaker, parser_of, report, under_lease
from moola.commands.pod_commands.tables import print_table
from moola.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from moola.pods.replaying import Comparison

_DESCRIPTION = """\
Do a finished run once more on a new pod, from the very bundle that was packed for it (code, data, configuration, pins),
and hold its figures against those recorded. The pod is the one ordered then, changed by these options. What comes back
is kept apart, in artifacts/runpod_results/RUN-replay. Exit code 0: all figures are the same; 1: some differ."""
_SHOWN = 10


def main(words: Sequence[str]) -> int:
    """Run it, or go on with a replay that was cut off, and compare."""
    parser = parser_of("replay", _DESCRIPTION)
    parser.add_argument("pod", nargs="*", metavar="pod.KEY=VALUE", help="further keys of the pod (configs/pod)")
    parser.add_argument(
        "--tolerance", type=number, default=0.0, metavar="X", help="relative difference of a figure that is none (0)"
    )
    add_pod_options(parser)
    arguments = parser.parse_intermixed_args(words)
    _check(parser, arguments)
    from moola.pods.estimating import check_budget
    from moola.pods.replaying import compare_figures, open_replay

    speaker = Speaker(arguments.json)
    run, recorded = open_replay(
        arguments.run,
        layout_of(arguments),
        arguments.pod,
        given_keys(arguments),
        tell=speaker.tell,
        show=speaker.show,
    )
    check_budget(run)
    ended = under_lease(run, run.go)
    if ended.published is None:
        return report(ended, arguments.json)
    found = compare_figures(recorded, ended.published.folder)
    same = found.within(arguments.tolerance)
    if arguments.json:
        told = {"run": arguments.run, "replay": run.run, "bundle": run.bundle.bundle_id, "same": same}
        print(json.dumps({**told, **_plain(found)}, indent=2))
    else:
        _print(found, same)
    return EXIT_OK if same else EXIT_FAILED


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    from moola.pods.settings import split_words

    others = split_words(arguments.pod)[1]
    if others:
        parser.error(f"{' '.join(others)}: a replay changes nothing but the pod (pod.KEY=VALUE)")
    if not arguments.tolerance >= 0:
        parser.error(f"--tolerance: {arguments.tolerance:g} must not be negative")


def _plain(found: Comparison) -> dict[str, object]:
    plain = asdict(found)
    for one in plain["differences"]:
        one["relative"] = one["relative"] if math.isfinite(one["relative"]) else None
    return plain


def _print(found: Comparison, same: bool) -> None:
    if found.differences:
        rows = [(one.figure, str(one.recorded), str(one.replayed), f"{one.relative:.1e}") for one in found.differences]
        print_table(("figure", "recorded", "replayed", "relative"), rows[:_SHOWN])
        if len(rows) > _SHOWN:
            print(f"and {len(rows) - _SHOWN:,} more: --json names all")
        word = "within the tolerance" if same else "not the same"
        print(f"\n{len(rows):,} of {found.n_figures:,} figures differ: {word}")
    else:
        print(f"all {found.n_figures:,} figures are the recorded ones, SHA-256 {found.replayed_sha256[:16]}...")
