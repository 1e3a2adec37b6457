"""Lines through parallel axes, and bars."""

from __future__ import annotations

import re

import numpy as np
import pytest

from moola.drawing import Axis, draw_bars, draw_parallel_coordinates
from moola.errors import DataError
from moola.sweeps.search import pictures
from moola.sweeps.search.space import Dimension

AXES = [Axis("lr", [(0, "0.001"), (1, "0.1")]), Axis("c <b>", [(0.5, "1")]), Axis("score", [])]


def test_a_line_for_every_try_the_marked_one_last():
    drawn = draw_parallel_coordinates(
        AXES, [[0, 0.5, 1], [1, 1, 0], [0.2, 0, 0.4]], [3, 1, np.nan], title="t", marked=0
    )
    styles = re.findall(r'class="trial ([a-z0-9]+)"', drawn)
    assert len(styles) == 3
    assert styles[-1] == "best"
    assert styles[0] == "shade3"  # nothing came of it
    assert "c &lt;b&gt;" in drawn


def test_a_place_that_is_not_known_breaks_the_line():
    whole = draw_parallel_coordinates(AXES, [[0, 0.5, 1]], [1], title="t")
    broken = draw_parallel_coordinates(AXES, [[0, np.nan, 1]], [1], title="t")
    assert whole.count("M") < broken.count("M")


@pytest.mark.parametrize(("places", "worth"), [([[0, 1]], [1]), ([[0, 1, 1]], [1, 2]), ([0, 1, 1], [1])])
def test_arrays_that_do_not_belong_together_are_refused(places: list, worth: list):
    with pytest.raises(DataError, match="parallel coordinates"):
        draw_parallel_coordinates(AXES, places, worth, title="t")


def test_names_that_are_too_long_for_one_row_are_in_two_and_whole():
    names = [
        "lr",
        "epochs",
        "encoder_lr_factor",
        "label_smoothing",
        "frozen_epochs",
        "weight_decay",
        "dropout",
        "balanced accuracy",
    ]
    drawn = draw_parallel_coordinates([Axis(name, []) for name in names], [[0.5] * 8], [1], title="t")
    assert all(f">{name}<" in drawn for name in names)
    heights = re.findall(r'<text x="[0-9.]+" y="([0-9.]+)" class="pane-name"', drawn)
    assert len(heights) == 8 and len(set(heights)) == 2
    few = draw_parallel_coordinates([Axis(name, []) for name in names[:3]], [[0.5] * 3], [1], title="t")
    assert len(set(re.findall(r'y="([0-9.]+)" class="pane-name"', few))) == 1


@pytest.mark.parametrize(
    ("dimension", "ticks"),
    [
        (Dimension("int", 0, 1), ["0", "1"]),
        (Dimension("int", 0, 3), ["0", "2", "3"]),
        (Dimension("int", 15, 60, step=5), ["15", "35", "60"]),
        (Dimension("int", 50, 10000, log=True), ["50", "707", "10,000"]),
        (Dimension("float", 0.0, 0.5), ["0", "0.25", "0.5"]),
    ],
)
def test_a_tick_is_a_value_that_a_trial_may_have(dimension: Dimension, ticks: list[str]):
    assert [words for _, words in pictures._ticks(dimension)] == ticks


def test_bars_are_as_long_as_their_values():
    drawn = draw_bars(["a", "b", "nothing"], [0.6, 0.3, 0.0], title="t")
    widths = [float(width) for width in re.findall(r'width="([0-9.]+)" height="[0-9.]+" class="dot s0"', drawn)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)
    assert widths[2] == 0
    with pytest.raises(DataError, match="bars"):
        draw_bars(["a"], [-1], title="t")
