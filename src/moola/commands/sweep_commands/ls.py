"""``moola sweep ls``: every sweep, and how far it is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from moola.commands.layout import add_artifacts, artifacts_of
from moola.errors import EXIT_OK, printable


def main(words: Sequence[str]) -> int:
    """List sweeps, the last one begun first."""
    parser = argparse.ArgumentParser(prog="moola sweep ls", description="Every sweep, and how far it is.")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    from moola.pipelines.sweep_record import is_under_way, read_sweeps, states_now, told_points
    from moola.sweeps.table import counted

    sweeps, broken = read_sweeps(artifacts_of(arguments) / "results")
    rows = [
        {
            "sweep": sweep.folder.name,
            "started": sweep.started,
            "points": len(sweep.points),
            "state": counted(states_now(sweep.folder).values(), len(sweep.points)),
            "under_way": is_under_way(sweep.folder),
            "command": sweep.command,
        }
        for sweep in sorted(sweeps, key=lambda sweep: sweep.started, reverse=True)
    ]
    if arguments.json:
        wrong = [{"sweep": name, "state": "broken", "why": str(error)} for name, error in broken.items()]
        print(json.dumps([*rows, *wrong], indent=2, ensure_ascii=False))
        return EXIT_OK
    for row in rows:
        print(
            f"{row['sweep']}  {row['started'][:16].replace('T', ' ')} UTC  {told_points(row['points'])}: {row['state']}"
        )
        print(f"    {printable(row['command'], keep='')}")
    for name, error in broken.items():
        print(f"{name}  broken: {printable(error.what, keep='')}")
    if not rows and not broken:
        print("there is no sweep yet; make one: moola run -m KEY=A,B")
    return EXIT_OK
