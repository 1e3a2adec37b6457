"""From the stream of a source to a store, or to a report of what is wrong with it: one chain for both."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from moola.data.bar_writer import BarWriter
from moola.data.clock_channels import with_clock, with_clock_channels
from moola.data.findings import Finding
from moola.data.quality import Audited, BarAudit, QualityConfig
from moola.data.quarantine import Quarantine
from moola.data.resampling import Resampler
from moola.data.sources import BarScan, Chunk, series_table
from moola.errors import DataError
from moola.layout import write_json
from moola.schemas.bars import TIMESTAMP


@dataclass(frozen=True)
class IngestSummary:
    """What became of the rows of a source.

    Attributes:
        rows_read: rows of the source.
        rows_kept: rows that were good.
        rows_quarantined: rows that were left out; ``rows_read - rows_kept``.
        outside_sessions: good rows that resampling left out because they lie in no session.
        bars: bars stored; fewer than ``rows_kept`` where they were resampled.
        series: series stored.
        findings: everything that was found, errors first.
        notes: what else was left out or changed, with counts.
    """

    rows_read: int
    rows_kept: int
    rows_quarantined: int
    outside_sessions: int
    bars: int
    series: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the places of examples: a store is the same wherever its files lay."""
        findings = [{key: value for key, value in asdict(one).items() if key != "examples"} for one in self.findings]
        return {**asdict(self), "findings": findings}


