"""What a search may change: ranges, what is wrong with them, and where values lie."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import ConfigError
from moola.sweeps.search.settings import read_settings
from moola.sweeps.search.space import Dimension, read_space, spoken

optuna = pytest.importorskip("optuna")

FLOAT = {"type": "float", "low": 0.1, "high": 10.0}


def test_keys_with_dots_and_groups_inside_groups_are_the_same():
    nested = {"model": {"finetuned": {"l2_sp": FLOAT}}, "trainer.finetune.lr": FLOAT}
    assert set(read_space(nested)) == {"model.finetuned.l2_sp", "trainer.finetune.lr"}


def test_a_key_named_type_is_a_key():
    space = read_space({"model": {"x": {"type": {"type": "categorical", "choices": ["a", "b"]}}}})
    assert list(space) == ["model.x.type"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"type": "float", "low": 2, "high": 1}, "must be less than high"),
        ({"type": "float", "low": 0, "high": 1, "log": True}, "must be positive"),
        ({"type": "float", "low": 1}, "high: is missing"),
        ({"type": "int", "low": 0.5, "high": 3}, "must be whole"),
        ({"type": "int", "low": 1, "high": 8, "log": True, "step": 2}, "cannot be given where log"),
        ({"type": "float", "low": 0, "high": 1, "step": 0}, "must be positive"),
        ({"type": "float", "low": 0, "high": 1, "choices": [1, 2]}, "categorical only"),
        ({"type": "categorical", "choices": [1]}, "at least two"),
        ({"type": "categorical", "choices": [1, 1]}, "holds one twice"),
        ({"type": "categorical", "choices": ["a", "b"], "low": 1}, "of numbers only"),
        ({"type": "flot", "low": 0, "high": 1}, "did you mean 'float'"),
        ({"type": "float", "lo": 0, "low": 0, "high": 1}, "unknown key; did you mean"),
        (3, "must be a group of keys"),
    ],
)
def test_wrong_ranges_are_told_with_their_key(values: Any, told: str):
    with pytest.raises(ConfigError, match=told) as raised:
        read_space({"model.c": values})
    assert all(problem.startswith("search.space.model.c") for problem in raised.value.problems)


def test_every_problem_is_told_at_once():
    section = {
        "name": "a b",
        "model": "x",
        "metric": "acuracy",
        "n_trials": 0,
        "sampler": "tpee",
        "trials": 3,
        "space": {"a": {"type": "float", "low": 2, "high": 1}, "b": {"type": "int"}},
    }
    with pytest.raises(ConfigError) as raised:
        read_settings(section)
    told = str(raised.value)
    for part in ("a b", "did you mean 'accuracy'", "n_trials", "tpe", "trials: unknown key", "space.a", "space.b"):
        assert part in told
    assert "search.search" not in told


@given(st.data())
def test_what_optuna_suggests_lies_in_the_space(data: st.DataObject):
    low = data.draw(st.floats(1e-6, 1e3))
    high = low * data.draw(st.floats(1.01, 1e4))
    kind = data.draw(st.sampled_from(["float", "log", "int"]))
    dimension = (
        Dimension("int", math.ceil(low), math.ceil(high) + 1)
        if kind == "int"
        else Dimension("float", low, high, log=kind == "log")
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=data.draw(st.integers(0, 99))))
    value = dimension.suggest(study.ask(), "key")
    assert dimension.contains(value)
    assert 0 <= dimension.place(value) <= 1
    assert dimension.distribution()._contains(dimension.distribution().to_internal_repr(value))
    first, last = dimension.ends
    assert dimension.place(first) == 0
    assert math.isclose(dimension.place(last), 1)
    assert dimension.at_edge(first)
    assert dimension.at_edge(last)


def test_values_outside_are_not_contained():
    stepped = Dimension("int", 0, 10, step=5)
    assert [value for value in range(-1, 12) if stepped.contains(value)] == [0, 5, 10]
    assert not stepped.contains(True)
    assert not Dimension("float", 0.0, 1.0).contains("0.5")
    assert not Dimension("categorical", choices=(1, 2)).contains(True)


def test_parameters_are_told_by_their_last_word_unless_two_share_it():
    assert spoken({"model.a.c": 0.123456, "trainer.x": None}) == "c=0.1235, x=null"
    assert spoken({"model.a.c": 1, "model.b.c": 2}) == "model.a.c=1, model.b.c=2"
