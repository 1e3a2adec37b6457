"""Two channels that tell the local time of a bar, for features of the time of day."""

from __future__ import annotations

import polars as pl

from moola.config import reject
from moola.data.channel_names import CLOCK_CHANNELS
from moola.data.sources import BarScan
from moola.data.timezones import timezone_problem


def with_clock_channels(scan: BarScan, timezone: str | None) -> tuple[str, ...]:
    """Channels of a scan and the two after them; its own only where no zone is given.

    Raises:
        ConfigError: the zone is unknown, the bars have no time, or channels of these names are there already.
    """
    if timezone is None:
        return scan.channels
    problem = timezone_problem(timezone)
    taken = sorted(set(CLOCK_CHANNELS) & set(scan.channels))
    reject(
        (problem is not None, f"data.clock_timezone: {problem}"),
        (scan.independent, "data.clock_timezone: these cases have no time; set it to null"),
        (bool(taken), f"data.clock_timezone: it adds channels {taken}, which the bars already have; rename these"),
    )
    return (*scan.channels, *CLOCK_CHANNELS)


def with_clock(bars: pl.DataFrame, timezone: str | None) -> pl.DataFrame:
    """The bars with the two channels after their own, Float32; the same bars where no zone is given."""
    if timezone is None:
        return bars
    local = pl.col("timestamp").dt.convert_time_zone(timezone).dt
    minute = local.hour().cast(pl.Int32) * 60 + local.minute()
    return bars.with_columns(
        minute.cast(pl.Float32).alias(CLOCK_CHANNELS[0]),
        (local.weekday().cast(pl.Int32) - 1).cast(pl.Float32).alias(CLOCK_CHANNELS[1]),
    )
