"""What only a CUDA device can show; run by `make gpu`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.training.loop import fit
from moola.training.schedule import FitConfig

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]


class Rebuilding(nn.Module):
    """An autoencoder that draws no numbers, because those of a CPU and of a GPU differ."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = BiLstm(hidden=16).build(InputShape(4, 40))
        self.decoder = nn.Linear(self.encoder.width, 4)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (self.decoder(self.encoder(batch.inputs)) - batch.inputs).square().mean()}


def _pretrain(device: str) -> list[dict[str, float]]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(600, 4, generator=generator).cumsum(dim=0).to(device)
    batches = DeviceBatches(values, np.arange(500), 40, lambda bars: bars - bars[:, :1], 64, seed=3)
    return fit(Rebuilding().to(device), batches, FitConfig(epochs=3, batch_size=64, precision="fp32"))


def test_the_gpu_learns_what_the_cpu_learns() -> None:
    for on_gpu, on_cpu in zip(_pretrain("cuda"), _pretrain("cpu"), strict=True):
        assert on_gpu["loss"] == pytest.approx(on_cpu["loss"], rel=1e-3)


def test_batches_are_gathered_on_the_device_in_the_same_order() -> None:
    values = torch.arange(100.0)[:, None]
    on_cpu, on_gpu = (DeviceBatches(values.to(d), np.arange(90), 5, lambda b: b, 16, seed=1) for d in ("cpu", "cuda"))
    for left, right in zip(on_cpu, on_gpu, strict=True):
        assert right.inputs.device.type == "cuda"
        assert torch.equal(left.inputs, right.inputs.cpu())
