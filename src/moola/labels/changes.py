"""What a review changed: counts of decisions, windows whose label is another now, and planted flips that were met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from moola.labels.events import LabelEvent
from moola.labels.folding import WindowState, fold, in_effect
from moola.labels.versions import diff_labels, why_unlabelled


@dataclass(frozen=True)
class DecisionCounts:
    """How many windows ended how; decisions that were taken back have no say.

    Attributes:
        accepted: windows whose label was said to be right.
        relabelled: windows that should have another label.
        skipped: windows that leave the training set.
        blacklisted: windows that leave it with all that overlap them.
        in_conflict: windows of which people say different things; these stay as they were.
        noted: windows with a note.
        undone: events that people took back.
    """

    accepted: int
    relabelled: int
    skipped: int
    blacklisted: int
    in_conflict: int
    noted: int
    undone: int


@dataclass(frozen=True)
class ChangedLabel:
    """A window whose label is another now.

    Attributes:
        window_id: its name.
        given: label before; `moola.labels.versions.NO_LABEL` where it had none.
        label: label now; where it has none any more why (`moola.labels.versions.why_unlabelled`), if that is known.
        annotators: who decided about it, or about the blacklisted window that it overlaps; empty where nobody did: the
            two runs differ in more than corrections.
        notes: what was written about it.
    """

    window_id: str
    given: str
    label: str
    annotators: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PlantedOutcome:
    """What became of labels that had been flipped on purpose, and of right ones; the truth is known for all.

    Attributes:
        planted: flipped labels before the review.
        looked_at: of these, windows that somebody decided about.
        restored: of these, labels that are the true one now.
        removed: of these, windows without a label now.
        relabelled: windows with a known truth whose label was changed, flipped or not.
        put_right: of these, labels that are the true one now.
        spoiled: right labels that were changed to wrong ones.
        lost: right labels whose windows have none now.
    """

    planted: int
    looked_at: int
    restored: int
    removed: int
    relabelled: int
    put_right: int
    spoiled: int
    lost: int


def count_decisions(events: Sequence[LabelEvent]) -> DecisionCounts:
    """Of a whole log."""
    states = fold(events).values()
    ended = Counter(state.decision for state in states)
    conflicts, noted = sum(state.conflict for state in states), sum(bool(state.notes) for state in states)
    gone = {event.event_id for event in events if event.decision != "undo"}
    gone -= {event.event_id for event in in_effect(events)}
    completed = {event.undoes for event in events if event.source.startswith("import:")}
    undone = len(gone - completed)
    return DecisionCounts(
        ended["accept"], ended["relabel"], ended["skip"], ended["blacklist"], conflicts, noted, undone
    )


def labels_by_log(events: Iterable[LabelEvent]) -> tuple[dict[str, str], dict[str, str]]:
    """Window -> label before the review as the log tells it, and window -> label after.

    Before is the label of the first event that names one. A window of which people say different things keeps it.
    """
    events = tuple(events)
    before: dict[str, str] = {}
    for event in events:
        if event.given:
            before.setdefault(event.window_id, event.given)
    after = dict(before)
    for name, state in fold(events).items():
        if state.removed:
            after.pop(name, None)
        elif state.label is not None:
            after[name] = state.label
    return before, after


def changed_labels(
    before: Mapping[str, str],
    after: Mapping[str, str],
    states: Mapping[str, WindowState],
    overlapped: Mapping[str, str] = MappingProxyType({}),
) -> list[ChangedLabel]:
    """Windows whose label differs, in the order of `before`.

    Args:
        before: window -> label.
        after: the same after the review.
        states: what was decided; it tells why a window has no label now, and who said so.
        overlapped: windows that lost their label because they overlap a blacklisted one -> that one.
    """
    found: list[ChangedLabel] = []
    for name, given, label in diff_labels(before, after, ({}, why_unlabelled(states, overlapped))).iter_rows():
        state = states.get(overlapped.get(name, name)) if name not in after else states.get(name)
        people = tuple(state.annotators) if state else ()
        found.append(ChangedLabel(name, given, label, people, states[name].notes if name in states else ()))
    return found


def planted_outcome(
    before: pl.DataFrame, after: pl.DataFrame, states: Mapping[str, WindowState]
) -> PlantedOutcome | None:
    """None where no label had been flipped.

    Args:
        before: ``window_id``, ``label``, ``true_label`` and ``planted`` of the labels given to models.
        after: ``window_id`` and ``label`` after the review.
        states: what was decided.
    """
    if not before["planted"].any():
        return None
    new = after.select("window_id", new="label")
    both = before.filter(pl.col("true_label").is_not_null()).join(new, on="window_id", how="left")
    planted, right = pl.col("planted"), pl.col("label") == pl.col("true_label")
    now_right, gone = pl.col("new") == pl.col("true_label"), pl.col("new").is_null()
    changed = pl.col("new") != pl.col("label")
    decided = [name for name, state in states.items() if state.annotators]
    return PlantedOutcome(
        both.filter(planted).height,
        both.filter(planted, pl.col("window_id").is_in(decided)).height,
        both.filter(planted, now_right).height,
        both.filter(planted, gone).height,
        both.filter(changed).height,
        both.filter(changed, now_right).height,
        both.filter(right, changed).height,
        both.filter(right, gone).height,
    )
