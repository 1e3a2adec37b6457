"""Names of timezones: which there are, and what is near one that is not."""

from __future__ import annotations

import zoneinfo

import polars as pl

from moola.errors import did_you_mean


def timezone_problem(name: str) -> str | None:
    """What is wrong with the name of a timezone, in words; None where nothing is.

    polars, which brings a table of its own, has to know it; an offset such as ``-05:00`` counts as one.
    """
    try:
        pl.Series([], dtype=pl.Datetime("us")).dt.replace_time_zone(name)
    except pl.exceptions.ComputeError:
        pass
    else:
        if name:
            return None
    near = did_you_mean(name, zoneinfo.available_timezones())
    way_out = near if near.startswith("did") else "write a name such as America/New_York, or an offset such as -05:00"
    return f"'{name}' is not a timezone; {way_out}"
