"""Descriptions and digests are what cache keys are made of."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.config import describe, digest_json


@dataclass(frozen=True)
class Left:
    size: int = 1
    parts: Any = ()


@dataclass(frozen=True)
class Right:
    size: int = 1
    parts: Any = ()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(PLAIN)
def test_plain_values_describe_themselves_and_survive_json(value: Any) -> None:
    assert json.loads(json.dumps(describe(value))) == value


@given(PLAIN)
def test_the_digest_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    assert digest_json(value) == digest_json(reordered(value))


def test_a_digest_is_the_same_on_every_machine() -> None:
    assert (
        digest_json({"b": [1, 2.5, None, "ü"], "a": True})
        == "1b907841ff67ec5337c6ddba5cb70e6cc69553c17ce64ef1e9e13ff26740d45b"
    )


def test_equal_fields_of_different_classes_give_different_digests() -> None:
    assert digest_json(Left()) == digest_json(Left())
    assert digest_json(Left()) != digest_json(Right())


def test_a_description_names_the_class_and_every_field_however_deep() -> None:
    described = describe(Left(2, (Right(), {"where": Path("a") / "b"})))
    assert described["class"].endswith(":Left")
    assert described["size"] == 2
    assert described["parts"][0]["class"].endswith(":Right")
    assert described["parts"][1] == {"where": str(Path("a") / "b")}


@pytest.mark.parametrize("other", [Left(2), Left(1, (1,)), Left(1, (Left(),)), Left(1, (Right(),))])
def test_any_other_field_gives_another_digest(other: Left) -> None:
    assert digest_json(other) != digest_json(Left())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_does_not_know_is_not_digested(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest_json({"a": value})


def test_an_object_without_a_description_is_not_digested() -> None:
    with pytest.raises(TypeError):
        digest_json({"a": object()})
