"""Durations as people write them: ``90s``, ``15m``, ``1h30m``, ``8d``."""

from __future__ import annotations

import re

from moola.errors import ConfigError

UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
"""Microseconds a unit. A day is 24 hours of elapsed time, whatever a clock on a wall did meanwhile."""

_PART = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_LIMIT_US = 1 << 60
"""Some 36,000 years: two such durations and a timestamp still add up inside an int64."""


def microseconds(text: str) -> int:
    """Microseconds of elapsed time: ``"90s"`` -> 90,000,000. Whole numbers with a unit each, one after the other.

    Raises:
        ConfigError: it is no duration, or longer than 36,000 years.
    """
    problem = duration_problem(text)
    if problem:
        raise ConfigError([problem], "write a duration such as 90s, 15m, 4h, 8d or 1w")
    return _sum(text)


def duration_problem(text: str, least: str = "0s") -> str | None:
    """What is wrong with a duration, for the ``__post_init__`` of a configuration; None where nothing is.

    Args:
        text: what the user wrote.
        least: the shortest duration allowed.
    """
    if not _WHOLE.fullmatch(text):
        return f"'{text}' is not a duration such as 90s, 15m, 1h30m, 8d or 1w"
    if _sum(text) > _LIMIT_US:
        return f"'{text}' is longer than 36,000 years"
    if _sum(text) < _sum(least):
        return f"'{text}' is shorter than {least}"
    return None


def spoken(duration_us: int) -> str:
    """Microseconds in the largest units that leave no rest: 5_400_000_000 -> ``"1h30m"``; what `microseconds` reads."""
    parts: list[str] = []
    rest = duration_us
    for unit, size in sorted(UNITS_US.items(), key=lambda item: -item[1]):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _sum(text: str) -> int:
    return sum(int(count) * UNITS_US[unit] for count, unit in _PART.findall(text))
