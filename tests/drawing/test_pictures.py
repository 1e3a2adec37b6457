"""Every picture is well-formed, named, free of fixed colours, and stays inside its viewBox."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moola import drawing
from moola.drawing.theme import in_light
from moola.errors import DataError, MoolaError

EVIL = "<script>alert('&\"')</script>\x00"
NAN = float("nan")


def inside(svg: str) -> ElementTree.Element:
    """Parse a picture and hold every coordinate against its viewBox."""
    root = ElementTree.fromstring(svg)
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    assert root.attrib["role"] == "img"
    assert root[0].tag == "title" and root[0].text
    for part in root.iter():
        xs = [float(part.attrib[name]) for name in ("x", "x1", "x2", "cx") if name in part.attrib]
        ys = [float(part.attrib[name]) for name in ("y", "y1", "y2", "cy") if name in part.attrib]
        for letter, numbers in re.findall(r"([A-Z])([^A-Z]*)", part.attrib.get("d", "")):
            values = [float(value) for value in numbers.split()]
            xs += values[:1] if letter in "MLH" else []
            ys += values[-1:] if letter in "MLV" else []
        if part.tag == "rect":
            xs.append(xs[0] + float(part.attrib["width"]))
            ys.append(ys[0] + float(part.attrib["height"]))
        # 0.2 for two coordinates rounded to one decimal and added.
        assert all(-0.2 <= x <= width + 0.2 for x in xs), part.attrib
        assert all(-0.2 <= y <= height + 0.2 for y in ys), part.attrib
        assert not {"fill", "stroke", "style"} & set(part.attrib)
    return root


def classes(root: ElementTree.Element) -> set[str]:
    return {part.attrib["class"] for part in root.iter() if "class" in part.attrib}


def texts(root: ElementTree.Element) -> list[str]:
    return [part.text or "" for part in root.iter("text")]


def ohlc(length: int, seed: int = 0) -> np.ndarray:
    close = 100 + np.cumsum(np.random.default_rng(seed).normal(size=length))
    opened = np.concatenate([[100.0], close[:-1]])
    return np.stack([opened, np.maximum(opened, close) + 0.3, np.minimum(opened, close) - 0.3, close], axis=1)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 30), st.just(4)), elements=FINITE))
def test_any_finite_candles_stay_inside(bars: np.ndarray) -> None:
    inside(drawing.draw_candles(bars, title="window"))


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 3)), elements=st.floats()),
    st.floats(),
)
def test_any_numbers_at_all_can_be_drawn(values: np.ndarray, other: float) -> None:
    names = [f"c{i}" for i in range(values.shape[1])]
    inside(drawing.draw_lines(values, names, title="lines", overlay=values))
    x = np.arange(len(values))
    series = [drawing.Curve(name, x, values[:, i]) for i, name in enumerate(names)]
    inside(drawing.draw_curves(series, title="curves", references=[drawing.Reference("r", other)]))
    rows = [drawing.IntervalRow("m", value, other, value, "model") for value in values[:, 0]]
    inside(drawing.draw_intervals(rows, title="dots", reference=drawing.Reference("r", other)))
    inside(drawing.draw_reliability(values[:, 0], values[:, 0], np.abs(values[:, 0]), title="bins"))
    points = np.stack([values[:, 0], values[:, -1]], axis=1)
    inside(drawing.draw_scatter(points, np.arange(len(points)) % 3, ["a", "b", "c"], title="points"))


def test_rising_and_falling_bars_are_told_apart() -> None:
    bars = [[1, 3, 0, 2], [2, 3, 0, 1]]
    found = classes(inside(drawing.draw_candles(bars, title="two")))
    assert {"wick up", "body up", "wick down", "body down"} <= found


def test_a_bar_with_a_gap_is_left_out_and_the_others_are_drawn() -> None:
    bars = ohlc(10)
    bars[3, 2] = NAN
    root = inside(drawing.draw_candles(bars, title="gap"))
    bodies = [part.attrib["d"] for part in root.iter("path") if part.attrib["class"].startswith("body")]
    assert sum(body.count("M") for body in bodies) == 9


@pytest.mark.parametrize("value", [0.0, 5.0, -1e-310, 1e308, NAN])
def test_a_constant_or_empty_window_still_gives_a_picture(value: float) -> None:
    root = inside(drawing.draw_candles(np.full((5, 4), value), title="flat"))
    assert ("no data" in texts(root)) == np.isnan(value)
    inside(drawing.draw_lines(np.full((1, 1), value), ["x"], title="point"))


def test_masked_bars_are_shaded_pale_and_overlaid() -> None:
    mask = np.zeros(20, dtype=bool)
    mask[5:9] = mask[12:14] = True
    overlay = np.where(mask[:, None], ohlc(20, seed=1), NAN)
    root = inside(drawing.draw_candles(ohlc(20), title="masked", highlight=mask, overlay=overlay))
    assert sum(part.attrib.get("class") == "highlight" for part in root.iter("rect")) == 2
    bodies = {p.attrib["class"]: p.attrib["d"].count("M") for p in root.iter("path") if "body" in p.attrib["class"]}
    assert bodies["body overlay"] == 6
    assert sum(count for css, count in bodies.items() if css.endswith("pale")) == 6


def test_spans_are_shaded_and_named() -> None:
    spans = [drawing.Span(0, 12, "context"), drawing.Span(12, 20, "zone", "zone")]
    root = inside(drawing.draw_candles(ohlc(20), title="spans", spans=spans, marks=[drawing.Mark(12, "now")]))
    assert {"span context", "span zone", "mark"} <= classes(root)
    assert {"context", "zone", "now"} <= set(texts(root))


def test_a_line_breaks_at_a_gap_and_a_lone_point_stays_visible() -> None:
    values = np.asarray([[1.0], [NAN], [2.0], [3.0]])
    root = inside(drawing.draw_lines(values, ["x"], title="gap"))
    (path,) = [part.attrib["d"] for part in root.iter("path")]
    assert path.count("M") == 2 and path.count("L") == 2


def test_channels_decide_between_candles_and_lines() -> None:
    bars = np.concatenate([np.arange(8.0)[:, None], ohlc(8)[:, ::-1]], axis=1)
    svg = drawing.draw_window(bars, ["volume", "Close", "Low", "High", "Open"], title="both")
    candles, lines = svg.split("</svg>")[:2]
    straight = drawing.draw_window(ohlc(8), drawing.OHLC, title="both")
    assert candles + "</svg>" == straight
    assert "volume" in texts(inside(lines + "</svg>"))


def test_long_curves_are_thinned_and_keep_their_spike() -> None:
    y = np.ones(20_000)
    y[12_345] = 9.0
    svg = drawing.draw_curves([drawing.Curve("loss", np.arange(20_000), y)], title="long")
    root = inside(svg)
    (path,) = [part.attrib["d"] for part in root.iter("path")]
    heights = [float(y) for y in re.findall(r"[ML]\S+ ([\d.]+)", path)]
    assert min(heights) < max(heights) - 100
    assert len(svg) < 20_000


def test_curve_legend_gives_last_values_and_references_their_own() -> None:
    curve = drawing.Curve("seed 0", [0, 1, 2], [1.0, 0.5, NAN])
    references = [drawing.Reference("predict zero", 0.9), drawing.Reference("repeat last", 0.9001)]
    root = inside(drawing.draw_curves([curve], title="loss", references=references, y_label="loss"))
    assert {"seed 0: 0.500", "predict zero: 0.900", "repeat last: 0.900"} <= set(texts(root))
    names = [part for part in root.iter("text") if part.attrib["class"] == "reference-label"]
    assert abs(float(names[0].attrib["y"]) - float(names[1].attrib["y"])) >= 12


def test_kinds_differ_in_shape_and_an_alarm_is_marked() -> None:
    kinds: tuple[Any, ...] = ("model", "control", "stack")
    rows = [drawing.IntervalRow(kind, 0.5, 0.4, 0.6, kind, alarmed=kind == "model") for kind in kinds]
    root = inside(drawing.draw_intervals(rows, title="dots"))
    assert {"symbol model", "symbol control", "symbol stack"} <= classes(root)
    assert len(list(root.iter("circle"))) == 2
    assert "⚠ model" in texts(root)


def test_empty_bins_are_not_drawn() -> None:
    root = inside(drawing.draw_reliability([0.1, 0.5, NAN], [0.0, 1.0, NAN], [4, 9, 0], title="bins"))
    assert len(list(root.iter("circle"))) == 2
    assert "no data" in texts(inside(drawing.draw_reliability([], [], [], title="none")))


def test_models_stand_by_rank_with_a_bar_over_those_not_told_apart() -> None:
    names, ranks = ["worst", "first", "second"], [3.0, 1.25, 1.75]
    root = inside(drawing.draw_critical_difference(names, ranks, [["first", "second"]], title="ranks"))
    x = [float(part.attrib["cx"]) for part in root.iter("circle")]
    bar = next(part for part in root.iter("line") if part.attrib["class"] == "clique")
    assert x == sorted(x) and float(bar.attrib["x1"]) < x[0] < x[1] < float(bar.attrib["x2"]) < x[2]
    at = {part.text: float(part.attrib["x"]) for part in root.iter("text")}
    assert at["first"] == at["second"] < at["worst"] and "1.25" in at
    name = "Logistic regression, simple features"
    assert name in texts(inside(drawing.draw_critical_difference([name], [1.0], [], title="t", width=1000)))
    inside(drawing.draw_critical_difference([f"model {i}" for i in range(30)], range(1, 31), [], title="many"))
    assert "no data" in texts(inside(drawing.draw_critical_difference([], [], [], title="none")))


def test_points_are_coloured_by_group_counted_and_left_out_where_they_lie_nowhere() -> None:
    points = [[0.0, 1.0], [2.0, 3.0], [-1.0, NAN], [4.0, -1.0]]
    root = inside(drawing.draw_scatter(points, [0, 1, 1, 7], [f"g{i}" for i in range(8)], title="points"))
    circles = [part.attrib["class"] for part in root.iter("circle")][8:]  # after those of the legend
    assert sorted(circles) == ["point s0", "point s1", "ring s1"]
    assert {"g0: 1", "g1: 1", "g7: 1", "g2: 0"} <= set(texts(root))
    assert "no data" in texts(inside(drawing.draw_scatter(np.empty((0, 2)), [], [], title="none")))


def test_a_file_holds_all_pictures_below_each_other_with_both_colour_schemes() -> None:
    bars = np.concatenate([ohlc(8), np.ones((8, 1))], axis=1)
    both = drawing.draw_window(bars, [*drawing.OHLC, "volume"], title="both")
    points = drawing.draw_scatter([[0.0, 1.0]], [0], ["a"], title="points")
    root = ElementTree.fromstring(drawing.svg_file([("one", both), (EVIL, points)], title=EVIL))
    space = "{http://www.w3.org/2000/svg}"
    assert [part.tag for part in root][:3] == [f"{space}title", f"{space}style", f"{space}rect"]
    assert "prefers-color-scheme: dark" in (root[1].text or "")
    moves = [part.attrib["transform"] for part in root.iter(f"{space}g")]
    heights = [float(h) for h in re.findall(r'viewBox="0 0 \S+ (\S+)"', both + points)]
    places = [float(move.split()[1].rstrip(")")) for move in moves]
    assert len(places) == 3 and places == sorted(places)
    assert all(below >= above + height for above, below, height in zip(places, places[1:], heights, strict=False))
    assert float(root.attrib["height"]) >= places[-1] + heights[-1]
    assert not list(root.iter(f"{space}svg"))[1:]  # none inside another


def test_a_file_of_what_is_no_picture_is_refused() -> None:
    with pytest.raises(DataError, match="no svg element: '<p>'"):
        drawing.svg_file([("one", "<p>")], title="none")


def draw_evil() -> list[str]:
    row, curve = drawing.IntervalRow(EVIL, 1, 0, 2, "model"), drawing.Curve(EVIL, [0, 1], [0, 1])
    reference = drawing.Reference(EVIL, 1.0)
    return [
        drawing.draw_candles(ohlc(80), title=EVIL, spans=[drawing.Span(0, 80, EVIL)], marks=[drawing.Mark(1, EVIL)]),
        drawing.draw_lines(ohlc(5)[:, :1], [EVIL], title=EVIL),
        drawing.draw_curves([curve], title=EVIL, x_label=EVIL, y_label=EVIL, references=[reference]),
        drawing.draw_intervals([row], title=EVIL, x_label=EVIL, reference=reference),
        drawing.draw_reliability([0.5], [0.5], [1], title=EVIL),
        drawing.draw_critical_difference([EVIL], [1.0], [[EVIL]], title=EVIL),
        drawing.draw_scatter(np.zeros((9, 2)), np.arange(9), [EVIL] * 9, title=EVIL, x_label=EVIL, y_label=EVIL),
    ]


def test_text_is_escaped() -> None:
    for svg in draw_evil():
        assert "<script" not in svg
        assert (inside(svg)[0].text or "").startswith("<script>alert('&\"')</script>")


def test_every_class_is_in_the_stylesheet() -> None:
    known = set(re.findall(r"\.([a-z][a-z0-9-]*)", drawing.STYLESHEET))
    # Classes that only name a kind of picture, or take the default colour of all text.
    neutral = {
        "candles",
        "lines",
        "curves",
        "intervals",
        "reliability",
        "critical-difference",
        "scatter",
        "label",
        "legend",
        "row",
        "body",
        "dot",
    }
    for svg in draw_evil():
        for css in classes(ElementTree.fromstring(svg)):
            assert set(css.split()) <= known | neutral, css


WRONG: list[Callable[[], str]] = [
    lambda: drawing.draw_candles(np.zeros((5, 3)), title="t"),
    lambda: drawing.draw_candles(np.zeros((0, 4)), title="t"),
    lambda: drawing.draw_candles(np.zeros(4), title="t"),
    lambda: drawing.draw_candles(np.zeros((5, 4)), title="t", overlay=np.zeros((4, 4))),
    lambda: drawing.draw_candles(np.zeros((5, 4)), title="t", highlight=[True]),
    lambda: drawing.draw_candles(np.zeros((5, 4)), title="t", spans=[drawing.Span(3, 6)]),
    lambda: drawing.draw_lines(np.zeros((5, 2)), ["only one"], title="t"),
    lambda: drawing.draw_lines(np.zeros((5, 2)), [], title="t"),
    lambda: drawing.draw_curves([drawing.Curve("c", [0, 1], [0])], title="t"),
    lambda: drawing.draw_reliability([0.5], [0.5, 0.6], [1], title="t"),
    lambda: drawing.draw_critical_difference(["a", "b"], [1.0, NAN], [], title="t"),
    lambda: drawing.draw_critical_difference(["a", "b"], [1.0], [], title="t"),
    lambda: drawing.draw_critical_difference(["a", "b"], [1.0, 2.0], [["a", "c"]], title="t"),
    lambda: drawing.draw_scatter(np.zeros((3, 3)), [0, 0, 0], ["a"], title="t"),
    lambda: drawing.draw_scatter(np.zeros((3, 2)), [0, 0], ["a"], title="t"),
    lambda: drawing.draw_scatter(np.zeros((3, 2)), [0, 0, 1], ["a"], title="t"),
]


@pytest.mark.parametrize("draw", WRONG)
def test_wrong_shapes_are_refused(draw: Callable[[], str]) -> None:
    with pytest.raises(MoolaError, match="cannot be drawn"):
        draw()


def test_intervals_of_curves_are_whiskers_that_lie_beside_each_other() -> None:
    curves = [drawing.Curve(name, [10, 20], [0.5, 0.6], low=[0.4, NAN], high=[0.7, NAN]) for name in "ab"]
    root = inside(drawing.draw_curves(curves, title="labels"))
    whiskers = [part for part in root.iter("line") if part.attrib["class"].startswith("whisker")]
    assert len(whiskers) == 2 and whiskers[0].attrib["x1"] != whiskers[1].attrib["x1"]
    with pytest.raises(DataError, match="intervals"):
        drawing.draw_curves([drawing.Curve("a", [1, 2], [1, 2], low=[1], high=[2])], title="")


def test_steps_of_one_thing_are_shades_and_the_strongest_lies_on_top() -> None:
    points, groups = [[0, 0], [1, 1], [2, 0]], [0, 1, 2]
    root = inside(drawing.draw_scatter(points, groups, ["low", EVIL, "high"], title="doubt", ordered=True))
    shades = [part.attrib["class"] for part in root.iter("circle")]
    assert shades[:3] == ["point shade0", "point shade2", "point shade3"] and shades[-1] == "point shade0"


@pytest.mark.parametrize("n", [1, 2, 12, 40])
def test_a_confusion_matrix_stays_inside_and_shades_rows_by_their_shares(n: int) -> None:
    root = inside(drawing.draw_confusion(np.eye(n) * 7, [EVIL * 2] * n, title="confusion"))
    cells = [part for part in root.iter("rect") if part.attrib["class"].startswith("cell")]
    assert len(cells) == n * n and sum(part.attrib["class"] == "cell step10" for part in cells) == n
    assert ("100%" in texts(root)) == (n <= 12)


@pytest.mark.parametrize("counts", [[[1, 2]], [[1, NAN], [0, 1]], [[-1, 0], [0, 1]]])
def test_what_is_no_confusion_matrix_is_refused(counts: Any) -> None:
    with pytest.raises(DataError, match="confusion matrix"):
        drawing.draw_confusion(counts, ["a", "b"], title="")


def test_an_empty_class_has_no_shares_and_fractions_keep_a_decimal() -> None:
    root = inside(drawing.draw_confusion([[1.5, 0.5], [0, 0]], ["a", "b"], title="confusion"))
    assert "1.5" in texts(root) and texts(root).count("0%") == 2


def test_reliability_after_calibration_is_a_second_curve() -> None:
    bins = ([0.2, 0.8], [0.3, 0.7], [10, 20])
    root = inside(drawing.draw_reliability(*bins, title="r", after=([0.3, NAN], [0.3, NAN], [30, 0])))
    assert [part.attrib["class"] for part in root.iter("circle")] == ["symbol model", "symbol model", "ring s1"]


def test_a_picture_is_rendered_in_the_light_palette_without_a_browser() -> None:
    svg = drawing.svg_file([("curve", drawing.draw_curves([drawing.Curve("a", [0, 1], [0, 1])], title="t"))], title="t")
    small, large = (drawing.png_file(svg, zoom) for zoom in (1, 2))
    assert small.startswith(b"\x89PNG\r\n") and int.from_bytes(large[16:20]) == 2 * int.from_bytes(small[16:20])


def test_colours_are_written_out_for_readers_without_custom_properties() -> None:
    plain = in_light(drawing.STYLESHEET)
    assert "var(" not in plain and "prefers-color-scheme" not in plain and "fill: #fdfdfb" in plain
