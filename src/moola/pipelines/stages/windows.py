"""Cut bars into windows by position, and ask the labeller what each window is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from moola.config import RunConfig, build_all, structure
from moola.data.bar_store import BarStore
from moola.data.calendars import SessionCalendar
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import DataError
from moola.labels import LABELLERS, Labeller
from moola.labels.planting import LabelDraw
from moola.layout import read_json, replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.stage import Stage, Workspace

_PAUSE_STEPS = 1.5
"""A longer pause, in median steps of a series, is a gap; so it is in `moola.data.description`, which is not imported,
because a change of its page would then make windows anew."""


@dataclass(frozen=True)
class Windows(Stage):
    """Window positions, their table and their true labels where these are known."""

    window: WindowConfig
    calendar: SessionCalendar | None
    labeller: Labeller
    name: ClassVar[str] = "windows"
    provides: ClassVar[str] = "windows"
    requires: ClassVar[tuple[str, ...]] = ("bars",)
    room: ClassVar[str] = "data/processed/unlabeled"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``data.window``, ``data.calendar`` and the labeller of ``task``."""
        sessions = config.data.get("calendar")
        return cls(
            *build_all(
                lambda: structure(WindowConfig, config.data.get("window", {}), "data.window"),
                lambda: structure(SessionCalendar, sessions, "data.calendar") if sessions is not None else None,
                lambda: LABELLERS.build_section(_labeller_section(config.task), "task", key="labels"),
            )
        )

    def check_windows(self, n_bars: int) -> None:
        """Whether the labeller takes windows with such a zone."""
        check_zone = getattr(self.labeller, "check_zone", None)
        if check_zone is not None:
            check_zone(self.window.zone or (0, n_bars), n_bars)

    def outside(self) -> str:
        """A label file lies outside moola."""
        return self.labeller.fingerprint()

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``starts.npy``, ``stretches.npy``, ``windows.json``; with labels ``windows.parquet``, ``labels.json``.

        A labeller without any classes is fine: windows may be there to be looked at and to pretrain on.

        Raises:
            DataError: no window fits, or the labels know one class only.
        """
        from moola import schemas
        from moola.schemas import check

        store = BarStore.open(inputs["bars"].folder)
        windows = WindowIndex.build(store, self.window, self.calendar)
        table = windows.table(store)
        labels = self.labeller.label(store, windows, table)
        if len(labels.classes) == 1:
            raise DataError(
                "the labels know one class only",
                f"classes: {labels.classes[0]}",
                "give labels of at least two classes, or none with task=unlabelled",
            )
        table = table.with_columns(true_label=labels.values)
        if labels.pointers is not None:
            table = table.hstack(labels.pointers)
        table = check(table, schemas.windows(), "the windows table", "")
        for name, array in (("starts.npy", windows.starts), ("stretches.npy", windows.stretches)):
            with replace_atomically(workspace.folder / name) as handle:
                np.save(handle, array, allow_pickle=False)
        with replace_atomically(workspace.folder / "windows.parquet") as handle:
            table.write_parquet(handle)
        head = {
            "length": windows.length,
            "visible": windows.visible,
            "zone": list(windows.zone),
            "horizon_bars": windows.horizon_bars,
        }
        write_json(workspace.folder / "windows.json", head)
        told = {
            "classes": list(labels.classes),
            "from_rule": labels.from_rule,
            "counts": {
                str(name or "unlabeled"): n
                for name, n in sorted(table["true_label"].value_counts().iter_rows(), key=str)
            },
        }
        write_json(workspace.folder / "labels.json", told)
        if self.window.max_gap is None and not store.independent:
            over = windows_over_pauses(store, windows)
            if over:
                workspace.events.emit("note", stage=self.name, message=_over_pauses_told(over, windows, inputs["bars"]))


def windows_over_pauses(store: BarStore, windows: WindowIndex) -> int:
    """How many windows hold, with their horizon, a pause of more than 1.5 median steps of their series."""
    before: list[np.ndarray] = []  # bars before such a pause
    for first, past in itertools.pairwise(store.offsets.tolist()):
        steps = np.diff(store.timestamps[first:past])
        if len(steps):
            before.append(np.flatnonzero(steps > _PAUSE_STEPS * np.median(steps)) + first)
    pauses = np.concatenate(before) if before else np.empty(0, dtype=np.int64)
    # A window holds a pause if it starts at the bar before it or at most reach - 2 bars earlier. Pauses ascend, so of
    # these neighbours those after the last one of the pause before are new.
    first_window = np.searchsorted(windows.starts, pauses - (windows.reach - 2), side="left")
    past_window = np.searchsorted(windows.starts, pauses, side="right")
    counted = np.concatenate([[0], past_window[:-1]])[: len(pauses)]
    return int((past_window - np.maximum(first_window, counted)).sum())


def _over_pauses_told(over: int, windows: WindowIndex, bars: Artifact) -> str:
    """The note on windows that run over pauses, and on rows that were left out where `ingest` left some out."""
    summary = read_json(bars.path("ingest.json")) if "ingest.json" in bars.manifest["files"] else {}
    bad = summary.get("rows_quarantined", 0)
    holes = f" ({bad:,} bad row{' was' if bad == 1 else 's were'} left out)" if bad else ""
    return (
        f"{over:,} of {len(windows):,} windows run over a pause of more than {_PAUSE_STEPS} median steps{holes}: "
        "data.window.max_gap is null; with a duration there (15m, 8d) no window runs over a longer pause"
    )


def _labeller_section(task: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``task`` without what belongs to the draw of labels and their corrections."""
    others = {*LabelDraw.__dataclass_fields__, "corrections"}
    return {key: value for key, value in task.items() if key not in others}
