"""What the files of a run tell beside its log: figures, verdict, alarms, configuration, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.config import meaningless_preset
from moola.dashboard.run_folder import Figure, RunEntry, read_plain, read_run_folder
from moola.drawing.intervals import IntervalRow, Kind, draw_intervals
from moola.evaluation.metrics import METRICS
from moola.pipelines.scores import HEADLINE, display_name

if TYPE_CHECKING:
    from moola.dashboard.board import Board

_KINDS: Mapping[str, Kind] = {"model": "model", "baseline": "baseline", "control": "control", "stack": "stack"}


class RunDetails:
    """Read again when the manifest changes.

    Args:
        board: fills the templates.
        name: of the run folder.
    """

    def __init__(self, board: Board, name: str) -> None:
        self.board, self.folder = board, board.results / name
        self._seen: tuple[Any, ...] = ()
        self._fragments: dict[str, str] = {}

    def fragments(self, entry: RunEntry) -> dict[str, str]:
        """``figures``, ``pictures`` and ``configuration``."""
        try:
            state = (self.folder / "manifest.json").stat()
        except OSError:
            return self._fragments
        seen = (state.st_mtime_ns, state.st_ino, entry.status)
        if seen != self._seen:
            self._seen, self._fragments = seen, self._read(entry)
        return self._fragments

    def _read(self, entry: RunEntry) -> dict[str, str]:
        record = read_run_folder(self.folder)
        files = published_files(self.folder)
        summary = _object(self.folder / "summary.json") if "summary.json" in files else {}
        pictures = sorted(name for name in files if name.startswith("pictures/") and name.endswith(".svg"))
        roles, given = _roles(_object(self.folder / "models.json")), _given(record.figures)
        figures = self.board.render(
            "run_figures.html.j2",
            entry=entry,
            verdict=[str(sentence) for sentence in _list(summary, "verdict")],
            alarms=[_alarm(one) for one in _list(summary, "alarms")],
            chosen=record.entry.chosen,
            preset=meaningless_preset(entry.experiment),
            above=_above(record.entry.chosen, given, roles),
            picture=_leaderboard(given, roles),
            tables=_tables(record.figures),
            display_name=display_name,
            metric=METRICS[HEADLINE].label,
        )
        return {
            "figures": figures,
            "pictures": self.board.render("run_pictures.html.j2", entry=entry, pictures=pictures),
            "links": self.board.render("run_links.html.j2", entry=entry, files=files),
            "configuration": self.board.render(
                "run_configuration.html.j2",
                settings={key: json.dumps(value, ensure_ascii=False) for key, value in record.settings.items()},
            ),
        }


def _list(told: Mapping[str, Any], name: str) -> list[Any]:
    found = told.get(name)
    return found if isinstance(found, list) else []


def _alarm(told: Any) -> tuple[str, str]:
    """Severity and words of what fired."""
    known = told if isinstance(told, dict) else {}
    return "alarm" if known.get("severity") == "alarm" else "note", str(known.get("message", told))


def published_files(folder: Path) -> Mapping[str, str]:
    """The files that a run says it left, with their digests; none where its manifest tells nothing."""
    files = _object(folder / "manifest.json").get("files")
    return files if isinstance(files, dict) else {}


def _roles(head: Mapping[str, Any]) -> dict[str, str]:
    """Model -> what it is; stacks are not among them."""
    kinds = head.get("models")
    known = kinds.items() if isinstance(kinds, dict) else ()
    return {model: str(told.get("role", "")) for model, told in known if isinstance(told, dict)}


def _given(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Model -> headline figure out of fold on the labels as given, the best first."""
    found = {name.split("/")[0]: found for name, found in figures.items() if name.endswith(f"/given/{HEADLINE}")}
    return dict(sorted(found.items(), key=lambda one: _value(one[1]), reverse=True))


def _value(found: Figure) -> float:
    return -math.inf if found.value is None else found.value


def _above(chosen: str, given: Mapping[str, Figure], roles: Mapping[str, str]) -> list[str]:
    """Names of the baselines and controls that are better than the chosen model where it was chosen."""
    if chosen not in given:
        return []
    own = _value(given[chosen])
    barred = [model for model in given if roles.get(model) in ("baseline", "control")]
    return [display_name(model) for model in barred if _value(given[model]) > own]


def _leaderboard(given: Mapping[str, Figure], roles: Mapping[str, str]) -> str:
    """All models out of fold on the labels as given."""
    if not given:
        return ""
    rows = []
    for model, one in given.items():
        value, low, high = (math.nan if part is None else part for part in one[:3])
        rows.append(IntervalRow(display_name(model), value, low, high, _KINDS.get(roles.get(model, "stack"), "model")))
    title = f"{METRICS[HEADLINE].label}, out of fold, labels as given"
    return draw_intervals(rows, title=title, x_label=title)


def _tables(figures: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Split -> model -> metric -> figure, without the labels as given."""
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for name, found in figures.items():
        model, split, metric = name.rsplit("/", 2)
        if split in ("oof", "test") and metric in METRICS:
            tables.setdefault(split, {}).setdefault(model, {})[metric] = found
    return tables


def _object(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
