"""Which windows get a label, and which of these are flipped on purpose."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moola.errors import ConfigError, DataError
from moola.labels.planting import LabelDraw


def candidates_of(labels: list[str]) -> pl.DataFrame:
    ids = [f"w{i}" for i in range(len(labels))]
    return pl.DataFrame({"window_id": ids, "true_label": labels}, schema_overrides={"true_label": pl.String})


def draw_market(market: SimpleNamespace, number: int) -> pl.DataFrame:
    train = market.table.filter((pl.col("span") == "train") & pl.col("true_label").is_not_null())
    return LabelDraw(174, 17, number).choose(train, market.classes)


def test_the_default_draw_is_87_of_each_class_and_17_flipped(market: SimpleNamespace) -> None:
    drawn = draw_market(market, 0)
    assert dict(drawn["true_label"].value_counts().iter_rows()) == {"consolidation": 87, "retracement": 87}
    assert drawn["planted"].sum() == 17
    assert ((drawn["label"] != drawn["true_label"]) == drawn["planted"]).all()
    truth = market.table.select("window_id", known="true_label", span="span")
    joined = drawn.join(truth, on="window_id")
    assert (joined["true_label"] == joined["known"]).all() and (joined["span"] == "train").all()


def test_the_same_number_gives_the_same_draw_and_another_number_another(market: SimpleNamespace) -> None:
    first, again, other = (draw_market(market, number) for number in (0, 0, 1))
    assert first.equals(again)
    assert len(set(first["window_id"]) & set(other["window_id"])) < 60
    assert first.filter("planted")["window_id"].to_list() != other.filter("planted")["window_id"].to_list()


def test_the_default_draw_never_changes(market: SimpleNamespace) -> None:
    drawn = draw_market(market, 0)
    assert drawn["window_id"].head(3).to_list() == ["sp500_0000024", "sp500_0000031", "sp500_0000032"]
    assert drawn.filter("planted")["window_id"].head(3).to_list() == ["sp500_0000031", "sp500_0000230", "sp500_0000661"]


@given(
    labels=st.lists(st.sampled_from("abc"), min_size=6, max_size=80),
    n_given=st.none() | st.integers(2, 40),
    n_flipped=st.integers(0, 20),
    number=st.integers(0, 1000),
)
def test_exactly_so_many_are_flipped_and_never_to_their_own_class(
    labels: list[str], n_given: int | None, n_flipped: int, number: int
) -> None:
    candidates = candidates_of(labels)
    try:
        drawn = LabelDraw(n_given, n_flipped, number).choose(candidates, ("a", "b", "c"))
    except DataError:
        counts = [labels.count(name) for name in "abc"]
        n = len(labels) if n_given is None else n_given
        wanted = [n // 3 + (k < n % 3) for k in range(3)]
        assert (
            n_flipped > n
            or sum(count > 0 for count in counts) < 2
            or (n_given is not None and any(w > c for w, c in zip(wanted, counts, strict=True)))
        )
        assume(False)
    assert drawn.height == (n_given if n_given is not None else len(labels))
    assert drawn["window_id"].is_unique().all()
    assert drawn["window_id"].to_list() == sorted(drawn["window_id"], key=lambda name: int(name[1:]))
    assert drawn["planted"].sum() == n_flipped
    assert ((drawn["label"] != drawn["true_label"]) == drawn["planted"]).all()
    assert drawn["true_label"].to_list() == [labels[int(name[1:])] for name in drawn["window_id"]]
    if n_given is not None:
        per_class = [drawn["true_label"].to_list().count(name) for name in "abc"]
        assert max(per_class) - min(per_class) <= 1


def test_flips_go_to_every_other_class() -> None:
    drawn = LabelDraw(None, 300).choose(candidates_of(list("abc") * 100), ("a", "b", "c"))
    pairs = set(drawn.select("true_label", "label").iter_rows())
    assert pairs == {(a, b) for a in "abc" for b in "abc" if a != b}


def test_all_labels_are_given_where_no_number_is_asked_for() -> None:
    candidates = candidates_of(list("aab"))
    drawn = LabelDraw().choose(candidates, ("a", "b"))
    assert drawn["window_id"].to_list() == ["w0", "w1", "w2"] and not drawn["planted"].any()


@pytest.mark.parametrize("labels", ["aaaa", ""])
def test_labels_of_fewer_than_two_classes_are_refused(labels: str) -> None:
    with pytest.raises(DataError, match="one class only" if labels else "no training window has a label"):
        LabelDraw().choose(candidates_of(list(labels)), ("a", "b"))


def test_too_few_of_a_class_are_told_with_the_number_that_works() -> None:
    with pytest.raises(DataError, match=r"labels a class: \{'a': 9, 'b': 3\}; wanted \{'a': 5, 'b': 5\}") as caught:
        LabelDraw(10).choose(candidates_of(list("aaaaaaaaabbb")), ("a", "b"))
    assert "task.n_given=6 or less" in caught.value.way_out
    assert LabelDraw(6).choose(candidates_of(list("aaaaaaaaabbb")), ("a", "b")).height == 6


def test_more_flips_than_labels_are_refused() -> None:
    with pytest.raises(DataError, match="n_flipped=4 flips more labels than the 3 there are"):
        LabelDraw(None, 4).choose(candidates_of(list("aab")), ("a", "b"))


def test_wrong_numbers_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        LabelDraw(1, -1, -1)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["n_given", "n_flipped", "draw"]


def test_flipped_windows_are_a_fair_sample() -> None:
    candidates = candidates_of(["a", "b"] * 50)
    counts = np.zeros(100)
    for number in range(200):
        counts += LabelDraw(None, 10, number).choose(candidates, ("a", "b"))["planted"].to_numpy()
    assert counts.min() > 5 and counts.max() < 45  # 20 on average
