"""What runs can be filtered and sorted by: fields, figures in long and short form, and keys of their configuration."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moola.dashboard.run_folder import Figure, RunEntry
from moola.dashboard.run_index import RunIndex
from moola.errors import did_you_mean
from moola.evaluation.metrics import METRICS
from moola.pipelines.scores import HEADLINE

Kind = Literal["field", "figure", "setting"]
GIVEN, TEST = "given", "test"
_FIELDS: Mapping[str, Callable[[RunEntry], Any]] = {
    "name": lambda entry: entry.folder,
    "run_id": lambda entry: entry.run_id,
    "experiment": lambda entry: entry.experiment,
    "target": lambda entry: entry.target,
    "status": lambda entry: entry.status,
    "why": lambda entry: entry.why or None,
    "started": lambda entry: entry.started or None,
    "finished": lambda entry: entry.finished or None,
    "seconds": lambda entry: _seconds(entry),
    "attempts": lambda entry: entry.attempts or None,
    "seeds": lambda entry: entry.seeds or None,
    "model": lambda entry: entry.chosen or None,
    "alarms": lambda entry: entry.alarms,
    "cost": lambda entry: entry.cost_usd,
    "git": lambda entry: entry.git or None,
}
FIELDS = tuple(_FIELDS)
"""Keys that are neither figures nor configuration."""
_LARGE_FIRST = ("started", "finished", "seconds", "attempts", "seeds", "alarms", "cost")


class UnknownKeyError(Exception):
    """No run has a key of this name; the text says which are near."""


@dataclass(frozen=True)
class Key:
    """Something that every run may have a value of.

    Attributes:
        asked: as it was typed.
        kind: what it is.
        label: for the head of a column.
        values: folder -> value; a `Figure`, or a plain value; runs without one are left out.
        split: of a figure: ``oof``, ``test`` or ``given``.
        large_first: which end of a list is wanted first.
    """

    asked: str
    kind: Kind
    label: str
    values: Mapping[str, Any]
    split: str = ""
    large_first: bool = False


class _FieldValues(Mapping[str, Any]):
    """Folder -> value of a field, read when it is asked for: a list shows few of many runs."""

    def __init__(self, entries: Mapping[str, RunEntry], read: Callable[[RunEntry], Any]) -> None:
        self._entries, self._read = entries, read

    def __getitem__(self, folder: str) -> Any:
        value = self._read(self._entries[folder])
        if value is None:
            raise KeyError(folder)
        return value

    def __iter__(self) -> Iterator[str]:
        return (folder for folder in self._entries if folder in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def find_key(index: RunIndex, asked: str) -> Key:
    """The key that a word stands for.

    ``encoder.hidden`` is configuration, ``status`` a field. A figure is ``model/split/metric``; without a model it is
    that of the model which each run chose, without a split that out of fold, and ``balanced_accuracy`` out of fold is
    on the labels as given, as `moola compare` has it. ``headline`` is that of the chosen model.

    Raises:
        UnknownKeyError: no run has it.
    """
    if asked in _FIELDS:
        values = _FieldValues(index.entries, _FIELDS[asked])
        return Key(asked, "field", asked, values, large_first=asked in _LARGE_FIRST)
    settings = index.keys("setting")
    for setting in (asked, f"{asked}.name", f"{asked}.kind"):  # ``encoder`` is ``encoder.name``
        if setting in settings:
            return Key(asked, "setting", asked, index.settings(setting))
    figures = index.keys("figure")
    figure = _figure(index, asked, figures)
    if figure is not None:
        return figure
    short = {name for figure in figures for name in (figure, *_short(figure))}
    near = did_you_mean(asked, [*FIELDS, "headline", *settings, *short])
    raise UnknownKeyError(near if near.startswith("did") else "nothing has a name like it")


def known_keys(index: RunIndex) -> dict[str, list[str]]:
    """Every key in full, by kind."""
    figures = [name.replace(f"/{GIVEN}/", "/oof/") for name in index.keys("figure")]
    return {"field": list(FIELDS), "figure": sorted({"headline", *figures}), "setting": index.keys("setting")}


def _short(figure: str) -> tuple[str, ...]:
    model, split, metric = figure.rsplit("/", 2)
    split = "oof" if split == GIVEN else split
    return f"{model}/{split}/{metric}", f"{split}/{metric}", f"{model}/{metric}", metric


def _figure(index: RunIndex, asked: str, known: list[str]) -> Key | None:
    """The figure of a long or short form; None where no run has one."""
    *before, metric = HEADLINE.split("/") if asked == "headline" else asked.split("/")
    splits = [word for word in before if word in ("oof", TEST)]
    models = [word for word in before if word not in splits]
    if len(splits) > 1 or len(models) > 1:
        return None
    split = splits[0] if splits else "oof"
    if split == "oof" and metric == HEADLINE:
        split = GIVEN
    names = {name for name in known if name.endswith(f"/{split}/{metric}")}
    if models:
        names &= {f"{models[0]}/{split}/{metric}"}
    known_metric = METRICS.get(metric)
    if not names and (models or known_metric is None):  # what every run will have is known before the first has it
        return None
    values = index.figures(names.pop()) if models else _of_chosen(index, f"{split}/{metric}", names)
    words = known_metric.label if known_metric else metric
    where = {GIVEN: "out of fold, labels as given", "oof": "out of fold", TEST: "sealed test"}[split]
    label = f"{f'{models[0]}: ' if models else ''}{words}, {where}"
    return Key(asked, "figure", label, values, split, known_metric is None or known_metric.higher_is_better)


def _of_chosen(index: RunIndex, rest: str, names: set[str]) -> dict[str, Figure]:
    """That of the model which each run chose."""
    chosen = {folder: entry.chosen for folder, entry in index.entries.items() if entry.chosen}
    found: dict[str, Figure] = {}
    for model in set(chosen.values()):
        if f"{model}/{rest}" in names:
            of_model = index.figures(f"{model}/{rest}")
            found |= {folder: figure for folder, figure in of_model.items() if chosen.get(folder) == model}
    return found


def _seconds(entry: RunEntry) -> float | None:
    """Wall time; of a run under way, up to now."""
    if entry.status != "running" or not entry.started:
        return entry.seconds
    try:
        started = datetime.datetime.fromisoformat(entry.started)
    except ValueError:
        return None
    now = datetime.datetime.now(datetime.UTC)
    return float(max(int((now - started).total_seconds()), 0)) if started.tzinfo else None
