"""What people decided, put into the labels that models are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.config import digest_json, reject
from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex, WindowSpans
from moola.errors import DataError, StorageError, ask_for, near_names
from moola.labels import POINTER_COLUMNS
from moola.labels.blacklist import OTHER_DATA, is_of_other_data, overlapped_by, touches_blacklisted, without_effect
from moola.labels.events import LabelLog, window_digest
from moola.labels.folding import WindowState, fold

EVENTS = "events.jsonl"
"""The log that an exported version holds."""
_SAID = (
    "label",
    "start",
    "end",
    "decision",
    "conflict",
    "removed",
    "window_digest",
    "first_time",
    "last_time",
    "series",
)
"""What of a state changes labels."""
_SHOWN = 20


@dataclass(frozen=True)
class CorrectionsConfig:
    """What corrects the labels.

    Attributes:
        corrections: as `read_states` takes it; null: labels stay as they are given.
    """

    corrections: str | None = None

    def __post_init__(self) -> None:
        reject((self.corrections == "", "corrections: names a file or a folder and is empty; null corrects nothing"))


def log_in(path: Path) -> Path:
    """The log of events that `path` is, or that the exported version at `path` holds."""
    return path / EVENTS if path.is_dir() else path


def read_states(path: Path) -> dict[str, WindowState]:
    """What a file says that labels are.

    Args:
        path: a log of events, the folder of an exported version, or a table (``.parquet``) with ``window_id``,
            ``label`` and perhaps `POINTER_COLUMNS`, whose every row is a decision.

    Raises:
        DataError: there is no such file, or it is no such table.
        StorageError: the log is not what was written.
    """
    log = log_in(path)
    if not log.is_file():
        near = [] if path.is_dir() else near_names(path.name, (one.name for one in path.parent.glob("*")))
        raise DataError(
            f"there are no corrections in {path}",
            f"{log} is missing" + (f"; {ask_for(near)}" if near else ""),
            "give the log of a review, or a version that `moola labels export` made: task.corrections=FILE",
        )
    return _read_table(log) if log.suffix == ".parquet" else fold(LabelLog(log).read().events)


def _read_table(path: Path) -> dict[str, WindowState]:
    try:
        table = pl.read_parquet(path)
        marks = [name for name in POINTER_COLUMNS if name in table.columns]
        table = table.select(pl.col("window_id", "label").cast(pl.String), pl.col(marks).cast(pl.Int64))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"{path} holds no labels", str(error), "give a table with window_id and label") from error
    if table["window_id"].is_duplicated().any() or table.select("window_id", "label").null_count().sum_horizontal()[0]:
        raise DataError(f"{path} does not say one label for each window", "", "keep one row a window, with a label")
    states = (
        WindowState(
            row["window_id"],
            row["label"],
            row.get(POINTER_COLUMNS[0]),
            row.get(POINTER_COLUMNS[1]),
            "relabel",
            {path.name: row["label"]},
            conflict=False,
            removed=False,
            notes=(),
        )
        for row in table.iter_rows(named=True)
    )
    return {state.window_id: state for state in states}


def states_digest(path: Path) -> str:
    """SHA-256 (hex) of all that changes labels; a note changes nothing. Raises as `read_states`."""
    told = [[name, *(getattr(state, one) for one in _SAID)] for name, state in sorted(read_states(path).items())]
    return digest_json(told)


@dataclass
class CorrectionCounts:
    """What corrections did to the labels of the training windows.

    Attributes:
        relabelled: windows that got another label than they had.
        confirmed: windows whose label was said to be right.
        added: windows that had no label and got one.
        removed: why -> windows that lost theirs.
        overlapped: those of them that lost it because they overlap a blacklisted window -> that window.
        marked: windows whose pointers are new.
        restored: windows whose label had been flipped on purpose and is the true one again.
        ignored: why -> names of windows whose decision did nothing.
    """

    relabelled: int = 0
    confirmed: int = 0
    added: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    overlapped: dict[str, str] = field(default_factory=dict)
    marked: int = 0
    restored: int = 0
    ignored: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of ``corrections.json``; of windows that were ignored the first 20 of each kind are named."""
        ignored = {why: {"n": len(names), "first": names[:_SHOWN]} for why, names in sorted(self.ignored.items())}
        return {**asdict(self), "removed": dict(sorted(self.removed.items())), "ignored": ignored}

    def sentence(self) -> str:
        """In words."""
        removed = sum(self.removed.values())
        done = f"{self.relabelled} relabelled, {self.added} added, {removed} removed, {self.confirmed} confirmed"
        others = {why: len(names) for why, names in sorted(self.ignored.items())}
        elsewhere = [f"{others.pop(OTHER_DATA)} {OTHER_DATA}"] if OTHER_DATA in others else []
        ignored = [f"{n} ignored: {why}" for why, n in others.items()]
        return f"corrections of training labels: {'; '.join([done, *ignored, *elsewhere])}"


