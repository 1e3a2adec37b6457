"""What a search leaves: a table of trials, pictures on a page, and the winner as an experiment."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import moola
from moola.drawing import svg_file
from moola.drawing.numbers import duration
from moola.drawing.page import render_page
from moola.evaluation.comparison import plain, signed
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import METRICS
from moola.layout import write_json, write_text
from moola.pipelines.events import now
from moola.sweeps.search import pictures
from moola.sweeps.search.evidence import Compared
from moola.sweeps.search.folder import RECORD, TRIALS
from moola.sweeps.search.running import Search, SearchOutcome
from moola.sweeps.search.space import spoken
from moola.sweeps.search.study import COUNTED, TrialRecord
from moola.sweeps.search.winner import run_command, write_winner

_SHOWN = 10


def write_results(search: Search, outcome: SearchOutcome, line: str, write: Path | None) -> Path:
    """Write the folder of a search; the path of the winner's file.

    Args:
        search: what was searched.
        outcome: what came of it.
        line: the command, without secrets.
        write: folder of configurations for the winner, besides that of the search; None: no other.
    """
    folder, found = search.folder, outcome.found
    write_trials(folder, found.records)
    for one in outcome.folds:
        write_trials(folder / one.name.rpartition(".")[2], one.records)
    into = folder if write is None else write
    experiment = write_winner(into, found.name, search.base, found.best.params, _header(outcome, line, into))
    if into != folder:  # the folder has all that came of the search
        write_text(folder / "experiment" / experiment.name, experiment.read_text())
    drawn = _pictures(search, outcome)
    for name, svg in drawn.items():
        write_text(folder / "pictures" / f"{name}.svg", svg_file([("", svg)], title=name.replace("_", " ")))
    write_json(folder / RECORD, _summary(search.study_id, outcome, line, experiment))
    page = render_page(
        "moola.sweeps.search:page.html.j2",
        outcome=outcome,
        metric=METRICS[outcome.settings.metric].label,
        figures=_figures(outcome),
        trials=best_first(found.records, search.higher_is_better),
        counts=counts_of(found.records),
        pictures=drawn,
        keys=list(outcome.settings.dimensions),
        spoken=spoken,
        command=line,
        run=run_command(into, found.name),
    )
    write_text(folder / "search.html", page)
    return experiment


def write_trials(folder: Path, records: Sequence[TrialRecord]) -> None:
    """``trials.csv`` and ``trials.json``: every trial, a column each key."""
    plain_records = [dataclasses.asdict(one) for one in records]
    write_json(folder / TRIALS, plain_records)
    keys = sorted({key for one in records for key in one.params})
    own = [field.name for field in dataclasses.fields(TrialRecord) if field.name != "params"]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*own, *keys])
    for one, values in zip(records, plain_records, strict=True):
        writer.writerow([*(values[name] for name in own), *(one.params.get(key, "") for key in keys)])
    write_text(folder / "trials.csv", table.getvalue())


def counted(records: Sequence[TrialRecord]) -> str:
    """How far a study is: ``"20 finished, 1 failed"``."""
    return ", ".join(f"{n} {status}" for status, n in counts_of(records).items()) or "no trial known"


def counts_of(records: Sequence[TrialRecord]) -> dict[str, int]:
    """Trials by status."""
    return dict(Counter(one.status for one in records))


def best_first(records: Sequence[TrialRecord], higher_is_better: bool) -> list[TrialRecord]:
    """The finished trials, the best first."""
    sign = -1.0 if higher_is_better else 1.0
    finished = [one for one in records if one.status == "finished" and one.value is not None]
    return sorted(finished, key=lambda one: (sign * (one.value or 0.0), one.number))


def table_of(records: Sequence[TrialRecord], higher_is_better: bool, metric: str, shown: int = _SHOWN) -> str:
    """The best trials for a terminal, and the default where it is none of them."""
    ranked = best_first(records, higher_is_better)
    listed = ranked[:shown] + [one for one in ranked[shown:] if one.is_default]
    head = ("trial", metric, "seconds", "")
    rows = [
        (
            f"{one.number}{' default' if one.is_default else ''}",
            f"{one.value:.4f}",
            f"{one.seconds or 0:.1f}",
            spoken(one.params) if one.params else "as it is",
        )
        for one in listed
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(3)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3]]).rstrip()
        for row in (head, *rows)
    )


def verdict(outcome: SearchOutcome) -> list[str]:
    """What the search came to, a sentence each."""
    inner, outer, metric = outcome.evidence.inner, outcome.evidence.outer, METRICS[outcome.settings.metric].label
    n = sum(one.status in COUNTED for one in outcome.found.records)
    rests = f"{outcome.n_windows} windows, {outcome.n_folds} inner folds, {_counted_seeds(outcome.n_seeds)}"
    told = [
        f"Inner: {metric} {plain(inner.winner)} of the best of {n} trials, so too good by the choice ({rests}); "
        f"default {plain(inner.default)}, gain {signed(inner.gain)}."
    ]
    if outer is not None:
        told.append(
            f"Outer: {metric} {plain(outer.winner)} of what {len(outcome.folds)} searches found without the fold that "
            f"judges it; default {plain(outer.default)}, gain {signed(outer.gain)}."
        )
    else:
        told.append("Outer: not judged yet; a run of the winner judges it on the sealed test, once.")
    return told


def _counted_seeds(n: int) -> str:
    return f"{n} seed{'' if n == 1 else 's'}"


def _header(outcome: SearchOutcome, line: str, into: Path) -> list[tuple[str, str]]:
    """Question, command, cost, expected result and evidence of the winner."""
    settings, records = outcome.settings, outcome.found.records
    seconds = sum(one.seconds or 0.0 for study in (outcome.found, *outcome.folds) for one in study.records)
    default = spoken({key: value for key, value in outcome.default.items() if isinstance(value, int | float | str)})
    header = [
        ("Question", f"which {', '.join(settings.dimensions)} give {settings.model} the best {settings.metric}?"),
        ("Command", run_command(into, settings.name)),
        ("Cost", f"{duration(seconds)} of trials to find it"),
        ("Expected", "\n".join(verdict(outcome))),
        ("Evidence", f"study {settings.name} in {outcome.storage}: {counted(records)}; default: {default}"),
        ("Found by", f"{line}\nmoola {moola.__version__}, {now()[:10]}"),
    ]
    if outcome.pretrained_anew:
        header.append(("Note", f"trials pretrained an encoder of their own for {', '.join(outcome.pretrained_anew)}"))
    return [*header, *(("Warning", warning) for warning in outcome.evidence.warnings)]


def _pictures(search: Search, outcome: SearchOutcome) -> dict[str, str]:
    from moola.sweeps.search.storage import StudyStorage

    settings, records = outcome.settings, outcome.found.records
    drawn = {"history": pictures.history(records, settings.metric)}
    drawn["parallel_coordinates"] = pictures.parallel_coordinates(
        records, settings.dimensions, settings.metric, outcome.found.best.number
    )
    import optuna

    with contextlib.closing(StudyStorage(search.place)) as storage:
        study = optuna.load_study(study_name=outcome.found.name, storage=storage.optuna)
        found = pictures.importance(study, settings.dimensions)
    return drawn | ({"importance": pictures.importance_bars(found)} if found else {})


def _figures(outcome: SearchOutcome) -> list[tuple[str, str, str, str]]:
    pairs: dict[str, Compared | None] = {
        "inner folds, which chose": outcome.evidence.inner,
        "out of fold, which did not": outcome.evidence.outer,
    }
    return [
        (where, plain(pair.winner), plain(pair.default), signed(pair.gain))
        for where, pair in pairs.items()
        if pair is not None
    ]


def _summary(study: str, outcome: SearchOutcome, line: str, experiment: Path) -> dict[str, Any]:
    settings, found = outcome.settings, outcome.found
    return {
        "name": settings.name,
        "command": line,
        "model": settings.model,
        "metric": settings.metric,
        "study": study,
        "storage": outcome.storage,
        "moola": moola.__version__,
        "finished": now(),
        "trials": counts_of(found.records),
        "best": dataclasses.asdict(found.best),
        "default": dict(outcome.default),
        "inner": _plain_pair(outcome.evidence.inner),
        "outer": None if outcome.evidence.outer is None else _plain_pair(outcome.evidence.outer),
        "folds": [{"study": one.name, "best": dataclasses.asdict(one.best)} for one in outcome.folds],
        "verdict": verdict(outcome),
        "warnings": list(outcome.evidence.warnings),
        "experiment": str(experiment),
    }


def _plain_pair(pair: Compared) -> dict[str, Any]:
    return {name: _plain_estimate(value) for name, value in vars(pair).items()}


def _plain_estimate(value: Estimate) -> Mapping[str, Any]:
    found = dataclasses.asdict(value)
    return {key: None if isinstance(item, float) and math.isnan(item) else item for key, item in found.items()}