@dataclass(frozen=True)
class ValidationReport:
    """What was found in the rows of a source.

    Attributes:
        rows: rows read.
        kept: rows that are good.
        findings: everything that was found, errors first.
        series: one row a series: ``series``, ``rows``, ``kept``, ``first_time``, ``last_time``, ``median_step_s``,
            ``longest_gap_s``, and ``CHANNEL_min``, ``CHANNEL_max`` for each channel. Figures are of good rows, and null
            where there are none.
        channels: value columns.
        independent: series are separate cases; their times are bar numbers.
        quarantine: the file with every bad row; None where none is bad.
        notes: what the source left out or changed, with counts.
    """

    rows: int
    kept: int
    findings: tuple[Finding, ...]
    series: pl.DataFrame
    channels: tuple[str, ...]
    independent: bool
    quarantine: Path | None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Nothing was found that keeps a row out; there may be warnings."""
        return not any(one.severity == "error" for one in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain values.

        ``rows``, ``kept``, ``bad``; ``passed``; ``channels``; ``independent``; ``quarantine``: path or null;
        ``notes``; ``findings``: reason, severity, rows, message, examples of each; ``series``: the table, its times in
        ISO 8601.
        """
        table = self.series.with_columns(pl.col("first_time", "last_time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        return {
            "rows": self.rows,
            "kept": self.kept,
            "bad": self.rows - self.kept,
            "passed": self.passed,
            "channels": list(self.channels),
            "independent": self.independent,
            "quarantine": None if self.quarantine is None else str(self.quarantine),
            "findings": [asdict(one) for one in self.findings],
            "notes": list(self.notes),
            "series": table.to_dicts(),
        }


def ingest(
    scan: BarScan,
    folder: Path,
    quality: QualityConfig | None = None,
    resampler: Resampler | None = None,
    clock_timezone: str | None = None,
) -> IngestSummary:
    """Judge the rows of a source, put them together where asked, and store them, in memory bounded by a chunk.

    Writes the store (`BarWriter`), ``ingest.json`` (counts by reason) and, where rows are left out,
    ``quarantine.csv`` with every one of them. Until all is well a store that was in `folder` stays as it was.

    Args:
        scan: the rows.
        folder: where the store will be.
        quality: what is done about bad rows, and what counts as odd.
        resampler: makes longer bars of the good rows.
        clock_timezone: adds the channels of `clock_channels`, the local time of day and day of the week in this zone.

    Raises:
        DataError: every kind of bad row with its number and first places; or too many of a series are bad to be left
            out; or nothing is left of a series; or a file breaks off.
        ConfigError: `clock_timezone` does not fit these bars.
    """
    quality = quality or QualityConfig()
    channels = with_clock_channels(scan, clock_timezone)
    audit = BarAudit(scan.channels, quality, independent=scan.independent)
    with BarWriter(folder, channels) as writer:
        with Quarantine(folder / "quarantine.csv") as quarantine:
            with _told_together(audit):
                for audited in _audited(scan, audit):
                    if quality.bad_rows == "quarantine":
                        quarantine.append(audited.bad)
                    elif audit.rows_bad:
                        continue  # read on for what else is wrong, but store nothing
                    bars = audited.good if resampler is None else resampler.push(audited.good)
                    writer.append(with_clock(bars, clock_timezone))
                if resampler is not None:
                    writer.append(with_clock(resampler.flush(), clock_timezone))
            _refuse(audit, quality)
            series = scan.series if scan.series is not None else series_table(audit.kept_series())
            _refuse_lost_series(series, writer)
        summary = IngestSummary(
            rows_read=audit.rows_read,
            rows_kept=audit.rows_kept,
            rows_quarantined=audit.rows_bad,
            outside_sessions=resampler.counts.outside_session if resampler is not None else 0,
            bars=writer.rows,
            series=len(series),
            findings=audit.findings(),
            notes=scan.notes,
        )
        write_json(folder / "ingest.json", summary.to_json())
        writer.finish(series, scan.independent)
    return summary


def validate(scan: BarScan, quality: QualityConfig | None, quarantine: Path) -> ValidationReport:
    """Judge the rows of a source as `ingest` does and store nothing but the bad ones.

    Args:
        scan: the rows.
        quality: what counts as odd.
        quarantine: the CSV file that gets every bad row: place, row, reasons, series, timestamp, channels. It is
            written if there are some, and an old one is removed if there are none.

    Returns:
        What was found; a file that breaks off is an error among the findings.
    """
    audit = BarAudit(scan.channels, quality, profile=True, independent=scan.independent)
    broken_off: list[Finding] = []
    with Quarantine(quarantine) as bad_rows:
        try:
            for audited in _audited(scan, audit):
                bad_rows.append(audited.bad)
        except DataError as error:
            bad_rows.append(audit.flush().bad)
            broken_off = [Finding("breaks_off", "error", 0, error.what, tuple(filter(None, [error.why])))]
    return ValidationReport(
        rows=audit.rows_read,
        kept=audit.rows_kept,
        findings=(*broken_off, *audit.findings()),
        series=_series_figures(audit),
        channels=audit.channels,
        independent=scan.independent,
        quarantine=quarantine if audit.rows_bad else None,
        notes=scan.notes,
    )


def _audited(scan: BarScan, audit: BarAudit) -> Iterator[Audited]:
    """The rows of a source, judged, the last ones included."""
    for chunk in _read_ahead(scan.chunks):
        yield audit.take(chunk)
    yield audit.flush()


@contextmanager
def _told_together(audit: BarAudit) -> Iterator[None]:
    """Add what was found before to an error that ends the reading or the resampling of rows."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, "\n".join(filter(None, [error.why, *_errors(audit)])), error.way_out) from error


def _errors(audit: BarAudit) -> list[str]:
    return [one.line() for one in audit.findings() if one.severity == "error"]


def _read_ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, each read by a thread of its own while the one before is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="bar-reader") as pool:
        reading = pool.submit(next, chunks, None)
        while (chunk := reading.result()) is not None:
            reading = pool.submit(next, chunks, None)
            yield chunk


def _refuse(audit: BarAudit, quality: QualityConfig) -> None:
    """Raise what cannot be stored."""
    found = _errors(audit)
    if audit.rows_bad and quality.bad_rows == "refuse":
        raise DataError(
            f"{audit.rows_bad:,} of {audit.rows_read:,} rows cannot be used",
            "\n".join(found),
            "mend them, or leave them out with data.quality.bad_rows=quarantine; `moola data validate` with the same "
            "data= lists each with its reasons, in quarantine.csv",
        )
    spoiled = [f"- series '{name}': {bad:,} of {rows:,} rows" for name, (bad, rows) in audit.spoiled().items()]
    if spoiled:
        raise DataError(
            "too many rows are bad to be left out",
            "\n".join([*spoiled, *found]),
            f"mend the data; up to data.quality.max_bad_share={quality.max_bad_share:g} of a series may be left out",
        )
    if not audit.rows_kept:
        raise DataError("there are no bars", "\n".join(found) or "the source gave no row", "give a source with rows")


def _refuse_lost_series(series: pl.DataFrame, writer: BarWriter) -> None:
    stored = set(writer.series())
    lost = [name for name in series["series"] if name not in stored]
    if lost:
        raise DataError(
            f"{len(lost)} series have no bars",
            "\n".join(f"- {name}" for name in lost),
            "check data.calendar, or leave them out",
        )


def _series_figures(audit: BarAudit) -> pl.DataFrame:
    """The table `ValidationReport.series`."""
    rows: list[dict[str, Any]] = []
    for name, (kept, read, profile) in audit.series().items():
        step = profile.median_step()
        values = zip(audit.channels, profile.least, profile.most, strict=bool(profile.least))
        rows.append(
            {
                "series": name,
                "rows": read,
                "kept": kept,
                "first_time": profile.first_time,
                "last_time": profile.last_time,
                "median_step_s": None if step is None else step / 1e6,
                "longest_gap_s": None if step is None else profile.longest_gap / 1e6,
                **{
                    f"{name}_{which}": x
                    for name, *pair in values
                    for which, x in zip(("min", "max"), pair, strict=True)
                },
            }
        )
    whole = {"series": pl.String(), "rows": pl.Int64(), "kept": pl.Int64()}
    times = {"first_time": TIMESTAMP, "last_time": TIMESTAMP}
    figures = [
        "median_step_s",
        "longest_gap_s",
        *(f"{name}_{which}" for name in audit.channels for which in ("min", "max")),
    ]
    return pl.DataFrame(rows, schema={**whole, **times, **dict.fromkeys(figures, pl.Float64())})