@dataclass(frozen=True)
class Corrector:
    """Puts decisions into labels, of training windows only.

    Attributes:
        store: the bars.
        windows: where windows start.
        spans: of these windows.
        classes: labels there may be.
        truth_known: whether windows have a truth that people cannot change, because a formula made the labels or some
            were flipped on purpose. Else the truth is what people said last.
    """

    store: BarStore
    windows: WindowIndex
    spans: WindowSpans
    classes: tuple[str, ...]
    truth_known: bool = False

    def apply(
        self, given: pl.DataFrame, table: pl.DataFrame, states: Mapping[str, WindowState]
    ) -> tuple[pl.DataFrame, CorrectionCounts]:
        """Labels as people say they are.

        A window that overlaps a blacklisted one loses its label whatever was decided about itself. Decisions about
        sealed windows do nothing: the test stays as it was.

        Args:
            given: ``window_id``, ``label``, ``true_label``, ``planted`` of the labels drawn for the models.
            table: of all windows, with ``span`` and ``row``, in the order of `windows`.
            states: what was decided.

        Returns:
            The same columns in the order of `table`, with `POINTER_COLUMNS` where some were marked anew (null: as they
            were), and what was done. ``planted`` is false where the truth is back.
        """
        counts = CorrectionCounts()
        rows = self._rows(table, states, counts)
        touched = touches_blacklisted(states, table["window_id"], self.spans, self.store)
        before = {row["window_id"]: row for row in given.iter_rows(named=True)}
        after = {name: {**row, **dict.fromkeys(POINTER_COLUMNS)} for name, row in before.items()}
        for name, row in rows.items():
            state = states[name]
            if state.removed:
                if after.pop(name, None) is not None:
                    counts.removed[str(state.decision)] = counts.removed.get(str(state.decision), 0) + 1
            elif state.label is not None and touched[row["row"]]:
                counts.ignored.setdefault("it overlaps a blacklisted window", []).append(name)
            elif state.label is not None:
                after[name] = self._decided(state, row, before.get(name), counts)
        frame = pl.DataFrame(list(after.values()), schema={**given.schema, **dict.fromkeys(POINTER_COLUMNS, pl.Int64)})
        frame = table.select("window_id", "row").join(frame, on="window_id").sort("row")
        overlapping = touched[frame["row"].to_numpy()]
        if overlapping.any():
            counts.removed["overlaps a blacklisted window"] = int(overlapping.sum())
            lost = frame.filter(pl.Series(overlapping))
            met = overlapped_by(states, table["window_id"], self.spans, self.store, lost["row"].to_list())
            counts.overlapped = dict(zip(lost["window_id"], met, strict=True))
        frame = frame.filter(~pl.Series(overlapping)).drop("row")
        counts.marked = frame[POINTER_COLUMNS[0]].count()
        return frame if counts.marked else frame.drop(POINTER_COLUMNS), counts

    def _rows(
        self, table: pl.DataFrame, states: Mapping[str, WindowState], counts: CorrectionCounts
    ) -> dict[str, dict[str, Any]]:
        """Rows of the table that decisions may act on, by name; why others may not goes into the counts."""
        decided = {name: state for name, state in states.items() if state.annotators}
        named = table.filter(pl.col("window_id").is_in(list(decided))).iter_rows(named=True)
        found = {row["window_id"]: row for row in named}
        unmet = {name: why for name, state in decided.items() if (why := self._why_not(state, found.get(name)))}
        training = (table["span"] == "train").to_numpy()
        some = {name: decided[name] for name in unmet}
        idle = without_effect(some, table["window_id"], self.spans, self.store, training)
        for name, why in unmet.items():
            if decided[name].decision != "blacklist":
                counts.ignored.setdefault(why, []).append(name)
            elif name in idle:  # else its span of time acts
                counts.ignored.setdefault(why if name in found else idle[name], []).append(name)
        return {name: found[name] for name in decided if name not in unmet}

    def _why_not(self, state: WindowState, row: Mapping[str, Any] | None) -> str | None:
        if row is None:
            elsewhere = is_of_other_data(state.series, state.window_id, self.store.series)
            return OTHER_DATA if elsewhere else "there is no such window"
        if row["span"] == "test":
            return "it belongs to the sealed test"
        if row["span"] != "train":
            return "it lies between training and test"
        if state.conflict:
            return "people differ and none has the majority"
        if state.decision != "blacklist" and state.window_digest:
            bars = self.windows.gather(self.store.values, np.array([row["row"]]), self.windows.length)
            if window_digest(bars[0]) != state.window_digest:
                return "its bars are others than those that were looked at"
        if state.label is not None and state.label not in self.classes:
            return f"the label is none of the classes ({', '.join(self.classes) or 'there are none'})"
        return None

    def _decided(
        self,
        state: WindowState,
        row: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        counts: CorrectionCounts,
    ) -> dict[str, Any]:
        """The row of a window that has a label by decision."""
        first, past = self.windows.zone
        marks: dict[str, int | None] = {POINTER_COLUMNS[0]: state.start, POINTER_COLUMNS[1]: state.end}
        if state.start is not None and state.end is not None and not first <= state.start < state.end < past:
            counts.ignored.setdefault(f"its marks lie outside the zone [{first}, {past - 1}]", []).append(
                state.window_id
            )
            marks = dict.fromkeys(POINTER_COLUMNS, None)
        truth = row["true_label"] if self.truth_known and row["true_label"] is not None else state.label
        planted = bool(before and before["planted"]) and state.label != truth
        if before is None:
            counts.added += 1
        elif before["label"] == state.label:
            counts.confirmed += 1
        else:
            counts.relabelled += 1
            counts.restored += before["planted"] and not planted
        named = {"window_id": state.window_id, "label": state.label, "true_label": truth}
        return {**named, "planted": planted} | marks


def rejected_windows(
    states: Mapping[str, WindowState], window_ids: pl.Series, spans: WindowSpans, store: BarStore
) -> np.ndarray:
    """Numbers of the windows of which people want nothing to be learned, also without a label: int64.

    Those that are skipped, and those that share a moment with a blacklisted one.
    """
    skipped = window_ids.is_in([name for name, state in states.items() if state.removed]).to_numpy()
    return np.flatnonzero(skipped | touches_blacklisted(states, window_ids, spans, store))
