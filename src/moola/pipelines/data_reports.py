"""Reports on data that end no stage: what is wrong with bars, and how far two sets of them are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.config import RunConfig, describe, digest_json, structure
from moola.data.bar_features import drift_sample
from moola.data.bar_store import BarStore
from moola.data.drift import DISTANCES, Distance, DriftConfig, FeatureDrift, measure_drift, usual_block
from moola.data.ingestion import ValidationReport, validate
from moola.data.pages import elapsed, is_daily, moment, render_drift, render_validation
from moola.data.splits import SPLITTERS
from moola.data.window_index import WindowConfig, WindowIndex
from moola.drawing import p_value
from moola.layout import Layout, write_json, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.assembly import assemble
from moola.pipelines.context import Context
from moola.pipelines.dataset import open_windows
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stages.ingest import Ingest

_MOST_LINES = 12
"""Series that the terminal shows; the page has more."""
_NAME = 28
_SHORT = {"ks": "KS", "wasserstein": "Wass.", "psi": "PSI"}


@dataclass(frozen=True)
class DriftReport:
    """What `compare_data` found.

    Attributes:
        rows: one a feature, the most surprising first.
        config: how it was judged; `block_bars` is what was used.
        names: of the reference and the current set.
        facts: how many bars and blocks there were, as label and words.
        folder: holds ``drift.json`` and ``drift.html``.
    """

    rows: tuple[FeatureDrift, ...]
    config: DriftConfig
    names: tuple[str, str]
    facts: Mapping[str, str]
    folder: Path


def validate_data(config: RunConfig) -> tuple[ValidationReport, Path]:
    """Judge every bar of ``data`` and keep nothing of it but what is wrong.

    Returns:
        The report, and the folder with ``validation.json``, ``validation.html`` and, where rows are bad,
        ``quarantine.csv``.

    Raises:
        DataError: the source cannot be read at all.
    """
    stage = Ingest.from_config(config, {})
    folder = _folder(config, "validate", {"stage": describe(stage), "data": stage.outside()})
    report = validate(stage.source.scan(), stage.quality, folder / "quarantine.csv")
    page = render_validation(report, str(config.data.get("path", config.data["source"])))
    write_json(folder / "validation.json", report.to_json())
    write_text(folder / "validation.html", page)
    return report, folder


def validation_table(report: ValidationReport) -> str:
    """The report as text: a line a series, then a line a finding with its first place."""
    lines: list[str] = []
    if len(report.series):
        lines += [*_series_lines(report), ""]
    bad = report.rows - report.kept
    lines.append(f"{report.rows:,} row{'' if report.rows == 1 else 's'}, {bad:,} bad")
    wide = max((len(f"{one.rows:,}") for one in report.findings), default=0)
    for one in report.findings:
        lines.append(f"{one.severity:7}  {one.rows:>{wide},}  {one.message}")
        lines += [f"{'':{wide + 11}}{_without_folder(example)}" for example in one.examples[:1]]
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def _without_folder(example: str) -> str:
    """An example that begins with the name of its file, not with the way to it."""
    path, colon, rest = example.partition(":")
    return Path(path).name + colon + rest


def _series_lines(report: ValidationReport) -> list[str]:
    shown = report.series.head(_MOST_LINES)
    times = shown.select(pl.col("first_time", "last_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    daily = is_daily([*times["first_time"], *times["last_time"]])
    cells = [["series", "rows", "bad", "first (UTC)", "last (UTC)", "longest gap"]]
    for row, (first, last) in zip(shown.iter_rows(named=True), times.iter_rows(), strict=True):
        gap = elapsed(row["longest_gap_s"]) if row["longest_gap_s"] is not None else "-"
        name = row["series"] if len(row["series"]) <= _NAME else row["series"][: _NAME - 1] + "…"
        bad = row["rows"] - row["kept"]
        cells.append([name, f"{row['rows']:,}", f"{bad:,}", moment(first, daily), moment(last, daily), gap])
    if report.independent:  # the times of cases are bar numbers
        cells = [line[:3] for line in cells]
    lines = _aligned(cells, "<>><<<")
    if len(report.series) > len(shown):
        lines.append(f"and {len(report.series) - len(shown):,} more series, in validation.json")
    return lines


def compare_data(config: RunConfig, other: RunConfig | None = None) -> DriftReport:
    """Drift between the bars of two configurations, or between the training span and the sealed test of one.

    Raises:
        ConfigError: a key of ``data.drift`` is wrong.
        DataError: the sets share no feature or are too short to tell; no split fits.
    """
    drift = structure(DriftConfig, config.data.get("drift") or {}, "data.drift")
    window = structure(WindowConfig, config.data.get("window", {}), "data.window").length or 1
    if other is None:
        artifacts = _build(config, "windows")
        store = BarStore.open(artifacts["bars"].folder)
        windows, _, _ = open_windows(artifacts["windows"])
        spans = SPLITTERS.build_section(config.split, "split").spans(store, windows.spans(store))
        sets = [(store, _covered(store, windows, spans == span)) for span in ("train", "test")]
        names = ("training span", "sealed test")
        digests = [artifacts["bars"].digest, digest_json(config.split)]
    else:
        bars = [_build(each, "ingest")["bars"] for each in (config, other)]
        sets = [(store, np.arange(store.n_bars)) for store in (BarStore.open(each.folder) for each in bars)]
        names = _told_apart(config, other)
        digests = [each.digest for each in bars]
    block_bars = drift.block_bars or usual_block([_positions(*each) for each in sets], window)
    drift = dataclasses.replace(drift, block_bars=block_bars)
    samples = [drift_sample(store, rows, block_bars) for store, rows in sets]
    rows = measure_drift(samples[0], samples[1], drift)
    blocks = [len(np.unique(sample.block)) for sample in samples]
    cases = sets[0][0].independent
    facts = {
        "bars": " and ".join(f"{len(sample.block):,}" for sample in samples),
        "blocks of time": " and ".join(f"{n:,}" for n in blocks)
        + (" (a case each)" if cases else f" of {block_bars:,} calendar positions"),
    }
    folder = _folder(config, "drift", {"digests": digests, "drift": describe(drift)})
    report = DriftReport(tuple(rows), drift, names, facts, folder)
    page = render_drift(rows, drift, *names, facts)
    write_json(
        folder / "drift.json",
        {
            "reference": names[0],
            "current": names[1],
            "digests": digests,
            "blocks": blocks,
            "config": dataclasses.asdict(drift),
            "features": [dataclasses.asdict(row) for row in rows],
        },
    )
    write_text(folder / "drift.html", page)
    return report


def drift_table(report: DriftReport) -> str:
    """The features as text: each distance beside what is usual."""
    cells = [["feature", *(word for name in DISTANCES for word in (_SHORT[name], "usual")), "p (KS)", ""]]
    for row in report.rows:
        figures = [f"{value:.3f}" for name in DISTANCES for value in _pair(row.distances[name])]
        drifted = "drift" if row.drifted else ""
        cells.append([row.feature, *figures, p_value(row.distances["ks"].p_value), drifted])
    facts = "; ".join(f"{name}: {words}" for name, words in report.facts.items())
    return "\n".join([f"{report.names[0]} against {report.names[1]}", facts, "", *_aligned(cells, "<>>>>>>><")])


def _pair(distance: Distance) -> tuple[float, float]:
    return distance.value, distance.usual


def _aligned(cells: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines of columns, each as wide as its widest cell, pushed to the side (``<`` or ``>``) that is named for it."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=False)).rstrip()
        for line in cells
    ]


def _build(config: RunConfig, target: str) -> dict[str, Artifact]:
    layout = Layout(Path(config.paths.data).absolute(), Path(config.paths.artifacts).absolute())
    pipeline = assemble(config, target)
    return dict(Pipeline(pipeline.stages).run(Context("", layout, force=config.force)).artifacts)


def _covered(store: BarStore, windows: WindowIndex, chosen: np.ndarray) -> np.ndarray:
    """Bars, int64 ascending, that some chosen window holds."""
    starts = np.asarray(windows.starts)[chosen]
    change = np.zeros(store.n_bars + 1, dtype=np.int32)
    np.add.at(change, starts, 1)
    np.add.at(change, starts + windows.length, -1)
    return np.flatnonzero(np.cumsum(change[:-1]))


def _positions(store: BarStore, rows: np.ndarray) -> int:
    """Calendar positions at which these bars lie."""
    return len(rows) if len(store.series) == 1 else len(np.unique(store.timestamps[rows]))


def _folder(config: RunConfig, what: str, identity: object) -> Path:
    """Where a report goes; it is made when the first file is written."""
    layout = Layout(Path(config.paths.data).absolute(), Path(config.paths.artifacts).absolute())
    layout.check_writable()
    return layout.results / f"{config.name}-{what}-{digest_json(identity)[:12]}"


def _told_apart(config: RunConfig, other: RunConfig) -> tuple[str, str]:
    """Names of two sets: where they come from, or else what differs between them."""
    for key in ("path", "name", "symbols"):
        if config.data.get(key) != other.data.get(key):
            return str(config.data.get(key)), str(other.data.get(key))
    keys = [key for key in {**config.data, **other.data} if config.data.get(key) != other.data.get(key)]
    return tuple(
        ", ".join(f"{key}={each.data.get(key)}" for key in keys) or str(each.data["source"]) for each in (config, other)
    )  # type: ignore[return-value]
