"""``moola pod doctor``: what is missing before a run can go to a pod, and how to get it."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from moola.commands.layout import layout_of
from moola.commands.pod_commands.pod_options import add_host_options, given_keys
from moola.commands.pod_commands.run_options import parser_of
from moola.errors import EXIT_ENVIRONMENT, EXIT_OK, printable

if TYPE_CHECKING:
    from moola.pods.examining import Check

_DESCRIPTION = """\
What is missing before a run can go to a pod, and how to get it. Without --provider, RunPod is looked at where there is
a key. With --host, each host is: whether it lets you in, its Python, torch, disk and GPUs. Exit code 0: nothing is
missing; 5: something is."""


def main(words: Sequence[str]) -> int:
    """Print what was found; exit code 5 where something is missing."""
    parser = parser_of("doctor", _DESCRIPTION, run=False)
    add_host_options(parser)
    parser.add_argument("--offline", action="store_true", help="ask no account and no host")
    arguments = parser.parse_args(words)
    checks = _checks(arguments)
    missing = [check for check in checks if not check.is_fine]
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
        return EXIT_ENVIRONMENT if missing else EXIT_OK
    for section, of_section in itertools.groupby(checks, lambda check: check.section):
        print(printable(section))
        for check in of_section:
            print(printable(f"{'' if check.is_fine else 'MISSING':9}{check.name:13}{check.found}"))
            if check.mend:
                print(printable(f"{'':22}-> {check.mend}"))
    print("\nnothing is missing" if not missing else f"\n{len(missing)} to mend")
    return EXIT_ENVIRONMENT if missing else EXIT_OK


def _checks(arguments: argparse.Namespace) -> list[Check]:
    from moola.pods.examining import examine
    from moola.pods.settings import load_settings

    given = given_keys(arguments)
    settings = load_settings([], given)
    provider = settings.provider if given.keys() & {"provider", "host"} else ""
    return list(
        examine(
            layout_of(arguments),
            provider,
            settings.provider_options,
            python=settings.pod_python,
            offline=arguments.offline,
        )
    )
