"""What only a CUDA device can show; run by `make gpu`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moola.data.device_batches import DeviceBatches
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.training.loop import fit
from moola.training.schedule import FitConfig

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]


def _pretrain(device: str) -> list[dict[str, float]]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(600, 4, generator=generator).cumsum(dim=0).to(device)
    torch.manual_seed(0)
    shape = InputShape(4, 40)
    encoder = BiLstm(hidden=16).build(shape)
    objective = (
        MaskedAutoencoder(decoder_hidden=16)
        .build(encoder, WindowInputs(shape, tuple("abcd"), lambda bars: bars))
        .to(device)
    )
    batches = DeviceBatches(values, np.arange(500), 40, lambda bars: bars - bars[:, :1], 64, seed=3)
    return fit(objective, batches, FitConfig(epochs=3, batch_size=64))


def test_the_gpu_learns_what_the_cpu_learns() -> None:
    for on_gpu, on_cpu in zip(_pretrain("cuda"), _pretrain("cpu"), strict=True):
        assert on_gpu["loss"] == pytest.approx(on_cpu["loss"], rel=1e-3)


def test_batches_are_gathered_on_the_device_in_the_same_order() -> None:
    values = torch.arange(100.0)[:, None]
    on_cpu, on_gpu = (DeviceBatches(values.to(d), np.arange(90), 5, lambda b: b, 16, seed=1) for d in ("cpu", "cuda"))
    for left, right in zip(on_cpu, on_gpu, strict=True):
        assert right.inputs.device.type == "cuda"
        assert torch.equal(left.inputs, right.inputs.cpu())
