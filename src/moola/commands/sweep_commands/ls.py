"""``moola sweep ls``: every sweep, and how far it is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from moola.commands.layout import add_artifacts
from moola.errors import EXIT_OK, printable


def main(words: Sequence[str]) -> int:
    """List sweeps, the last one begun first."""
    parser = argparse.ArgumentParser(prog="moola sweep ls", description="Every sweep, and how far it is.")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    from moola.sweeps.point import read_states, told_points
    from moola.sweeps.record import read_sweep, sweeps_folder
    from moola.sweeps.table import counted

    folders = [path.parent for path in sweeps_folder(arguments.artifacts.absolute() / "results").glob("*/sweep.json")]
    sweeps = sorted(map(read_sweep, folders), key=lambda sweep: sweep.started, reverse=True)
    rows = [
        {
            "sweep": sweep.folder.name,
            "started": sweep.started,
            "points": len(sweep.points),
            "state": counted(read_states(sweep.folder).values(), len(sweep.points)),
            "command": sweep.command,
        }
        for sweep in sweeps
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return EXIT_OK
    for row in rows:
        print(f"{row['sweep']}  {row['started'][:16].replace('T', ' ')}  {told_points(row['points'])}: {row['state']}")
        print(f"    {printable(row['command'], keep='')}")
    if not rows:
        print("there is no sweep yet; make one: moola run -m KEY=A,B")
    return EXIT_OK
