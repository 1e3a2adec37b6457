"""The report is one page that says everything it was given, escapes it, and loads nothing."""

from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from moola.drawing import OHLC, Curve, Reference, Span
from moola.errors import MoolaError
from moola.evaluation.estimates import Alarm, Estimate
from moola.evaluation.report import render_report
from moola.evaluation.report_content import (
    Calibration,
    ClassRow,
    Comparison,
    Confusion,
    CostRow,
    Costs,
    CurvePanel,
    Embedding,
    Leaderboard,
    Lineage,
    Metric,
    ModelRow,
    Pointers,
    PredictionSets,
    Pretraining,
    PseudoLabelFold,
    PseudoLabels,
    PseudoLabelStudent,
    Reliability,
    Report,
    SetRow,
    Split,
    StageRow,
)
from moola.evaluation.report_pictures import draw_pictures
from moola.evaluation.report_windows import (
    DoubtfulLabel,
    DoubtfulLabels,
    PlantedFound,
    Reconstruction,
    WrongWindow,
    WrongWindows,
)
from moola.evaluation.significance import PairedTest
from moola.pipelines.report_tables import report_tables

EVIL = "<script>alert(1)</script>"
TEST, OOF = "Sealed test", "Out of fold"
VOID = {"meta", "link", "br", "input", "img", "hr"}


