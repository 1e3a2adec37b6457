"""Which pickles are refused, in whatever they are wrapped; nothing here is ever loaded."""

from __future__ import annotations

import bz2
import collections
import datetime
import gzip
import io
import lzma
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.pods.pickle_scan import scan_pickles


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def evil(protocol: int = 4) -> bytes:
    return pickle.dumps(Calls(os.system, "true"), protocol=protocol)


def rules(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [finding.rule for finding in scan_pickles(path.name, path)]


NAMED = f"a pickle that calls {os.system.__module__}.system"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.ckpt", "model.joblib"])
def test_a_pickle_that_calls_a_function_is_refused(tmp_path, protocol, name):
    assert rules(tmp_path / name, evil(protocol)) == [NAMED]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_under_any_other_name_is_refused(tmp_path, protocol):
    assert rules(tmp_path / "notes.bin", evil(protocol)) == [NAMED]


@pytest.mark.parametrize("wrap", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
@pytest.mark.parametrize("name", ["model.joblib", "model.pkl.gz", "weights.dat.gz", "weights.gz", "weights"])
def test_compression_hides_nothing(tmp_path, wrap, name):
    assert rules(tmp_path / name, wrap(evil())) == [NAMED]


def test_layers_hide_nothing_and_their_number_is_limited(tmp_path):
    packed = evil()
    for _ in range(4):
        packed = gzip.compress(packed)
    assert rules(tmp_path / "weights", packed) == [NAMED]
    assert "packed more than 4 times" in rules(tmp_path / "weights", gzip.compress(packed))[0]
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("broken.gz", b"\x1f\x8b broken")
        archive.writestr("weights.gz", gzip.compress(evil()))
    assert rules(tmp_path / "weights", gzip.compress((tmp_path / "inner.zip").read_bytes())) == [NAMED]


@pytest.mark.parametrize("content", [b"plain words", b"x,y\n1,2\n", b"", bytes(range(256)) * 99])
@pytest.mark.parametrize("wrap", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_compressed_files_of_other_things_are_let_be(tmp_path, wrap, content):
    assert rules(tmp_path / "bars.csv.gz", wrap(content)) == []


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, open, bytes.fromhex, np.load])
def test_every_name_that_is_not_known_to_be_harmless_is_refused(tmp_path, function):
    assert len(rules(tmp_path / "a.pkl", pickle.dumps(Calls(function, "x")))) == 1


HARMLESS = [
    {"epoch": 3, "loss": [0.1, None], "name": "x", "flags": {True}},
    collections.OrderedDict(weight=np.arange(6, dtype=np.float32).reshape(2, 3)),
    [np.float64(1.5), datetime.datetime(2024, 1, 1), frozenset({1}), b"bytes", 1 + 2j, range(3)],
]


@pytest.mark.parametrize("value", HARMLESS)
@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_are_let_be(tmp_path, value, protocol):
    assert rules(tmp_path / "a.pkl", pickle.dumps(value, protocol=protocol)) == []


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.binary(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_no_plain_value_is_refused(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    assert rules(path, pickle.dumps(value)) == []


@given(st.binary(max_size=60), st.integers(0, 5))
def test_whatever_surrounds_the_call_it_is_refused(tmp_path_factory, noise, protocol):
    path = tmp_path_factory.getbasetemp() / "noisy.pkl"
    several = pickle.dumps([noise, Calls(os.system, "true"), noise], protocol=protocol)
    assert NAMED in rules(path, several)
    assert rules(path, pickle.dumps(noise) + evil(protocol)) == [NAMED]


def test_an_archive_of_torch_is_looked_into(tmp_path):
    import torch

    buffer = io.BytesIO()
    torch.save({"w": torch.ones(3), "b": torch.ones(2, dtype=torch.bfloat16), "n": 1}, buffer)
    assert rules(tmp_path / "a.pt", buffer.getvalue()) == []
    assert rules(tmp_path / "a.weird", buffer.getvalue()) == []
    torch.save({"w": torch.ones(3), "x": Calls(os.system, "true")}, buffer := io.BytesIO())
    assert rules(tmp_path / "a.pt", buffer.getvalue()) == [NAMED]
    assert rules(tmp_path / "a.weird", buffer.getvalue()) == [NAMED]
    torch.save([torch.ones(3)], buffer := io.BytesIO(), _use_new_zipfile_serialization=False)
    assert rules(tmp_path / "old.pt", buffer.getvalue()) == []


@pytest.mark.parametrize("member", ["archive/data.pkl", "innocent.txt", "x.npy"])
def test_a_zip_file_with_a_pickle_is_refused_wherever_it_lies(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
        archive.writestr(member, evil())
    assert [finding.rule for finding in scan_pickles("a.zip", tmp_path / "a.zip")] == [NAMED]


def test_arrays_of_objects_are_refused_and_others_are_not(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.save(tmp_path / "b.npy", np.zeros(3, dtype=[("x", "f4"), ("y", "O")]), allow_pickle=True)
    np.save(tmp_path / "c.npy", np.zeros((3, 2)))
    np.savez(tmp_path / "d.npz", plain=np.zeros(3), odd=np.array([{}], dtype=object))
    found = {
        name: [f.rule for f in scan_pickles(name, tmp_path / name)] for name in ("a.npy", "b.npy", "c.npy", "d.npz")
    }
    said = ["an array of objects, which is a pickle"]
    assert found == {"a.npy": said, "b.npy": said, "c.npy": [], "d.npz": said}


@pytest.mark.parametrize(
    "content", [b"", b"hello", evil()[:-10], b"\x80\x04\x95", b"PK\x03\x04 broken", b"\x1f\x8b broken"]
)
def test_what_only_says_that_it_is_a_pickle_is_refused(tmp_path, content):
    assert "by its name a pickle, and it cannot be read to its end" in rules(tmp_path / "a.pkl", content)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04\x95", b"PK\x03\x04 broken", b"\x93NUMPY", b"x = 1\n"])
def test_other_files_are_let_be(tmp_path, content):
    assert rules(tmp_path / "a.dat", content) == []


def test_names_that_are_made_while_loading_are_refused(tmp_path):
    copied = b"\x80\x04\x8c\x02os\x942\x8c\x06system\x94\x93."  # the module's name is doubled on the stack
    assert rules(tmp_path / "a.pkl", copied) == ["a pickle that calls something under a name made while it loads"]
    swapped = b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x0bcollections0\x93."  # a harmless name, pushed and dropped
    assert rules(tmp_path / "a.pkl", swapped) == ["a pickle that calls something under a name made while it loads"]
    extension = b"\x80\x02\x82\x01."
    assert rules(tmp_path / "a.pkl", extension) == ["a pickle that calls something under a name made while it loads"]


def test_names_from_the_memo_are_followed(tmp_path):
    stored = b"\x80\x04\x8c\x02nt\x94\x8c\x06system\x9400h\x00h\x01\x93."
    assert rules(tmp_path / "a.pkl", stored) == ["a pickle that calls nt.system"]


def test_a_name_cannot_write_on_the_terminal(tmp_path):
    said = rules(tmp_path / "a.pkl", b"c\x1b[2Jos\nsystem\n.")
    assert len(said) == 1
    assert said[0].isprintable()
