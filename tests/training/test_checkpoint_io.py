"""Resume state without pickle: what goes in comes out, and nothing else goes in."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from moola.errors import StorageError
from moola.training.checkpoint_io import BrokenCheckpointError, SafetensorsCheckpointIO, rng_state, set_rng_state

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
TENSORS = st.builds(
    lambda dtype, shape, seed: (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 9).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 99),
)
KEYS = (
    st.text(max_size=5)
    | st.integers()
    | st.booleans()
    | st.none()
    | st.sampled_from(["$tensor", "$tuple", "$items", "$", "state"])
    | st.tuples(st.integers(), st.text(max_size=3))
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | TENSORS
STATES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=10,
)


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert torch.equal(found, expected)
        return
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(map(repr, found)) == list(map(repr, expected))
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(found)
    else:
        assert found == expected


def round_trip(state: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "state.safetensors"
        SafetensorsCheckpointIO().save_checkpoint(state, path)
        return SafetensorsCheckpointIO().load_checkpoint(path)


@settings(max_examples=150)
@given(state=st.dictionaries(KEYS, STATES, max_size=4))
def test_any_nested_state_comes_back_as_it_was(state: dict[Any, Any]) -> None:
    assert_same(round_trip(state), state)


def test_infinite_numbers_views_and_weights_that_train_come_back() -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    state = {"a": [math.inf, -math.inf, -0.0], "view": weight.detach().t(), "weight": weight, "twice": (weight, weight)}
    found = round_trip(state)
    assert found["a"] == state["a"] and math.copysign(1, found["a"][2]) == -1
    assert torch.equal(found["view"], state["view"])
    assert torch.equal(found["weight"], weight) and torch.equal(found["twice"][1], weight)


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, np.zeros(2), Path("x"), b"bytes", 1j, lambda: None],
    ids=lambda value: type(value).__name__,
)
def test_an_arbitrary_object_is_refused_and_nothing_is_written(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"a {type(value).__name__} cannot go into a checkpoint"):
        SafetensorsCheckpointIO().save_checkpoint({"deep": [{"x": (value,)}]}, tmp_path / "state")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_checkpoint_is_a_storage_error(share: float, tmp_path: Path) -> None:
    path = tmp_path / "state"
    SafetensorsCheckpointIO().save_checkpoint({"weights": torch.randn(500), "epoch": 3}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BrokenCheckpointError, match="is broken") as caught:
        SafetensorsCheckpointIO().load_checkpoint(path)
    assert "delete it" in caught.value.way_out


@pytest.mark.parametrize("place", [-1, 8, 400, 1500])
def test_a_checkpoint_of_which_a_bit_changed_is_broken(place: int, tmp_path: Path) -> None:
    path = tmp_path / "state"
    SafetensorsCheckpointIO().save_checkpoint({"weights": torch.randn(500), "note": "x" * 400, "epoch": 3}, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(BrokenCheckpointError, match="is broken"):
        SafetensorsCheckpointIO().load_checkpoint(path)


def test_a_file_that_is_no_checkpoint_is_broken_and_one_that_is_missing_is_not(tmp_path: Path) -> None:
    io = SafetensorsCheckpointIO()
    save_file({"a": torch.zeros(2)}, tmp_path / "bare")
    save_file({"a": torch.zeros(2)}, tmp_path / "other", metadata={"state": "{"})
    (tmp_path / "junk").write_bytes(bytes(range(256)) * 4)
    for name in ("bare", "other", "junk"):
        with pytest.raises(BrokenCheckpointError, match="is broken"):
            io.load_checkpoint(tmp_path / name)
    with pytest.raises(StorageError, match=r"cannot be read\nNo such file") as caught:
        io.load_checkpoint(tmp_path / "missing")
    assert not isinstance(caught.value, BrokenCheckpointError)


def test_removing_a_checkpoint_twice_is_no_error(tmp_path: Path) -> None:
    io = SafetensorsCheckpointIO()
    io.save_checkpoint({}, tmp_path / "state")
    io.remove_checkpoint(tmp_path / "state")
    io.remove_checkpoint(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_random_numbers_go_on_where_their_state_was_kept() -> None:
    state = round_trip({"rng": rng_state()})["rng"]
    expected = torch.rand(5)
    torch.rand(7)
    set_rng_state(state)
    assert torch.equal(torch.rand(5), expected)
