"""Side-by-side measurement: interleaved repeats, medians with their spread, one row shape for every benchmark."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One comparison; what was not measured is None.

    Attributes:
        work: what was done.
        unit: of `ours` and `reference`.
        ours: median.
        reference: median of the reference, run in the same process tree.
        reference_name: what the reference is.
        higher_is_better: which direction is good.
        ratio: ours / reference.
        target: what `ratio` should reach, or where there is no reference, what `ours` should reach.
        spread: name -> smallest and largest repeat.
    """

    work: str
    unit: str
    ours: float | None
    reference: float | None
    reference_name: str | None
    higher_is_better: bool
    ratio: float | None
    target: float | None
    spread: Mapping[str, tuple[float, float]]


def compare(
    work: str,
    unit: str,
    ours: Callable[[], float],
    reference: Callable[[], float] | None,
    reference_name: str | None,
    *,
    higher_is_better: bool,
    target: float | None,
    repeats: int,
) -> Row:
    """Run both in turns, `repeats` times each after one warm-up; each call returns one figure in `unit`."""
    sides: dict[str, Callable[[], float]] = {"ours": ours}
    if reference is not None:
        sides["reference"] = reference
    for side in sides.values():
        side()
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats):
        for name in sorted(sides, reverse=bool(number % 2)):  # alternate who goes first
            figures[name].append(sides[name]())
    medians = {name: statistics.median(values) for name, values in figures.items()}
    other = medians.get("reference")
    spread = {name: (min(values), max(values)) for name, values in figures.items()}
    ratio = medians["ours"] / other if other else None
    return Row(work, unit, medians["ours"], other, reference_name, higher_is_better, ratio, target, spread)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def benchmark_main(description: str, measure: Callable[[bool], list[Row]]) -> int:
    """Parse ``--quick --json FILE``, measure, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer repeats; ends within 5 minutes on 2 cores")
    parser.add_argument("--json", type=Path, default=None, help="file for the rows")
    arguments = parser.parse_args()
    rows = measure(arguments.quick)
    print_table(rows)
    write_rows(rows, arguments.json)
    return 0


def write_rows(rows: list[Row], path: Path | None) -> None:
    """Write rows and the machine they were measured on; nothing without a path."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def print_table(rows: list[Row]) -> None:
    """Ours, the reference, their ratio and the target, with the spread of the repeats."""
    for row in rows:
        low, high = row.spread.get("ours", (None, None))
        print(f"{row.work}: {_figure(row.ours)} {row.unit} [{_figure(low)}, {_figure(high)}]", end="")
        if row.reference is not None:
            low, high = row.spread["reference"]
            print(f"; {row.reference_name} {_figure(row.reference)} [{_figure(low)}, {_figure(high)}]", end="")
        if row.ratio is not None:
            print(f"; ratio {_figure(row.ratio)}", end="")
        better = "at least" if row.higher_is_better else "at most"
        print("" if row.target is None else f"; target {better} {_figure(row.target)}")
    sys.stdout.flush()


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
