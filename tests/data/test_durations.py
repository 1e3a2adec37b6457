"""A duration is read as it is written, or refused with a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.data.durations import duration_problem, microseconds, spoken
from moola.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250us", 250),
        ("40ms", 40_000),
        ("90s", 90_000_000),
        ("15m", 900_000_000),
        ("4h", 14_400_000_000),
        ("1h30m", 5_400_000_000),
        ("8d", 691_200_000_000),
        ("1w", 604_800_000_000),
        ("0s", 0),
    ],
)
def test_a_duration_is_elapsed_time_in_microseconds(text: str, expected: int) -> None:
    assert microseconds(text) == expected


@pytest.mark.parametrize("text", ["", "15", "m", "15 m", "-15m", "1.5h", "15min", "1y", "15m ", "m15", "9" * 30 + "w"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="write a duration such as 90s, 15m, 4h, 8d or 1w") as caught:
        microseconds(text)
    assert caught.value.problems == (duration_problem(text),)


def test_a_duration_shorter_than_the_least_allowed_is_a_problem() -> None:
    assert duration_problem("0s") is None
    assert duration_problem("0s", least="1us") == "'0s' is shorter than 1us"
    assert duration_problem("1us", least="1us") is None


@given(st.integers(0, 1 << 60))
def test_what_is_spoken_reads_as_the_same_duration(duration_us: int) -> None:
    assert microseconds(spoken(duration_us)) == duration_us
