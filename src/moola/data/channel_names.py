"""Names of channels that mean something; needs no package, so that training can ask for them."""

from __future__ import annotations

CLOCK_CHANNELS = ("minute_of_day", "day_of_week")
"""Channels that `clock_timezone` adds: minutes since local midnight (0 to 1439), and the local day (0 is Monday)."""

VOLUME = "volume"
"""What was traded in a bar; never below 0."""