class Page(HTMLParser):
    """Reads a page: its visible words, its tags, its loads, and whether every tag is closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.best: list[str] = []
        self._open: list[str] = []
        self._best = 0
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        css = (dict(attrs).get("class") or "").split()
        self._best = 1 if "num" in css and "best" in css else self._best
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if (self._open and self._open[-1] == "style") or not data.strip():
            return
        self.words.append(data.strip())
        if self._best:
            self.best.append(data.strip())
            self._best = 0

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def estimate(value: float, n: int = 44) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05, n, 3)


def row(model: str, kind: Any, value: float) -> ModelRow:
    cells = {(TEST, "Accuracy"): estimate(value), (OOF, "Accuracy"): estimate(value - 0.1, 174)}
    return ModelRow(model, f"{model} named", kind, cells | {(TEST, "Log loss"): estimate(1 - value)})


def bars(length: int = 30) -> np.ndarray:
    close = 100 + np.cumsum(np.random.default_rng(0).normal(size=length))
    return np.stack([close - 0.1, close + 0.4, close - 0.4, close], axis=1)


def lineage() -> Lineage:
    stage = StageRow("pretrain", "a" * 64, "b" * 64, 134.0)
    return Lineage((stage,), {"numpy": "2.3"}, (0, 1, 2), ("moola run experiment=demo",))


def empty_report(**changes: Any) -> Report:
    report = Report(
        title="A run",
        run_id="run-1",
        experiment="demo",
        created="2024-03-01 12:40 UTC",
        moola_version="0.1.0",
        git_commit="1f3c9ab27d0e55",
        git_dirty=True,
        alarms=(),
        checks=14,
        verdict=("One.", "Two.", "Three."),
        statements=("Labels come from a rule.",),
        leaderboard=None,
        stack="",
        comparisons=None,
        pretraining=None,
        reconstructions=None,
        confusion=None,
        calibration=None,
        sets=None,
        pointers=None,
        pseudo_labels=None,
        label_efficiency=None,
        wrong=None,
        doubtful=None,
        planted=None,
        costs=None,
        lineage=lineage(),
    )
    return dataclasses.replace(report, **changes)


def full_report(name: str = "encoder", windows: int = 2, length: int = 30) -> Report:
    rows = (
        row("stack", "stack", 0.6),
        row("collapsed", "model", 0.8),
        row(name, "model", 0.62),
        row("rocket", "control", 0.9),
    )
    loss = CurvePanel("Loss", "epoch", "Huber", (Curve(name, [0, 1], [1.0, 0.5]),), (Reference("zero", 0.9),))
    embedding = Embedding(name, [[0.0, 1.0], [2.0, -1.0]], [0, 1], (name, "down"), (0.6, 0.2))
    mask = np.arange(length) % 10 < 3
    spans = (Span(0, 20, "context"), Span(20, length, name, "zone"))
    doubt = DoubtfulLabel(name, "10:00", "10:30", bars(length), OHLC, spans, "up", "down", 0.0213, planted=True)
    bins = Reliability([0.2, 0.8], [0.3, 0.7], [10, 20], estimate(0.08))
    wrong = WrongWindow(name, "11:00", "11:30", bars(length), OHLC, spans, "up", name, 0.031)
    labels = dataclasses.replace(
        loss, title="Labels", curves=(Curve(name, [1, 2], [0.5, 0.6], low=[0.4, 0.5], high=[0.6, 0.7]),)
    )
    classes = tuple(ClassRow(label, 22, estimate(0.7), estimate(0.6), estimate(0.65)) for label in (name, "down"))
    return empty_report(
        title=name,
        alarms=(
            Alarm("constant_predictor", "alarm", "collapsed", "98 % one class."),
            Alarm("few", "note", "", "44 windows."),
        ),
        leaderboard=Leaderboard(
            (Split(TEST), Split(OOF, "transductive")),
            (Metric("Accuracy"), Metric("Log loss", higher_is_better=False)),
            rows,
            (TEST, "Accuracy"),
            Reference("majority", 0.52),
        ),
        comparisons=(
            Comparison(name, "rocket", TEST, "Accuracy", Estimate(-0.034, -0.12, 0.048, 44, 3), "No difference.", 0.41),
        ),
        pretraining=Pretraining(loss, loss, loss, "Realised mask ratio 0.402.", (embedding,)),
        reconstructions=(Reconstruction(name, bars(length), OHLC, bars(length) + 0.2, mask, "30 % hidden"),),
        calibration=(Calibration(name, bins, bins, estimate(-0.02)),),
        sets=PredictionSets(
            0.9, (SetRow(name, "marginal", estimate(0.93), estimate(1.2)), SetRow(name, "by class", None, None, name))
        ),
        pointers=Pointers(name, {name: estimate(0.5)}),
        pseudo_labels=PseudoLabels(
            name,
            "accuracy",
            ("Looked at", "Passed"),
            (PseudoLabelFold("without fold 0", (2000, 40), estimate(0.9)), PseudoLabelFold(name, (2000, 41), None)),
            (PseudoLabelStudent(name, estimate(0.8), estimate(0.79), estimate(-0.01), 0.4),),
        ),
        stack=f"{name} is accepted.",
        confusion=Confusion(name, TEST, [[20, 2], [1.5, 20.5]], classes),
        label_efficiency=labels,
        wrong=WrongWindows(name, 44, (wrong,)),
        costs=Costs((CostRow(name, 18, 126.0),), 300.0, rented=name),
        doubtful=DoubtfulLabels(
            (name, "rocket"), (doubt, *(dataclasses.replace(doubt, planted=None) for _ in range(windows - 1)))
        ),
        planted=PlantedFound(17, 31, 13, estimate(0.42, 31), estimate(0.76, 17), estimate(0.81, 174), 174, 14),
    )


def test_the_full_page_is_sound_and_loads_nothing() -> None:
    html = render_report(full_report())
    page = Page(html)
    assert "script" not in page.tags and "@import" not in html and "url(" not in html
    assert all(load.startswith("data:") for load in page.loads)
    assert "http://" not in html and "https://" not in html
    for svg in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL):
        ElementTree.fromstring(svg)
    assert html.count("<svg") == len(draw_pictures(full_report())) == 12


def test_both_colour_schemes_and_paper_are_styled() -> None:
    html = render_report(empty_report())
    assert "prefers-color-scheme: dark" in html and "color-scheme: light dark" in html and "@media print" in html
    used, defined = set(re.findall(r"var\((--[a-z0-9-]+)\)", html)), re.findall(r"(--[a-z0-9-]+):", html)
    assert all(defined.count(name) == 2 for name in used), "each colour needs a light and a dark value"


def test_names_are_escaped_everywhere() -> None:
    page = Page(render_report(full_report(name=EVIL)))
    assert "script" not in page.tags
    assert EVIL in page.text


def test_the_first_lines_carry_the_alarms() -> None:
    text = Page(render_report(full_report())).text
    assert text.index("collapsed named : 98 % one class.") < text.index("Verdict")
    assert "2 fired in 14 checks" in text
    assert "mean nothing" not in text
    trial = Page(render_report(dataclasses.replace(full_report(), experiment="debug-fast"))).text
    assert "Made with debug=fast, to try things out: the figures mean nothing." in trial
    assert "No alarm fired in 14 checks." in Page(render_report(empty_report())).text


def test_a_note_takes_nothing_from_a_figure() -> None:
    alarm, note = full_report().alarms
    assert "A figure with an alarm is no evidence." in render_report(
        dataclasses.replace(full_report(), alarms=(alarm, note))
    )
    assert "no evidence" not in render_report(dataclasses.replace(full_report(), alarms=(note,)))


def test_sections_stand_in_order() -> None:
    html = render_report(full_report())
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Verdict",
        "What this run is",
        "Leaderboard",
        "Paired comparisons",
        "What the chosen model takes for what",
        "Calibration",
        "Prediction sets",
        "First and last bar",
        "What labels are worth",
        "Labels of a teacher",
        "Pretraining",
        "Reconstructions",
        "Most wrong on the sealed test",
        "Most doubtful labels",
        "Planted and found",
        "Cost",
        "Lineage",
    ]


def test_a_stage_that_was_switched_off_says_so() -> None:
    text = Page(render_report(empty_report(absent={"reconstructions": "this objective hides nothing"}))).text
    for stage in ("evaluate", "pretrain", "calibrate", "label_issues"):
        assert f"not run: {stage} was switched off" in text
    assert "Reconstructions this objective hides nothing" in text
    assert "Planted and found" not in text


def test_the_best_is_neither_a_control_nor_an_alarmed_model() -> None:
    page = Page(render_report(full_report()))
    # Accuracy 0.62 and log loss 0.38 of the encoder; the control has 0.90 and the collapsed model 0.80.
    assert page.best == ["0.620", "0.380", "0.520"]


def test_figures_come_with_their_interval_and_a_true_minus() -> None:
    text = Page(render_report(full_report())).text
    assert "−0.034 [−0.120, +0.048] 0.410 No difference." in text
    assert re.search(r"Out of fold, n = \d+ transductive", text)
    assert "commit 1f3c9ab27d0e , with uncommitted changes" in text
    assert "2 min 14 s" in text
    assert "probabilities of encoder, rocket, each weighted" in text and "unknown" not in text
    assert "planted flip" in text and "Found in first 35" in text


def test_prediction_sets_say_which_coverage_they_promise_and_why_some_name_no_class() -> None:
    text = Page(render_report(full_report())).text
    assert "Promised coverage" in text and "over all windows" in text and "in each class" in text
    assert "some sets are empty" not in text
    few = PredictionSets(0.7, (SetRow("m", "marginal", estimate(0.7), estimate(0.95)),))
    assert "some sets are empty" in Page(render_report(dataclasses.replace(full_report(), sets=few))).text


def test_missing_figures_are_dashes() -> None:
    board = full_report().leaderboard
    assert board is not None
    nothing = Estimate(math.nan, math.nan, math.nan, 0, 0)
    rows = (ModelRow("m", "m", "model", {(TEST, "Accuracy"): nothing}), ModelRow("n", "n", "model", {}))
    page = Page(render_report(empty_report(leaderboard=dataclasses.replace(board, rows=rows))))
    assert page.best == []
    assert "– no interval" in page.text and "no figure" in page.text


@pytest.mark.parametrize(("p_value", "wanted"), [(0.04, True), (0.06, False), (math.nan, False)])
def test_a_difference_is_sure_after_correction_only(p_value: float, wanted: bool) -> None:
    assert Comparison("a", "b", TEST, "Accuracy", Estimate(0.1, 0.05, 0.15, 44, 3), "", p_value).is_sure is wanted


def test_pairs_tell_in_their_table_what_their_words_rest_on_and_what_other_tests_say() -> None:
    (pair,) = full_report().comparisons or ()
    assert "tables/comparisons.csv" not in render_report(full_report())
    tested = dataclasses.replace(pair, by_test=PairedTest("McNemar, exact", 3.0, 0.02, ""))
    report = full_report()
    report = dataclasses.replace(report, comparisons=(tested, pair))
    assert "Nadeau &amp; Bengio 2003" in render_report(report)
    first, second = report_tables(report)["comparisons"].rows(named=True)
    assert first["p_corrected"] == 0.41 and (first["test"], first["test_p"]) == ("McNemar, exact", 0.02)
    assert second["test"] is None


def test_a_verdict_has_three_sentences() -> None:
    with pytest.raises(MoolaError, match="three sentences"):
        empty_report(verdict=("Only one.",))


def test_a_large_report_stays_small() -> None:
    assert len(render_report(full_report(windows=100, length=200)).encode()) < 5_000_000 / 2
