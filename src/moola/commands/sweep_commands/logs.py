"""``moola sweep logs``: what a point printed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from moola.commands.layout import add_artifacts, artifacts_of
from moola.errors import EXIT_OK, DataError, printable


def main(words: Sequence[str]) -> int:
    """Print the log of a point."""
    parser = argparse.ArgumentParser(prog="moola sweep logs", description="What a point printed, in all its attempts.")
    parser.add_argument("sweep", metavar="SWEEP", help="id, its first letters, or folder")
    parser.add_argument("point", type=int, metavar="POINT", help="its number, as `moola sweep show` has it")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    from moola.pipelines.sweep_record import find_sweep, log_path, read_states, read_sweep

    sweep = read_sweep(find_sweep(arguments.sweep, artifacts_of(arguments) / "results"))
    numbers = [point.number for point in sweep.points]
    if arguments.point not in numbers:
        raise DataError(
            f"the sweep {sweep.folder.name} has no point {arguments.point}",
            f"there are {len(numbers)}, from {min(numbers)} to {max(numbers)}",
            f"see them: moola sweep show {sweep.folder.name}",
        )
    log = log_path(sweep.folder, arguments.point)
    if not log.exists():
        status = "not begun" if arguments.point not in read_states(sweep.folder) else "without a log of this sweep"
        raise DataError(f"point {arguments.point} is {status}", f"there is no {log}")
    print(printable(log.read_text(errors="replace")), end="")
    return EXIT_OK
