"""A sweep as one table: what differs between its points, and what each came to."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import MoolaError, printable
from moola.pipelines.sweep_record import Point, PointState, Sweep, log_path, run_of, states_now

if TYPE_CHECKING:
    from moola.pipelines.run_table import RunRow, RunTable
    from moola.pipelines.scores import SplitName

HEADLINE = "balanced_accuracy"
NOT_BEGUN = "not begun"


@dataclass(frozen=True)
class SweepRow:
    """A point in the table.

    Attributes:
        point: which.
        status: of its state, or `NOT_BEGUN`.
        state: None: it was never begun.
        found: its run with a figure; None: it has none.
    """

    point: Point
    status: str
    state: PointState | None
    found: RunRow | None

    @property
    def run_id(self) -> str:
        """Of the run; empty where it is not known yet."""
        return run_of(self.point, self.state)

    @property
    def cost_usd(self) -> float | None:
        """Rent; None where nobody bills."""
        if self.state is not None and self.state.cost_usd is not None:
            return self.state.cost_usd or None
        return (self.found.run.rented.cost_usd or None) if self.found is not None and self.found.run.rented else None


@dataclass(frozen=True)
class SweepTable:
    """Points in the order of the grid.

    Attributes:
        sweep: whose.
        rows: one a point.
        figure: what the column of figures is; None: no point has figures.
        model: whose figures; None: that of the model which each run would choose.
        warnings: what the figures must not be taken for.
        skipped: finished runs without such a figure, and why.
    """

    sweep: Sweep
    rows: tuple[SweepRow, ...]
    figure: str | None
    model: str | None
    warnings: tuple[str, ...]
    skipped: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """Rows for other programs; what is not known is None."""
        return [
            {
                "point": row.point.number,
                "overrides": self._differing(row.point),
                "status": row.status,
                **_figure_of(row.found),
                "seconds": row.state.seconds if row.state else None,
                "cost_usd": row.cost_usd,
                "run_id": row.run_id,
                "run_folder": row.state.run_folder if row.state else "",
                "why": row.state.why if row.state else "",
                "log": str(log) if (log := log_path(self.sweep.folder, row.point.number)).exists() else "",
            }
            for row in self.rows
        ]

    def csv(self) -> str:
        """The same as CSV, with a column for each key that differs."""
        records = [_flat(record) for record in self.records()]
        stream = io.StringIO()
        writer = csv.DictWriter(
            stream, list(dict.fromkeys(name for record in records for name in record)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(records)
        return stream.getvalue()

    def text(self) -> str:
        """The same for a terminal, with failed points and their reasons below."""
        heads, cells = self._cells()
        widths = [max(len(line[column]) for line in (heads, *cells)) for column in range(len(heads))]
        lines = [
            "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
            for line in (heads, *cells)
        ]
        return "\n".join([*lines, *self._notes("")])

    def markdown(self) -> str:
        """The same as a README shows it."""
        heads, cells = self._cells()
        rows = [heads, tuple("---" for _ in heads), *cells]
        lines = ["| " + " | ".join(word.replace("|", "\\|") for word in row) + " |" for row in rows]
        return "\n".join([*lines, *("\n" + note for note in self._notes("- "))])

    def _differing(self, point: Point) -> dict[str, str]:
        """Key -> value of the words that points have otherwise."""
        words = {key: value for key, _, value in (word.partition("=") for word in point.overrides)}
        return {key: words[key] for key in self.sweep.swept if key in words}

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        from moola.evaluation.comparison import plain
        from moola.pipelines.scores import display_name

        keys = [key for key in self.sweep.swept if any(key in self._differing(row.point) for row in self.rows)]
        rented = any(row.cost_usd is not None for row in self.rows)
        heads = ("point", *keys, "status")
        heads += ("model" if self.model else "chosen model", self.figure) if self.figure else ()
        heads += ("seconds", *(("cost",) if rented else ()), "run")
        cells: list[tuple[str, ...]] = []
        for row in self.rows:
            own = self._differing(row.point)
            line = (str(row.point.number), *(printable(own.get(key, ""), keep="") for key in keys), row.status)
            if self.figure:
                line += (display_name(row.found.model), plain(row.found.found)) if row.found else ("", "")
            line += (f"{row.state.seconds:.1f}" if row.state and row.state.seconds is not None else "",)
            line += (f"${row.cost_usd:.2f}" if row.cost_usd is not None else "",) if rented else ()
            cells.append((*line, row.run_id))
        return heads, cells

    def _notes(self, mark: str) -> list[str]:
        """Failed points, runs without the figure, and what figures must not be taken for."""
        bad = [row for row in self.rows if row.state is not None and row.status in ("failed", "interrupted", "stopped")]
        told = [
            f"{mark}point {row.point.number} {row.status}: {_first_line(row.state.why)} "
            f"(log: {log_path(self.sweep.folder, row.point.number)})"
            for row in bad
            if row.state is not None
        ]
        if self.figure and not self.model:
            from moola.pipelines.scores import CHOICE

            told.append(f"{mark}chosen model: {CHOICE}")
        told += [f"{mark}no figure of {printable(why, keep='')}" for why in self.skipped]
        return [*told, *(f"{mark}beware: {warning}" for warning in self.warnings)]


def tabulate_sweep(
    sweep: Sweep, metric: str = HEADLINE, split: SplitName = "oof", model: str | None = None
) -> SweepTable:
    """The table of a sweep, finished or not.

    Args:
        sweep: which.
        metric: key of `moola.evaluation.metrics.METRICS`.
        split: ``oof``, by which one may choose; or ``test``, with a warning about choosing by it.
        model: whose figures; None: those of the model that each run would choose.

    Raises:
        ConfigError: there is no such metric.
        DataError: no run has a figure of the model.
    """
    from moola.evaluation.metrics import known_metrics

    known_metrics((metric,))
    states = states_now(sweep.folder)
    folders = {
        number: Path(state.run_folder)
        for number, state in states.items()
        if state.status == "finished" and (Path(state.run_folder) / "metrics.json").exists()
    }
    table, skipped = _figures(folders, metric, split, model)
    found = {row.run.folder: row for row in table.rows} if table is not None else {}
    rows = tuple(
        SweepRow(
            point,
            states[point.number].status if point.number in states else NOT_BEGUN,
            states.get(point.number),
            found.get(folders[point.number]) if point.number in folders else None,
        )
        for point in sweep.points
    )
    heading, warnings = (_heading(table), table.warnings) if table is not None else (None, ())
    return SweepTable(sweep, rows, heading, model, (*_of_other_runs(rows), *warnings), tuple(skipped))


def _of_other_runs(rows: Sequence[SweepRow]) -> list[str]:
    """What to beware of where points were checked anew, and have not run since."""
    old = [row for row in rows if row.status == "finished" and row.point.run_id not in ("", row.run_id)]
    return [
        f"point {row.point.number} shows the run {row.run_id}, and is {row.point.run_id} since its data or the code "
        "changed: the same command runs it"
        for row in old
    ]


def _figures(
    folders: Mapping[int, Path], metric: str, split: SplitName, model: str | None
) -> tuple[RunTable | None, list[str]]:
    """The figures of runs, and why others have none."""
    if not folders:
        return None, []
    from moola.pipelines.results import open_runs
    from moola.pipelines.run_table import NoFigureError, tabulate_runs

    runs, broken = open_runs(folders.values())
    skipped = [_spoken(error) for error in broken]
    try:
        table = tabulate_runs(runs, metric, model, split) if runs else None
    except NoFigureError as error:
        return None, [*skipped, *error.skipped]
    return table, [*skipped, *(table.skipped if table is not None else ())]


def _heading(table: RunTable) -> str:
    from moola.evaluation.metrics import METRICS
    from moola.pipelines.results import SPLITS

    given = ", labels as given" if table.by_given else ""
    return f"{METRICS[table.metric].label}, {SPLITS[table.split].lower()}{given}"


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose overrides have columns of their own: ``overrides.seeds``."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= {f"{name}.{key}": own for key, own in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def _figure_of(found: RunRow | None) -> dict[str, Any]:
    """Figures as JSON takes them: NaN is None."""
    if found is None:
        return {"model": None, "value": None, "low": None, "high": None, "n": None, "seeds": None}
    plain = {key: None if value != value else value for key, value in vars(found.found).items()}
    return {"model": found.model, **plain}


def _first_line(text: str) -> str:
    lines = printable(text).splitlines()
    return lines[0] if lines else ""


def _spoken(error: MoolaError) -> str:
    return error.what + (f" ({error.why})" if error.why else "")


def counted(states: Iterable[PointState], n_points: int) -> str:
    """How far a sweep is: ``"20 finished, 1 failed, 3 not begun"``."""
    known: Sequence[str] = [state.status for state in states]
    parts = {status: known.count(status) for status in ("finished", "running", "failed", "interrupted", "stopped")}
    parts[NOT_BEGUN] = n_points - len(known)
    return ", ".join(f"{count} {status}" for status, count in parts.items() if count)
