"""ONNX gives the numbers of torch, or is not written."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import moola.encoders.onnx_export as onnx_export
from moola.encoders.loading import load_encoder
from moola.errors import MissingPackageError
from moola.models import ENCODERS
from moola.models.encoder import InputShape

BARS = 12


@pytest.fixture
def ready(room, put):
    put()
    return load_encoder("bilstm_mae_2d_v1", 0, room)


def test_the_file_gives_what_torch_gives_for_any_number_of_windows_and_a_wrong_one_is_refused(
    ready, tmp_path, monkeypatch
):
    runtime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    error = onnx_export.export_onnx(ready, tmp_path / "encoder.onnx")
    assert 0 <= error < 1e-5
    session = runtime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    assert [put.name for put in (*session.get_inputs(), *session.get_outputs())] == ["inputs", "states", "embedding"]
    for n_windows in (1, 5, 100):
        inputs = torch.randn(n_windows, 12, 2)
        with torch.no_grad():
            states, embedding = ready.encoder.encode(inputs)
        found = session.run(None, {"inputs": inputs.numpy()})
        assert np.allclose(found[0], states, atol=1e-5)
        assert np.allclose(found[1], embedding, atol=1e-5)
    told = json.loads(session.get_modelmeta().custom_metadata_map["moola"])
    assert (told["name"], told["seed"], told["inputs"]) == ("bilstm_mae_2d_v1", 0, ["x", "y"])
    assert told["transform"]["name"] == "standardised"

    exported = onnx.load(tmp_path / "encoder.onnx")
    monkeypatch.setattr(onnx_export, "_traced", lambda _: exported)
    with torch.no_grad():
        ready.encoder.norm.bias += 0.01
    with pytest.raises(onnx_export.ExportError, match="does not compute what bilstm_mae_2d_v1 does"):
        onnx_export.export_onnx(ready, tmp_path / "wrong.onnx")
    assert not (tmp_path / "wrong.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(ENCODERS.built_in))
def test_every_encoder_can_be_exported(ready, kind, tmp_path):
    pytest.importorskip("onnxscript")
    encoder = ENCODERS.build(kind, {}, "encoder").build(InputShape(2, BARS, ((0, 6), (6, BARS)))).eval()
    other = dataclasses.replace(ready, encoder=encoder)
    assert onnx_export.export_onnx(other, tmp_path / "encoder.onnx") < 1e-4


def test_missing_packages_are_named_with_the_way_to_get_them(ready, tmp_path, monkeypatch):
    known = SimpleNamespace(find_spec=lambda name: None if name == "onnxruntime" else object())
    monkeypatch.setattr(onnx_export.importlib, "util", known)
    with pytest.raises(MissingPackageError, match=r"- onnxruntime\n.*moola\[onnx\]"):
        onnx_export.export_onnx(ready, tmp_path / "encoder.onnx")
