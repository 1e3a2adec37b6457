"""Judging bars while they stream by: what is wrong is counted and kept apart, what is odd is counted and kept."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.findings import ORIGIN, REASONS, SHOWN, Finding, Places, Tally, describe_rows
from moola.data.outliers import Kind, Outlier, SeriesWatch
from moola.data.row_rules import RowRules
from moola.data.series_profile import SeriesProfile
from moola.data.series_runs import by_series, pieces, runs_of
from moola.data.sources import Chunk
from moola.data.time_order import LOOK_AHEAD, Order, TimeOrder
from moola.schemas.bars import OHLC, TIMESTAMP

_HELD = -1
_NAMED = 6
"""Channels that an odd bar's warning names."""

_ORDERS = {
    Order.LATE: ("late", "time is earlier than that of a row before it"),
    Order.DUPLICATE: ("duplicate", "time is that of a row before it"),
    Order.AHEAD: ("ahead", "time leaps ahead of the rows after it"),
}


@dataclass(frozen=True)
class QualityConfig:
    """What is done about bad bars, and what counts as odd.

    Attributes:
        bad_rows: ``refuse``: one bad row and nothing is stored. ``quarantine``: bad rows are left out, written to
            ``quarantine.csv`` with their reasons, and counted.
        max_bad_share: quarantine is refused where more than this part of the rows of a series is bad.
        outlier_scale: a change of more than this many usual changes of the series is counted as a warning; null: none.
        stuck_bars: as many equal candles in a row are counted as a warning; null: none.
    """

    bad_rows: Literal["refuse", "quarantine"] = "refuse"
    max_bad_share: float = 0.5
    outlier_scale: float | None = 50.0
    stuck_bars: int | None = 240

    def __post_init__(self) -> None:
        reject(
            (
                self.bad_rows not in ("refuse", "quarantine"),
                f"bad_rows: '{self.bad_rows}' must be refuse or quarantine",
            ),
            (not 0 <= self.max_bad_share < 1, f"max_bad_share: {self.max_bad_share} must be at least 0 and below 1"),
            (
                self.outlier_scale is not None and not self.outlier_scale > 1,
                f"outlier_scale: {self.outlier_scale} must be above 1",
            ),
            (
                self.stuck_bars is not None and self.stuck_bars < 2,
                f"stuck_bars: {self.stuck_bars} must be at least 2",
            ),
        )


@dataclass(frozen=True)
class Audited:
    """What became of rows.

    Attributes:
        good: ``series``, ``timestamp``, channels, series after series; time goes forward in each.
        bad: ``place``, ``row``, ``reasons``, ``series``, ``timestamp``, channels.
    """

    good: pl.DataFrame
    bad: pl.DataFrame


@dataclass
class _Series:
    """What is known of one series so far."""

    watch: SeriesWatch
    order: TimeOrder = field(default_factory=TimeOrder)
    profile: SeriesProfile = field(default_factory=SeriesProfile)


