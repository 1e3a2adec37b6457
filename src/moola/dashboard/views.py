"""The pages of the dashboard: what each shows now, in fragments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from moola.dashboard.board import MOST_CURVES, Board
from moola.dashboard.curve_pictures import draw_run, draw_together, split_names, without_training
from moola.dashboard.live_pages import Fragments
from moola.dashboard.live_run import CurveName, LiveRun
from moola.dashboard.run_details import RunDetails
from moola.dashboard.run_folder import RunEntry
from moola.dashboard.run_keys import find_key
from moola.dashboard.run_listing import DEFAULT_COLUMNS
from moola.dashboard.run_query import QueryError, RunQuery, query_runs
from moola.dashboard.sweep_folder import show_sweep, show_sweeps
from moola.errors import DataError, MoolaError, did_you_mean
from moola.pipelines.sweep_record import sweeps_folder

PAGE = 100
"""Runs on one page of the list."""
_ASKED = ("first", "more", "reverse", "run", "sort", "where")
"""Names that addresses of pages may give values to."""


@dataclass(frozen=True)
class Frame:
    """What stands around the fragments of a page.

    Attributes:
        template: that the fragments are put into.
        title: of the page.
        values: what else the template names.
    """

    template: str
    title: str
    values: Mapping[str, Any]


class RunsView:
    """All runs, filtered and sorted.

    Args:
        board: what is known.
        where: names and conditions, parted by spaces as in a shell.
        sort: key.
        reverse: the other end first.
        first: place of the first run that is shown.
    """

    def __init__(self, board: Board, where: str = "", sort: str = "", reverse: bool = False, first: int = 0) -> None:
        self.board, self.where, self.sort, self.reverse, self.first = board, where, sort or "started", reverse, first
        values = {"where": where, "sort": sort, "reverse": reverse, "keys": self._keys()}
        self.frame = Frame("runs.html.j2", "Runs", values)

    def fragments(self) -> Fragments:
        """The list, and how many runs it holds."""
        self.board.look()
        try:
            found = query_runs(self.board.index, self._query())
        except QueryError as error:
            return {"told": self.board.render("problem.html.j2", error=error), "runs": ""}
        shown = found.entries[self.first : self.first + PAGE]
        running = [entry.folder for entry in found.entries if entry.status == "running"][:PAGE]
        told = self.board.render(
            "runs_told.html.j2",
            found=found,
            n_all=len(self.board.index.entries),
            n_running=sum(entry.status == "running" for entry in found.entries),
            first=self.first,
            shown=len(shown),
            page=PAGE,
            link=self._link,
            results=self.board.results,
        )
        columns = [key for key in found.columns if key.asked != "status" and _is_shown(key.asked, key.values, shown)]
        logs = self.board.logs(set(running) & {entry.folder for entry in shown})
        table = self.board.render(
            "runs_table.html.j2",
            entries=shown,
            columns=columns,
            logs=logs,
            sort=self.sort,
            reverse=self.reverse,
            link=self._link,
        )
        return {"told": told, "runs": table if shown else ""}

    def _query(self) -> RunQuery:
        try:
            words = shlex.split(self.where)
        except ValueError as error:  # a quotation mark without its other
            raise QueryError([f"condition: {self.where}: {error}"]) from error
        conditions = [word if any(sign in word for sign in "=<>~") else f"name~{word}" for word in words]
        own = () if self.sort in ("name", "started") else (self.sort,)
        columns = tuple(dict.fromkeys((*own, *DEFAULT_COLUMNS)))  # what they are sorted by is in sight
        return RunQuery((), conditions, self.sort, self.reverse, columns)

    def _link(self, **changed: Any) -> str:
        """The address of this page with other parameters."""
        told = {"where": self.where, "sort": self.sort, "reverse": "1" if self.reverse else "", "first": 0} | changed
        kept = {name: value for name, value in told.items() if value and (name, value) != ("sort", "started")}
        return f"/?{urlencode(kept)}" if kept else "/"

    def _keys(self) -> list[str]:
        self.board.look()
        index = self.board.index
        metrics = {name.rpartition("/")[2] for name in index.keys("figure")}
        figures = [f"{split}{metric}" for split in ("", "test/") for metric in sorted(metrics)]
        return ["started", "headline", "name", "status", "seconds", "cost", "alarms", *figures, *index.keys("setting")]


def _is_shown(asked: str, values: Mapping[str, Any], shown: Sequence[RunEntry]) -> bool:
    return asked in ("headline", "started") or any(entry.folder in values for entry in shown)


class RunView:
    """One run."""

    def __init__(self, board: Board, name: str, more: bool = False) -> None:
        self.board, self.name, self.more = board, name, more
        entry = board.entry(name)
        self._details = RunDetails(board, name)
        self.frame = Frame("run.html.j2", entry.folder, {"entry": entry, "more": more})
        self._drawn = _Drawn()

    def fragments(self) -> Fragments:
        """State, stages, curves, figures, pictures and the end of the log."""
        try:
            entry = self.board.entry(self.name)
        except DataError as error:
            return {"state": self.board.render("problem.html.j2", error=error)}
        live = self.board.log(self.name)
        parts = {
            part: self.board.render(f"run_{part}.html.j2", entry=entry, live=live)
            for part in ("state", "stages", "log")
        }
        first, others = split_names([live])
        curves = self._drawn.of((live,), [*first, *(others if self.more else ())], partial(draw_run, live))
        why = without_training(live)
        parts["curves"] = self.board.render(
            "curves.html.j2",
            curves=[(svg, ()) for svg in curves],
            notes=[("This run", why)] if why else [],
            others=len(others),
            more=self.more,
            link=f"/runs/{quote(self.name)}?more=1",
        )
        return {**parts, **self._details.fragments(entry)}


class CurvesView:
    """Curves of several runs on the same axes."""

    def __init__(self, board: Board, names: Sequence[str], more: bool = False) -> None:
        if not names:
            raise MoolaError("no run is chosen", "", "tick one or more in the list of runs")
        if len(set(names)) > MOST_CURVES:
            why = f"at most {MOST_CURVES} are shown together: eyes follow no more"
            raise MoolaError(f"{len(set(names))} runs are chosen", why, "tick fewer in the list of runs")
        self.board, self.names, self.more = board, tuple(dict.fromkeys(names)), more
        entries = [board.entry(name) for name in self.names]
        self.frame = Frame("together.html.j2", "Curves side by side", {"entries": entries, "more": more})
        self._drawn = _Drawn()

    def fragments(self) -> Fragments:
        """The pictures, and how far each run is."""
        self.board.look()
        logs = self.board.logs(self.names)
        entries = [self.board.index.entries[name] for name in self.names if name in self.board.index.entries]
        first, others = split_names(list(logs.values()))
        names = [*first, *(others if self.more else ())]
        curves = self._drawn.of(tuple(logs.values()), names, partial(draw_together, logs))
        link = "/curves?" + urlencode([*(("run", name) for name in self.names), ("more", "1")])
        return {
            "chosen": self.board.render(
                "together_runs.html.j2", entries=entries, headline=find_key(self.board.index, "headline"), logs=logs
            ),
            "curves": self.board.render(
                "curves.html.j2",
                curves=[(svg, _without(logs, name)) for svg, name in zip(curves, names, strict=True)],
                notes=[(name, why) for name, log in logs.items() if (why := without_training(log))],
                others=len(others),
                more=self.more,
                link=link,
            ),
        }


def _without(logs: Mapping[str, LiveRun], name: CurveName) -> list[str]:
    """Runs that are not in the picture of a curve."""
    return [run for run, log in logs.items() if name not in log.curves]


class _Drawn:
    """Pictures of curves, drawn again when there is more to draw."""

    def __init__(self) -> None:
        self._version: tuple[int, ...] = ()
        self._pictures: list[str] = []

    def of(self, runs: Sequence[LiveRun], names: Sequence[CurveName], draw: Any) -> list[str]:
        version = (*(id(run) for run in runs), *(run.version for run in runs))
        if version != self._version:
            self._version, self._pictures = version, [draw(name) for name in names]
        return self._pictures


class SweepsView:
    """All sweeps."""

    frame = Frame("sweeps.html.j2", "Sweeps", {})

    def __init__(self, board: Board) -> None:
        self.board = board

    def fragments(self) -> Fragments:
        """The list."""
        sweeps, folder = show_sweeps(self.board.results), sweeps_folder(self.board.results)
        return {"sweeps": self.board.render("sweeps_table.html.j2", sweeps=sweeps, folder=folder)}


class SweepView:
    """The points of one sweep."""

    def __init__(self, board: Board, name: str) -> None:
        known = [path.parent.name for path in sweeps_folder(board.results).glob("*/sweep.json")]
        if name not in known:
            raise DataError(f"there is no sweep '{name}'", did_you_mean(name, known), "see the list of sweeps")
        self.board, self.name = board, name
        self.frame = Frame("sweep.html.j2", name, {})

    def fragments(self) -> Fragments:
        """The points, with the figure of those that are finished."""
        self.board.look()
        folder = sweeps_folder(self.board.results) / self.name
        sweep = show_sweep(folder)
        headline = find_key(self.board.index, "headline")
        entries = self.board.index.entries
        running = {point.run for point in sweep.points if point.status == "running" and point.run in entries}
        logs = self.board.logs(sorted(running))
        values = {"sweep": sweep, "folder": folder, "headline": headline, "entries": entries, "logs": logs}
        return {part: self.board.render(f"sweep_{part}.html.j2", **values) for part in ("told", "points")}


def _check(query: Sequence[tuple[str, str]]) -> None:
    """Refuse an address that asks for what no page does."""
    problems = [f"{name}: no page takes it; {did_you_mean(name, _ASKED)}" for name, _ in query if name not in _ASKED]
    wrong = (value for name, value in query if name == "first" and not re.fullmatch("[0-9]{1,9}", value))
    problems += [f"first: {value!r} must be a whole number, the place of the first run" for value in wrong]
    if problems:
        raise MoolaError("the address asks for what is not there", "\n".join(problems), "see the list of runs")


AnyView = RunsView | RunView | CurvesView | SweepsView | SweepView


def view_of(board: Board, path: str, query: Sequence[tuple[str, str]]) -> AnyView | None:
    """The view behind an address; None where there is no such page.

    Raises:
        MoolaError: there is nothing of that name, or too much is asked for.
    """
    _check(query)
    last = dict(query)
    more = last.get("more") == "1"
    match path.strip("/").split("/"):
        case [""]:
            first = int(last.get("first", "0"))
            return RunsView(board, last.get("where", ""), last.get("sort", ""), last.get("reverse") == "1", first)
        case ["runs", name]:
            return RunView(board, name, more)
        case ["curves"]:
            return CurvesView(board, [value for key, value in query if key == "run"], more)
        case ["sweeps"]:
            return SweepsView(board)
        case ["sweeps", name]:
            return SweepView(board, name)
    return None
