"""The simple features a person could read off a chart."""

from __future__ import annotations

import numpy as np
import pytest

from moola.features.summary import summarise, summary_spans


def test_each_span_gives_net_change_its_size_and_the_range() -> None:
    level = np.array([0.0, 3.0, 1.0, 1.0, -4.0, -2.0])
    inputs = np.stack([np.full(6, 9.0), level], axis=-1)[None]
    features = summarise(inputs, (1,), ((0, 3), (3, 6)))
    assert features.tolist() == [[1.0, 1.0, 3.0, -3.0, 3.0, 5.0]]


def test_every_named_channel_is_summarised() -> None:
    assert summarise(np.zeros((4, 10, 3)), (0, 2), ((0, 5), (5, 10))).shape == (4, 12)


def test_what_sensors_say_has_a_level_and_a_spread_too() -> None:
    inputs = np.array([4.0, 6.0, 0.0, 0.0])[None, :, None]
    features = summarise(inputs, (0,), ((0, 2), (2, 4)), moments=True)
    assert features.tolist() == [[2.0, 2.0, 2.0, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("visible", "zone", "spans"),
    [
        (75, (30, 75), ((0, 30), (30, 75))),
        (60, (30, 75), ((0, 30), (30, 60))),  # the zone as far as it is visible
        (75, (0, 75), ((0, 37), (37, 75))),  # no context: the two halves
        (30, (30, 75), ((0, 15), (15, 30))),  # nothing of the zone is visible
    ],
)
def test_spans_are_context_and_zone_or_else_the_two_halves(visible: int, zone: tuple[int, int], spans: object) -> None:
    assert summary_spans(visible, zone) == spans


def test_no_span_reaches_past_the_visible_bars() -> None:
    for visible in range(4, 110):
        assert max(end for _, end in summary_spans(visible, (30, 75))) <= visible