class BarAudit:
    """Judges chunk after chunk; how rows were cut into chunks changes neither the answer nor the findings.

    Rows are judged one by one (`RowRules`), the sound ones then in the order of their series (`TimeOrder`), and what
    is good is looked over for odd values (`SeriesWatch`). The last two sound rows of each series are held back until
    the rows after them are known, so `take` answers for rows of the chunk before, too.

    Args:
        channels: value columns, in order.
        config: what counts as odd.
        profile: gather times, steps and values of each series for `series`; it costs a little.
        independent: series are separate cases; places are told with their step, not with a date.

    Attributes:
        rows_read, rows_kept, rows_bad: rows so far; read = kept + bad once `flush` was called.
    """

    def __init__(
        self,
        channels: Sequence[str],
        config: QualityConfig | None = None,
        profile: bool = False,
        independent: bool = False,
    ) -> None:
        self.channels = tuple(channels)
        self.config = config or QualityConfig()
        self.rows_read = self.rows_kept = self.rows_bad = 0
        self._profile = profile
        self._series: dict[str, _Series] = {}
        self._kept: dict[str, int] = {}
        self._bad: dict[str | None, int] = {}
        values = dict.fromkeys(self.channels, pl.Float32())
        bars = {"series": pl.String(), "timestamp": TIMESTAMP, **values}
        self._held = pl.DataFrame(schema={**bars, ORIGIN: pl.Int64()})
        self._no_bad = pl.DataFrame(schema={"place": pl.String(), "row": pl.Int64(), "reasons": pl.String(), **bars})
        self._places, self._tally = Places(independent), Tally()
        self._odd_channels: dict[str, set[int]] = {}
        self._rules = RowRules(self.channels, self._places, self._tally)

    def take(self, chunk: Chunk) -> Audited:
        """Judge the next rows.

        Raises:
            ValueError: a column is missing or of another type; a fault of the source, not of its data.
        """
        frame = self._with_origin(chunk)
        self.rows_read += len(frame)
        sound, broken = self._rules.judge(frame, chunk.unread)
        return self._answer(sound, [] if broken is None else [broken], is_last=False)

    def flush(self) -> Audited:
        """Judge the rows that were held back; nothing is taken afterwards."""
        audited = self._answer(self._held.clear(), [], is_last=True)
        for name, series in self._series.items():
            self._note_odd(name, series.watch.finish())
        return audited

    def findings(self) -> tuple[Finding, ...]:
        """Everything found so far, errors first."""
        found = (self._with_channels(one) for one in self._tally.findings())
        return tuple(sorted(found, key=lambda one: (one.severity, one.reason, one.message)))

    def kept_series(self) -> list[str]:
        """Series of which good rows are known, in the order of their first sound row."""
        return [name for name in self._series if self._kept.get(name)]

    def series(self) -> dict[str, tuple[int, int, SeriesProfile]]:
        """Good rows, all rows and figures of each series."""
        names = dict.fromkeys([*self._series, *(name for name in self._bad if name is not None)])
        found = ((name, self._kept.get(name, 0), self._known(name).profile) for name in names)
        return {name: (kept, kept + self._bad.get(name, 0), profile) for name, kept, profile in found}

    def spoiled(self) -> dict[str, tuple[int, int]]:
        """Series of which too many rows are bad (`max_bad_share`, or all): bad rows and all rows of each."""
        counts = ((name, bad, bad + self._kept.get(name, 0)) for name, bad in self._bad.items() if name is not None)
        return {name: (bad, n) for name, bad, n in counts if bad == n or bad > self.config.max_bad_share * n}

    def _with_origin(self, chunk: Chunk) -> pl.DataFrame:
        found = chunk.frame.schema
        kinds = {found.get(name) for name in self.channels}
        if found.names() != ["series", "timestamp", *self.channels] or not kinds <= {pl.Float64(), pl.Float32()}:
            raise ValueError(f"{chunk.place}: the source gave the columns {found}")
        if found["series"] != pl.String or found["timestamp"] != TIMESTAMP:
            raise ValueError(f"{chunk.place}: series must be String and timestamp {TIMESTAMP}, not {found}")
        frame = chunk.frame if len(kinds) == 1 else chunk.frame.cast(dict.fromkeys(self.channels, pl.Float64()))
        first = self._places.first_origin(chunk.place, chunk.first_row)
        return frame.hstack([pl.int_range(first, first + len(frame), dtype=pl.Int64, eager=True).alias(ORIGIN)])

    def _answer(self, sound: pl.DataFrame, broken: list[pl.DataFrame], is_last: bool) -> Audited:
        """Judge the order of sound rows and those held back, look over what is good, and count."""
        good, late = self._in_order(sound, is_last)
        for name, first, end in runs_of(good["series"]):
            self._look_over(name, good[first:end])
        bad = self._place_bad([*broken, *late])
        self.rows_kept += len(good)
        self.rows_bad += len(bad)
        good.drop_in_place(ORIGIN)
        return Audited(good, bad)

    def _in_order(self, sound: pl.DataFrame, is_last: bool) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """Rows in the order of time, series after series, and those that are not, with `REASONS`."""
        held, waiting = self._concerned(sound, is_last)
        rows = by_series(_stacked([held, sound]))
        times = rows["timestamp"].to_physical().to_numpy()
        verdict = np.full(len(rows), _HELD, dtype=np.int8)
        for name, first, end in runs_of(rows["series"]):
            judged = end if is_last else max(end - LOOK_AHEAD, first)
            verdict[first:judged] = self._known(name).order.judge(times[first:end], judged - first)
        self._held = _stacked([waiting, _only(rows, verdict == _HELD)])
        orders = _ORDERS if verdict.max(initial=0) > Order.FORWARD else ()
        late = [self._note_order(_only(rows, verdict == order), order) for order in orders if order in verdict]
        return _only(rows, verdict == Order.FORWARD), late

    def _concerned(self, sound: pl.DataFrame, is_last: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Of the rows held back, those whose series goes on in `sound`, or all at the end, and the others."""
        names = {name for name, _, _ in runs_of(sound["series"])}
        if is_last or (len(self._held) <= LOOK_AHEAD and set(self._held["series"]) <= names):
            return self._held, self._held.clear()
        goes_on = self._held["series"].is_in(list(names))
        return self._held.filter(goes_on), self._held.filter(~goes_on)

    def _note_order(self, rows: pl.DataFrame, order: Order) -> pl.DataFrame:
        reason, message = _ORDERS[order]
        self._tally.add(reason, message, "error", len(rows), describe_rows(self._places, rows, {}))
        return rows.with_columns(pl.lit(message).alias(REASONS))

    def _place_bad(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """Bad rows with the file and the row in it, as `Audited.bad` holds them."""
        if not parts:
            return self._no_bad
        rows = _stacked(parts)
        for name, count in rows.group_by("series").len().iter_rows():
            self._bad[name] = self._bad.get(name, 0) + count
        place, row = self._places.columns(rows[ORIGIN].to_numpy())
        return rows.select(place, row, pl.col(REASONS).alias("reasons"), "series", "timestamp", *self.channels)

    def _known(self, name: str) -> _Series:
        if name not in self._series:
            candle = [number for number, channel in enumerate(self.channels) if channel in OHLC]
            watched = [number for number, channel in enumerate(self.channels) if channel != "volume"]
            watch = SeriesWatch(watched, candle or watched, self.config.outlier_scale, self.config.stuck_bars)
            self._series[name] = _Series(watch)
        return self._series[name]

    def _look_over(self, name: str, rows: pl.DataFrame) -> None:
        """Count good rows of one series and what is odd among them."""
        series = self._series[name]
        self._kept[name] = self._kept.get(name, 0) + len(rows)
        for piece in pieces(rows):
            times = piece["timestamp"].to_physical().to_numpy()
            values = [piece[channel].to_numpy() for channel in self.channels]
            self._note_odd(name, series.watch.take(times, piece[ORIGIN].to_numpy(), values))
            if self._profile:
                series.profile.take(times, values)

    def _note_odd(self, name: str, outliers: Sequence[Outlier]) -> None:
        """Count odd bars; a bar that is odd in several channels is one."""
        bars: dict[Kind, dict[int, list[Outlier]]] = {}
        for outlier in outliers:
            bars.setdefault(outlier.kind, {}).setdefault(outlier.origin, []).append(outlier)
        for kind, found in bars.items():
            self._odd_channels.setdefault(kind, set()).update(one.channel for group in found.values() for one in group)
            examples = [(origin, self._describe(name, found[origin])) for origin in heapq.nsmallest(SHOWN, found)]
            n_bars = sum(group[0].bars for group in found.values())
            self._tally.add(kind, self._odd(kind), "warning", n_bars, examples)

    def _odd(self, kind: Kind) -> str:
        """What is odd, in words."""
        if kind == "stuck":
            return f"the same candle {self.config.stuck_bars} times in a row or more"
        how = "leaves for one bar and returns" if kind == "spike" else "jumps and stays"
        return f"{how}, {self.config.outlier_scale:g} times its usual change or more"

    def _with_channels(self, finding: Finding) -> Finding:
        """A finding of odd values that names every channel in which some were found, the first of many."""
        channels = [
            self.channels[number] for number in sorted(self._odd_channels.get(finding.reason, ())) if number >= 0
        ]
        if not channels:
            return finding
        named = ", ".join(channels[:_NAMED]) + (f" and {len(channels) - _NAMED} more" if channels[_NAMED:] else "")
        return replace(finding, message=f"{named}: {finding.message}")

    def _describe(self, name: str, outliers: Sequence[Outlier]) -> str:
        """One bar, with the values that are odd in it."""
        first = outliers[0]
        at = f"{self._places.spoken(first.origin)} series '{name}' {self._places.moment(first.time)}"
        if first.kind == "stuck":
            return f"{at} for {first.bars:,} bars"
        values = [f"{self.channels[one.channel]}={one.value:.10g} after {one.before:.10g}" for one in outliers]
        return f"{at} {', '.join(values[:_NAMED])}{', ...' if values[_NAMED:] else ''}"


def _only(rows: pl.DataFrame, mask: np.ndarray) -> pl.DataFrame:
    """Rows where the mask is true; a slice, which copies nothing, where these are neighbours."""
    count = int(np.count_nonzero(mask))
    first = int(mask.argmax()) if count else 0
    return rows[first : first + count] if mask[first : first + count].all() else rows.filter(pl.Series(mask))


def _stacked(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """One below the other, without a copy; float types need not agree."""
    parts = [part for part in parts if len(part)] or parts[:1]
    same = all(part.schema == parts[0].schema for part in parts)
    return pl.concat(parts, how="vertical" if same else "vertical_relaxed")
