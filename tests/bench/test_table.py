"""Means over common sets, intervals of means, ranks and targets of a bench; and its tables as text."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.bench.published import Published, published
from moola.bench.results import Cost, SetResult
from moola.bench.sets import BUNDLED
from moola.bench.table import BenchTable, make_table, mean_over_sets, paired_means
from moola.bench.text_tables import TextTable
from moola.bench.writing import markdown, write_bench
from moola.evaluation.estimates import Estimate
from moola.layout import read_json

ROLES = {"stack": "stack", "stack_without_kernels": "stack", "finetuned": "model", "majority": "control"}
FIGURES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), min_size=1)


def estimate(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, value - half, value + half, 100, 3)


def result(name: str, accuracy: Mapping[str, float], few: Mapping[str, float] | None = None) -> SetResult:
    few = few or {}
    return SetResult(
        name,
        f"run-{name}",
        {model: estimate(value) for model, value in accuracy.items()},
        {model: estimate(value) for model, value in few.items()},
        10,
        {model: ROLES.get(model, "baseline") for model in accuracy},
        {model: Cost(4, 2.0) for model in accuracy if model != "stack"},
        (),
        60.0,
    )


def a_table(**changes: float) -> BenchTable:
    usual = {
        "stack": 0.9,
        "stack_without_kernels": 0.88,
        "multirocket_hydra": 0.89,
        "minirocket": 0.87,
        "majority": 0.5,
    }
    few = {"finetuned": 0.7, "minirocket": 0.6}
    sets = [result("GunPoint", {**usual, **changes}, few), result("ECG200", usual, few), result("Own", usual)]
    return make_table(sets, {"Broken": "it has <no> cases"}, [Published("TS2Vec", "a paper", {"GunPoint": 0.85})])


@given(FIGURES, FIGURES)
def test_two_methods_are_compared_on_the_sets_of_both_and_on_no_other(a: dict[str, float], b: dict[str, float]) -> None:
    found = paired_means("a", a, "b", b)
    common = set(a) & set(b)
    assert found.n == len(common) == found.wins + found.ties + found.losses
    alone = paired_means("a", {k: a[k] for k in common}, "b", {k: b[k] for k in common})
    back = paired_means("b", b, "a", a)
    if common:
        assert found.difference == pytest.approx(alone.difference, abs=1e-12)
        assert found.difference == pytest.approx(-back.difference, abs=1e-12)
        assert (found.wins, found.losses) == (back.losses, back.wins)
        assert found.worst_difference <= found.difference + 1e-9
    else:
        assert math.isnan(found.difference) and not found.worst


def test_the_interval_of_a_mean_narrows_with_the_root_of_the_number_of_sets() -> None:
    found = mean_over_sets([estimate(0.8)] * 4)
    assert found.value == pytest.approx(0.8) and found.low == pytest.approx(0.79) and found.high == pytest.approx(0.81)


def test_a_mean_stands_only_where_a_model_has_every_set() -> None:
    table = a_table(extra=0.99)
    assert "extra" not in table.means and "stack" in table.means
    assert not table.few_means  # the third set made no such fits
    assert table.ranks is not None and "extra" not in table.ranks.models and "majority" not in table.ranks.models
    assert next(line for line in markdown(table).splitlines() if line.startswith("| extra |")).endswith("| – |")


def test_targets_are_reached_missed_or_not_known() -> None:
    assert [target.reached for target in a_table().targets] == [True, True, True, True, None]
    lower = a_table(stack=0.86)
    assert [target.reached for target in lower.targets] == [False, False, True, True, None]
    assert lower.targets[1].found == "lowest on GunPoint: -0.030"
    alone = make_table([result("GunPoint", {"minirocket": 0.9})], {}, published())
    assert {target.reached for target in alone.targets} == {None} and alone.ranks is None


def test_published_figures_are_shares_of_sets_that_are_run() -> None:
    methods = {one.name: one for one in published()}
    assert all(set(one.accuracy) <= set(BUNDLED) and one.source for one in methods.values())
    assert all(0.5 < value <= 1 for one in methods.values() for value in one.accuracy.values())
    assert sum(methods["TS2Vec"].accuracy.values()) / 8 == pytest.approx(0.92525)


def test_figures_that_moolas_authors_made_are_not_called_published() -> None:
    told = markdown(make_table([result("GunPoint", {"minirocket": 0.9})], {}, published()))
    assert "| published: TS2Vec |" in told and "| TS2Vec, by moola's authors |" in told
    assert "published: TS2Vec, by" not in told
    assert told.count("not known: ") == 1 and "not known: all 7, for models or sets that this bench leaves out" in told


def test_a_bench_is_written_in_every_form(tmp_path: Path) -> None:
    write_bench(tmp_path, a_table(), "moola bench ucr")
    names = {"accuracy.csv", "bench.json", "bench.md", "bench.tex", "bench.html", "critical_difference.svg"}
    assert {path.name for path in tmp_path.iterdir()} == names
    rows = list(csv.DictReader((tmp_path / "accuracy.csv").read_text().splitlines()))
    assert len(rows) == 3 * 5 + 2 * 2 + 1 and {row["origin"] for row in rows} == {"here", "published"}
    told = read_json(tmp_path / "bench.json")
    assert told["failed"] == {"Broken": "it has <no> cases"} and told["targets"][0]["reached"] is True
    page = (tmp_path / "bench.html").read_text()
    assert "Not known</b>: 1 other, for models or sets" in page and page.count("<li><b class=") == 5
    assert "it has &lt;no&gt; cases" in page and page.count("<svg") == 1 and "<script" not in page


def test_what_latex_reads_as_a_command_is_escaped() -> None:
    table = TextTable("t", "10 % & more", "a_b", ("", "set"), (("dtw", "–"), ("best", "0.9")), frozenset({(1, 1)}))
    said = table.latex()
    assert r"10 \% \& more. a\_b" in said and r"dtw & -- \\" in said and r"best & \textbf{0.9} \\" in said


def test_names_that_users_chose_break_neither_table() -> None:
    table = TextTable("t", "All", "few", ("", "set|1"), ((r"a|b {50%} ~x^2 $c\d #1", "0.9"),))
    assert [line.replace(r"\|", "").count("|") for line in table.markdown().splitlines()[-3:]] == [3, 3, 3]
    name = r"a|b \{50\%\} \textasciitilde{}x\textasciicircum{}2 \$c\textbackslash{}d \#1"
    assert name + r" & 0.9 \\" in table.latex()
