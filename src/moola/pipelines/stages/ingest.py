"""Read bars from their source, judge them, and store them for memory mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from moola.config import RunConfig, build_all, reject, structure
from moola.data.calendars import SessionCalendar
from moola.data.ingestion import ingest
from moola.data.quality import QualityConfig
from moola.data.resampling import ResampleConfig, Resampler
from moola.data.sources import SOURCES, Source
from moola.data.timezones import timezone_problem
from moola.pipelines.artifacts import Artifact
from moola.pipelines.stage import Stage, Workspace

_OTHERS = ("window", "quality", "calendar", "resample", "clock_timezone", "drift")
"""Keys of the section ``data`` that do not belong to the source."""


@dataclass(frozen=True)
class Ingest(Stage):
    """Bars from the source, judged, put together where asked, and stored.

    Attributes:
        source: where they come from.
        quality: what is done about bad rows, and what counts as odd.
        calendar: sessions that no resampled bar spans; None: days of UTC.
        resample: how longer bars are made; None: bars stay as they are.
        clock_timezone: adds the local time of day and day of the week as channels; None: they are not added.
    """

    source: Source
    quality: QualityConfig = field(default_factory=QualityConfig)
    calendar: SessionCalendar | None = None
    resample: ResampleConfig | None = None
    clock_timezone: str | None = None
    name: ClassVar[str] = "ingest"
    provides: ClassVar[str] = "bars"
    room: ClassVar[str] = "data/processed/unlabeled"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data"}

    def __post_init__(self) -> None:
        problem = timezone_problem(self.clock_timezone) if self.clock_timezone is not None else None
        reject((problem is not None, f"clock_timezone: {problem}"))

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """The section ``data`` without its windows: everything that is not named above belongs to the source."""
        data = config.data
        section = {key: value for key, value in data.items() if key not in _OTHERS}

        def part(kind: type, key: str) -> Callable[[], Any]:
            return lambda: structure(kind, data[key], f"data.{key}") if data.get(key) is not None else None

        source, quality, calendar, resample = build_all(
            lambda: SOURCES.build_section(section, "data", key="source"),
            part(QualityConfig, "quality"),
            part(SessionCalendar, "calendar"),
            part(ResampleConfig, "resample"),
        )
        own = {"source": source, "quality": quality or QualityConfig(), "calendar": calendar, "resample": resample}
        return structure(cls, {**own, "clock_timezone": data.get("clock_timezone")}, "data")

    def outside(self) -> str:
        """The source's files."""
        return self.source.fingerprint()

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``values.npy``, ``timestamps.npy``, ``bars.json``, ``ingest.json``, maybe ``quarantine.csv``."""
        scan = self.source.scan()
        resampler = Resampler(self.resample, self.calendar, scan.channels) if self.resample is not None else None
        summary = ingest(scan, workspace.folder, self.quality, resampler, self.clock_timezone)
        for finding in summary.findings:
            workspace.events.emit("finding", stage=self.name, **vars(finding))
        bad, outside = summary.rows_quarantined, summary.outside_sessions
        told = f"bad rows left out: {bad:,} of {summary.rows_read:,}; quarantine.csv, beside the bars, says why of each"
        notes = [
            *([told] if bad else []),
            *summary.notes,
            *([f"{outside:,} rows lie in no session and are in no bar"] if outside else []),
        ]
        for note in notes:
            workspace.events.emit("note", stage=self.name, message=note)
