"""``moola pod doctor``: what is missing before a pod can be rented, and how to get it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import parser_of
from moola.errors import EXIT_ENVIRONMENT, EXIT_OK, printable


def main(words: Sequence[str]) -> int:
    """Print what was found; exit code 5 where something is missing."""
    parser = parser_of("doctor", "What is missing before a pod can be rented, and how to get it.", run=False)
    parser.add_argument("--offline", action="store_true", help="leave the account out")
    arguments = parser.parse_args(words)
    from moola.pods.examining import examine

    checks = list(examine(layout_of(arguments), offline=arguments.offline))
    missing = [check for check in checks if not check.is_fine]
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(printable(f"{'' if check.is_fine else 'MISSING':9}{check.name:13}{check.found}"))
            if check.mend:
                print(printable(f"{'':22}-> {check.mend}"))
        print("\nnothing is missing" if not missing else f"\n{len(missing)} to mend")
    return EXIT_ENVIRONMENT if missing else EXIT_OK
