"""Two processes train as one does: the same order without overlap, the same losses and weights within rounding.

Run as a program under torchrun, it is one of the processes: ``torchrun ... test_distributed.py FOLDER``.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import ConfigError, LostProcessError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.training import ranks
from moola.training.exchange import leaves_weights_out
from moola.training.loop import ParameterGroup, fit
from moola.training.ranks import ALONE, Ranks
from moola.training.schedule import FitConfig

SHAPE = InputShape(3, 15)
VALUES = torch.randn(120, 3, generator=torch.Generator().manual_seed(0)).cumsum(dim=0) * 0.1
WINDOWS, SIZE, EPOCHS = 93, 8, 3  # the last batch has five windows, so the first rank has one more


class Watched(nn.Module):
    """A masked autoencoder without dropout that notes the windows it sees, and can break."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = BiLstm(hidden=4).build(SHAPE)
        inputs = WindowInputs(SHAPE, ("a", "b", "c"), lambda bars: bars)
        config = MaskedAutoencoder(decoder_hidden=8, variance_weight=0.0)
        self.objective = config.build(self.encoder, inputs)
        self.seen: list[list[int]] = []
        self.breaks_at = breaks_at

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if len(self.seen) == self.breaks_at:
            raise RuntimeError("stopped")
        self.seen.append(batch.index.tolist())
        return self.objective(batch)


def train(module: Watched, who: Ranks, checkpoint: Path | None = None) -> list[dict[str, Any]]:
    """With a frozen epoch, accumulation, an average, and a validation."""
    batches = DeviceBatches(
        VALUES, np.arange(WINDOWS), 15, lambda bars: bars, SIZE, 0, rank=who.rank, world_size=who.world_size
    )
    watched = DeviceBatches(VALUES, np.arange(WINDOWS, 105), 15, lambda bars: bars, 12, 0, shuffle=False)
    head = [value for name, value in module.named_parameters() if "encoder" not in name]
    return fit(
        module,
        batches,
        FitConfig(epochs=EPOCHS, batch_size=SIZE, lr=1e-2, accumulate=2, ema_decay=0.8, log_every_steps=4),
        groups=[ParameterGroup(list(module.encoder.parameters()), frozen_epochs=1), ParameterGroup(head)],
        validate=lambda: module.objective.validate(next(iter(watched))),
        checkpoint=checkpoint,
    )


def program(folder: Path) -> None:
    """What one process does: a fit, and one that breaks in the second epoch and goes on."""
    torch.set_num_threads(1)
    who = ranks.current()
    module = Watched()
    records = train(module, who, folder / "state")  # which is asked for before Lightning has joined the processes
    write(folder / f"whole{who.rank}", module, records)
    with contextlib.suppress(RuntimeError):
        train(Watched(breaks_at=17), who, folder / "resume")
    resumed = Watched()
    write(folder / f"resumed{who.rank}", resumed, train(resumed, who, folder / "resume"))


def write(path: Path, module: Watched, records: list[dict[str, Any]]) -> None:
    save_file(module.objective.state_dict(), path.with_suffix(".safetensors"))
    path.with_suffix(".json").write_text(json.dumps({"records": records, "seen": module.seen}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads(path.with_suffix(".json").read_text()), load_file(path.with_suffix(".safetensors"))


def launch(*program: str) -> None:
    """Run a program in two processes; asked to end, torchrun ends them, which it cannot once it is killed."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with subprocess.Popen(
        [*torchrun, *program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        try:
            output, _ = started.communicate(timeout=120)
        finally:
            started.terminate()
    assert started.returncode == 0, output


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_resume(tmp_path: Path) -> None:
    launch(__file__, str(tmp_path))
    alone = Watched()
    records = train(alone, ALONE)
    (first, weights), (second, other_weights) = read(tmp_path / "whole0"), read(tmp_path / "whole1")

    assert first["records"] == second["records"]
    for found, expected in zip(first["records"], records, strict=True):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for name, value in alone.objective.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-5)
        assert torch.equal(weights[name], other_weights[name])
    for left, right, both in zip(first["seen"], second["seen"], alone.seen, strict=True):
        assert left + right == both  # the slices of a batch are disjoint and together the batch

    for rank in range(2):
        found, resumed = read(tmp_path / f"resumed{rank}")
        assert found["records"] == first["records"]
        assert all(torch.equal(resumed[name], value) for name, value in weights.items())


@pytest.mark.parametrize(("pooling", "left_out"), [("mean_max_last", False), ("spans", True)])
def test_weights_without_a_gradient_are_looked_for_only_where_there_are_some(pooling: str, left_out: bool) -> None:
    encoder = BiLstm(hidden=4, pooling=pooling).build(InputShape(3, 15, ((0, 5), (5, 15))))  # type: ignore[arg-type]
    inputs = WindowInputs(SHAPE, ("a", "b", "c"), lambda bars: bars)
    objective = MaskedAutoencoder(decoder_hidden=8).build(encoder, inputs)
    encoder.requires_grad_(False)  # as in frozen epochs
    batches = DeviceBatches(VALUES, np.arange(WINDOWS), 15, lambda bars: bars, SIZE, 0)
    before = torch.get_rng_state()
    assert leaves_weights_out(objective, batches) == left_out
    assert torch.equal(torch.get_rng_state(), before) and batches.state_dict()["next_batch"] == 0
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert all(weight.grad is None for weight in objective.parameters())


def test_the_end_of_another_process_is_told_as_such_and_other_errors_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "current", lambda: Ranks(1, 2, 1, 2))
    monkeypatch.setattr(ranks.processes, "init_process_group", lambda **_: None)
    monkeypatch.setattr(ranks.processes, "destroy_process_group", lambda: None)
    for told, kind in {"[pair.cc:553] Connection closed by peer": LostProcessError, "a defect": RuntimeError}.items():
        with pytest.raises(kind, match=re.escape(told)), ranks.joined():
            raise RuntimeError(told)


def test_a_process_that_torchrun_did_not_start_is_alone() -> None:
    assert ranks.current({"RANK": "3", "WORLD_SIZE": "4"}) == ALONE
    assert ranks.of_batches(0, 1) == ALONE


def test_the_variables_of_torchrun_are_read() -> None:
    found = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert ranks.current(found) == Ranks(3, 4, 1, 2)
    assert ranks.current(found).nodes == 2 and not ranks.current(found).first


def test_more_processes_than_gpus_and_cpu_runs_beside_a_gpu_choose_none(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(ranks.processes, "init_process_group", lambda **_: None)
    monkeypatch.setattr(ranks.processes, "destroy_process_group", lambda: None)
    for rank in range(2):
        monkeypatch.setattr(ranks, "current", lambda rank=rank: Ranks(rank, 2, rank, 2))
        with ranks.joined():
            pass
    assert chosen == [0]


def test_batches_of_processes_that_were_not_started_are_told() -> None:
    with pytest.raises(ConfigError, match="the batches are those of rank 0 of 2; this is 0 of 1") as caught:
        train(Watched(), Ranks(0, 2))
    assert "torchrun --nproc-per-node 2" in caught.value.way_out


if __name__ == "__main__":
    program(Path(sys.argv[1]))
