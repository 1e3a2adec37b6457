"""What a review changed: labels, the time it took, how far people agree, and the figures of a run before and after."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from moola.errors import DataError
from moola.evaluation.score_interval import share_estimate
from moola.labels.agreement import Agreement, Anchoring, agreement_between, anchoring
from moola.labels.changes import (
    ChangedLabel,
    DecisionCounts,
    PlantedOutcome,
    changed_labels,
    count_decisions,
    labels_by_log,
    planted_outcome,
)
from moola.labels.corrections import log_in, read_states
from moola.labels.events import LabelEvent, LabelLog
from moola.labels.folding import WindowState, fold
from moola.labels.pace import DecisionTimes, decision_times
from moola.layout import read_json
from moola.pipelines.results import FinishedRun
from moola.pipelines.run_artifacts import open_artifact
from moola.pipelines.run_pair import RunPair, compare_runs
from moola.pipelines.run_pair_page import pair_json
from moola.pipelines.scores import without_nan

CORRECTED = "corrections.json"
"""What a run leaves that was trained on corrections."""
_DOINGS = ("relabelled", "confirmed", "added", "removed", "marked")
"""Counts of it, of which one at least is not nought where a decision met a label."""


@dataclass(frozen=True)
class LogFacts:
    """What a log of decisions says by itself.

    Attributes:
        path: the log.
        counts: how many windows ended how.
        times: of each annotator.
        pairs: agreement of every two annotators.
        anchored: what showing given label and predictions does; None where nothing was judged blind, or all was.
    """

    path: Path
    counts: DecisionCounts
    times: tuple[DecisionTimes, ...]
    pairs: tuple[Agreement, ...]
    anchored: Anchoring | None


@dataclass(frozen=True)
class Retrained:
    """A run on the labels from before a review, and one on the labels after it.

    Attributes:
        pair: both; ``a`` is the run after, ``b`` the one before, so that differences are after minus before.
        corrections: ``corrections.json`` of the run after.
        planted: what became of flips that were planted; None where none were.
        late: decisions in the log that were made after the labels of the later run had been read.
    """

    pair: RunPair
    corrections: Mapping[str, Any]
    planted: PlantedOutcome | None
    late: int

    @property
    def other_keys(self) -> list[str]:
        """Keys besides the corrections in which the runs differ, and which can change a figure."""
        keys = [one.key for one in self.pair.configuration if one.key not in ("task.corrections", "name")]
        return [*keys, *(one.key for one in self.pair.origin)]


@dataclass(frozen=True)
class ReviewReport:
    """What a review changed.

    Attributes:
        changes: windows whose label is another now: as the models got them where there are runs, else by the log.
        log: what the log says; None where the corrections came as a table, which holds no decisions.
        retrained: the runs; None where none were named.
        notes: window -> what was written about it, whether its label changed or not.
    """

    changes: tuple[ChangedLabel, ...]
    log: LogFacts | None
    retrained: Retrained | None
    notes: Mapping[str, tuple[str, ...]]

    @property
    def from_to(self) -> list[tuple[str, str, int]]:
        """Label before, label now, and how many windows went that way; the most first."""
        counts = Counter((one.given, one.label) for one in self.changes)
        return [(*way, n) for way, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def report_log(path: Path) -> ReviewReport:
    """By the log alone.

    Raises:
        StorageError: the log is not what was written.
    """
    events = LabelLog(path).read().events
    states = fold(events)
    changes = changed_labels(*labels_by_log(events), states)
    return ReviewReport(tuple(changes), _facts(path, events), None, _notes(states))


def report_runs(before: FinishedRun, after: FinishedRun, log: Path | None, metric: str) -> ReviewReport:
    """By a run on the labels from before, and one that was trained on the corrections.

    Args:
        before: trained on the labels as they were.
        after: trained on corrections.
        log: of the decisions; None: what `after` was corrected by.
        metric: of figures and differences.

    Raises:
        DataError: `after` was not trained on corrections; the runs cannot be compared; the log is not there.
        StorageError: artifacts of a run are gone or changed.
    """
    corrections = _corrections_of(after, before)
    source = _corrected_by(after) if log is None else log
    events, states = _decisions(source)
    splits = [open_artifact(run.folder, "splits") for run in (before, after)]
    given, now = (pl.read_parquet(one.path("labels.parquet")) for one in splits)
    changes = changed_labels(_as_mapping(given), _as_mapping(now), states, corrections.get("overlapped", {}))
    pair = compare_runs(after, before, metric, common=("oof",))  # a review removes windows, adds and corrects
    late = sum(_moment(event.at) > _moment(splits[1].manifest["started"]) for event in events or ())
    facts = None if events is None else _facts(log_in(source), events)
    retrained = Retrained(pair, corrections, planted_outcome(given, now, states), late)
    return ReviewReport(tuple(changes), facts, retrained, _notes(states))


def _notes(states: Mapping[str, WindowState]) -> dict[str, tuple[str, ...]]:
    return {name: state.notes for name, state in states.items() if state.notes}


def _corrections_of(after: FinishedRun, before: FinishedRun) -> Mapping[str, Any]:
    """What corrections did to the labels of a run."""
    if before.run_id == after.run_id:
        raise DataError(f"{after.run_id} is named twice", "", "name the run before the review, then the one after it")
    corrections = read_json(after.file(CORRECTED)) if after.has(CORRECTED) else {}
    if any(corrections.get(name) for name in _DOINGS):
        return corrections
    why = f"its {CORRECTED} says that no decision met a label" if corrections else f"it has no {CORRECTED}"
    way_out = "train on the decisions: moola run task.corrections=FILE, with the overrides of the run before"
    if not corrections and before.has(CORRECTED):
        way_out = f"{before.run_id} was: name the run before the review first"
    elif corrections.get("ignored"):
        why += "; ignored: " + "; ".join(f"{found['n']}: {reason}" for reason, found in corrections["ignored"].items())
    raise DataError(f"{after.run_id} was not trained on corrections", why, way_out)


def _corrected_by(run: FinishedRun) -> Path:
    import yaml

    return Path(yaml.safe_load(run.file("config.yaml").read_text())["task"]["corrections"])


def _decisions(source: Path) -> tuple[tuple[LabelEvent, ...] | None, Mapping[str, WindowState]]:
    """Events of a log or a version, and what they come to; None in place of events that a table does not hold."""
    try:
        states = read_states(source)
    except DataError as error:
        raise DataError(error.what, error.why, "name the log of the decisions with --log FILE") from error
    if source.suffix == ".parquet":
        return None, states
    return LabelLog(log_in(source)).read().events, states


def _as_mapping(labels: pl.DataFrame) -> dict[str, str]:
    return dict(labels.select("window_id", "label").iter_rows())


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _facts(path: Path, events: Sequence[LabelEvent]) -> LogFacts:
    times, pairs = decision_times(events), agreement_between(events)
    return LogFacts(path, count_decisions(events), tuple(times), tuple(pairs), anchoring(events))


def report_json(report: ReviewReport) -> dict[str, Any]:
    """Plain values; null for what is not known. In ``figures`` ``a`` is the run after and ``b`` the one before."""
    log, retrained = report.log, report.retrained
    told: dict[str, Any] = {
        "log": {**dataclasses.asdict(log), "path": str(log.path)} if log else None,
        "from_to": [dict(zip(("given", "label", "windows"), way, strict=True)) for way in report.from_to],
        "changes": [dataclasses.asdict(one) for one in report.changes],
        "notes": {name: list(notes) for name, notes in report.notes.items()},
    }
    if retrained is not None:
        told |= {
            "before": retrained.pair.b.run_id,
            "after": retrained.pair.a.run_id,
            "corrections": retrained.corrections,
            "other_keys": retrained.other_keys,
            "late_decisions": retrained.late,
            "planted": _planted_json(retrained.planted) if retrained.planted else None,
            "figures": pair_json(retrained.pair),
        }
    return without_nan(told)


def _planted_json(found: PlantedOutcome) -> dict[str, Any]:
    shares = {"recall": (found.restored, found.planted), "precision": (found.put_right, found.relabelled)}
    estimates = {name: dataclasses.asdict(share_estimate(*counts)) for name, counts in shares.items()}
    return dataclasses.asdict(found) | estimates
