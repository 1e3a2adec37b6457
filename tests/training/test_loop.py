"""The one training loop: the same seed gives the same result, also across an interruption."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import ConfigError, MissingPackageError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderObjective
from moola.testing import make_batch
from moola.training.device import choose_device
from moola.training.loop import DivergedError, ParameterGroup, fit
from moola.training.schedule import FitConfig, Monitoring, TrainerSection

EPOCHS = 4
SHAPE = InputShape(3, 15)
VALUES = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).cumsum(dim=0) * 0.1

Records = list[dict[str, float]]


def masked_autoencoder(seed: int = 0) -> MaskedAutoencoderObjective:
    """With dropout, so that random numbers are drawn in every step."""
    torch.manual_seed(seed)
    encoder = BiLstm(hidden=4, layers=2, dropout=0.5).build(SHAPE)
    return MaskedAutoencoder(decoder_hidden=8).build(encoder, WindowInputs(SHAPE, ("a", "b", "c"), lambda bars: bars))


def batches_of(seed: int = 0, size: int = 16) -> DeviceBatches:
    return DeviceBatches(VALUES, np.arange(45), 15, lambda bars: bars, size, seed)


def config_of(**changes: Any) -> FitConfig:
    return FitConfig(**{"epochs": EPOCHS, "batch_size": 16, "lr": 1e-2, **changes})


def train(objective: MaskedAutoencoderObjective, seed: int = 0, **options: Any) -> Records:
    return fit(
        objective,
        batches_of(seed),
        config_of(),
        validate=lambda: objective.validate(make_batch(VALUES[45:].unsqueeze(0))),
        **options,
    )


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def stop_at(epoch: int, error: type[BaseException]) -> Callable[[dict[str, float]], None]:
    def on_epoch(record: dict[str, float]) -> None:
        if record["epoch"] == epoch:
            raise error

    return on_epoch


@pytest.fixture(scope="module")
def whole() -> tuple[Records, MaskedAutoencoderObjective]:
    """A fit that nothing interrupts."""
    objective = masked_autoencoder()
    return train(objective), objective


def test_the_same_seed_gives_the_same_losses_and_weights_bit_for_bit(
    whole: tuple[Records, MaskedAutoencoderObjective],
) -> None:
    objective = masked_autoencoder()
    assert train(objective) == whole[0]
    assert_same_weights(objective, whole[1])


def test_another_seed_of_the_weights_or_of_the_order_gives_other_losses(
    whole: tuple[Records, MaskedAutoencoderObjective],
) -> None:
    assert train(masked_autoencoder(seed=1)) != whole[0]
    assert train(masked_autoencoder(), seed=1) != whole[0]


def test_a_record_holds_the_epoch_every_part_of_the_loss_and_the_validation(
    whole: tuple[Records, MaskedAutoencoderObjective],
) -> None:
    names = ["epoch", "loss", "reconstruction", "variance", "val_loss"]
    assert [list(record)[: len(names)] for record in whole[0]] == [names] * EPOCHS
    assert [record["epoch"] for record in whole[0]] == [1, 2, 3, 4]
    assert whole[0][-1]["loss"] < whole[0][0]["loss"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_an_interrupted_fit_goes_on_to_the_identical_result(
    epoch: int, error: type[BaseException], tmp_path: Path, whole: tuple[Records, MaskedAutoencoderObjective]
) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    with pytest.raises(error):
        train(masked_autoencoder(), checkpoint=checkpoint, on_epoch=stop_at(epoch, error))
    torch.manual_seed(999)
    torch.rand(17)
    resumed, seen = masked_autoencoder(seed=5), []
    records = train(resumed, checkpoint=checkpoint, on_epoch=lambda record: seen.append(record["epoch"]))
    assert records == whole[0]
    assert_same_weights(resumed, whole[1])
    assert seen == list(range(epoch, EPOCHS + 1))  # what an interruption cut short is done again, nothing is skipped


class Breaking(nn.Module):
    """An objective that fails once in the middle of an epoch."""

    def __init__(self, objective: MaskedAutoencoderObjective, at: tuple[int, int] | None) -> None:
        super().__init__()
        self.objective, self.at = objective, at

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if (batch.epoch, batch.number) == self.at:
            raise OSError("broken")
        return self.objective(batch)


def test_a_crash_in_the_middle_of_an_epoch_costs_that_epoch_only(
    tmp_path: Path, whole: tuple[Records, MaskedAutoencoderObjective]
) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    with pytest.raises(OSError, match="broken"):
        fit(Breaking(masked_autoencoder(), (2, 1)), batches_of(), config_of(), checkpoint=checkpoint)
    resumed = Breaking(masked_autoencoder(seed=5), None)
    records = fit(resumed, batches_of(), config_of(), checkpoint=checkpoint)
    assert [record["loss"] for record in records] == [record["loss"] for record in whole[0]]
    assert_same_weights(resumed.objective, whole[1])


def test_a_finished_fit_gives_its_result_again_without_training(
    tmp_path: Path, whole: tuple[Records, MaskedAutoencoderObjective]
) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    train(masked_autoencoder(), checkpoint=checkpoint)
    again, seen = masked_autoencoder(seed=5), []
    assert train(again, checkpoint=checkpoint, on_epoch=seen.append) == whole[0]
    assert_same_weights(again, whole[1])
    assert not seen


def test_resume_state_is_saved_as_often_as_asked(tmp_path: Path) -> None:
    checkpoint, found = tmp_path / "resume.safetensors", []
    fit(
        masked_autoencoder(),
        batches_of(),
        config_of(checkpoint_every_epochs=2),
        checkpoint=checkpoint,
        on_epoch=lambda record: found.append(checkpoint.exists()),
    )
    assert found == [False, False, True, True]


class Watching(nn.Module):
    """Keeps what it is called with; its loss is a weight times the mean input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.other = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
        self.seen: list[tuple[int, list[int]]] = []
        self.modes: list[bool] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.seen.append((batch.epoch, batch.index.tolist()))
        self.modes.append(self.training)
        return {"loss": (self.weight + self.other) * (1 + batch.index.float().mean())}


def test_every_epoch_has_its_own_order_also_after_a_resume(tmp_path: Path) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    first, second = Watching(), Watching()
    with pytest.raises(KeyboardInterrupt):
        fit(first, batches_of(), config_of(), checkpoint=checkpoint, on_epoch=stop_at(3, KeyboardInterrupt))
    fit(second, batches_of(), config_of(), checkpoint=checkpoint)
    reference = batches_of()
    for watching, epochs in ((first, [0, 1, 2]), (second, [2, 3])):
        expected = []
        for epoch in epochs:
            reference.set_epoch(epoch)
            expected += [(epoch, batch.index.tolist()) for batch in reference]
        assert watching.seen == expected


def test_an_epochs_loss_is_the_mean_over_windows_not_over_batches() -> None:
    watching = Watching()
    watching.requires_grad_(False)
    watching.weight.requires_grad_(True)
    (record,) = fit(watching, batches_of(size=40), config_of(epochs=1, lr=1e-12))
    assert record["loss"] == pytest.approx(2 * (1 + np.arange(45).mean()))


def test_validation_and_what_follows_an_epoch_run_in_evaluation_mode_and_training_does_not() -> None:
    watching, modes = Watching(), []

    def validate() -> dict[str, float]:
        modes.append(watching.training)
        return {}

    def on_epoch(record: dict[str, float]) -> None:
        modes.append(watching.training)

    fit(watching, batches_of(), config_of(epochs=3), validate=validate, on_epoch=on_epoch)
    assert modes == [False] * 6 and all(watching.modes) and not watching.training


def test_a_group_has_its_share_of_the_rate_and_stands_still_while_frozen() -> None:
    watching, weights = Watching(), []
    groups = [ParameterGroup([watching.weight], factor=0.5, frozen_epochs=2), ParameterGroup([watching.other])]
    fit(
        watching,
        batches_of(size=45),
        config_of(weight_decay=0.0, warmup=0.0, min_lr_ratio=1.0, clip_norm=1e9),
        groups=groups,
        on_epoch=lambda record: weights.append((float(watching.weight.detach()), float(watching.other.detach()))),
    )
    slow, fast = np.diff(np.array([(1.0, 1.0), *weights]), axis=0).T
    assert slow[:2].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(fast, -1e-2, rtol=1e-3)  # Adam moves by the rate where the gradient is constant
    np.testing.assert_allclose(slow[2:], -0.5e-2, rtol=1e-3)


def test_a_frozen_group_gets_no_gradient_and_what_the_caller_froze_never_does() -> None:
    class Gradients(Watching):
        def forward(self, batch: Batch) -> dict[str, Tensor]:
            trains.append((batch.epoch, self.weight.requires_grad, self.third.requires_grad))
            return super().forward(batch)

    watching, trains = Gradients(), []
    watching.third = nn.Parameter(torch.ones(()), requires_grad=False)
    groups = [
        ParameterGroup([watching.weight, watching.third], frozen_epochs=2, name="slow"),
        ParameterGroup([watching.other]),
    ]
    with pytest.raises(KeyboardInterrupt):
        fit(watching, batches_of(size=45), config_of(), groups=groups, on_epoch=stop_at(1, KeyboardInterrupt))
    assert watching.weight.requires_grad  # also when a fit ends before it is thawed
    lines: list[dict[str, Any]] = []
    fit(watching, batches_of(size=45), config_of(log_every_steps=1), groups=groups, on_steps=lines.append)
    assert trains[1:] == [(0, False, False), (1, False, False), (2, True, False), (3, True, False)]
    assert [line["lr"]["slow"] > 0 for line in lines] == [False, False, True, True]
    assert not watching.third.requires_grad


def test_the_rate_rises_then_falls_to_its_last_share() -> None:
    watching, weights = Watching(), [1.0]
    fit(
        watching,
        batches_of(size=45),
        config_of(epochs=20, weight_decay=0.0, warmup=0.25, min_lr_ratio=0.1),
        groups=[ParameterGroup([watching.weight])],
        on_epoch=lambda record: weights.append(float(watching.weight.detach())),
    )
    rates = -np.diff(weights) / 1e-2
    np.testing.assert_allclose(rates[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-2)
    assert np.all(np.diff(rates[5:]) < 0)
    assert rates[-1] == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error(value: float, tmp_path: Path) -> None:
    class Diverging(Watching):
        def forward(self, batch: Batch) -> dict[str, Tensor]:
            return {"loss": super().forward(batch)["loss"] * (value if batch.epoch == 1 else 1.0)}

    checkpoint = tmp_path / "resume.safetensors"
    with pytest.raises(DivergedError, match=r"in step 4, in epoch 2\nlearning rate 0\.01") as caught:
        fit(Diverging(), batches_of(), config_of(), checkpoint=checkpoint)
    assert "lower the learning rate" in caught.value.way_out
    before = checkpoint.read_bytes()
    with pytest.raises(DivergedError):
        fit(Diverging(), batches_of(), config_of(), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before  # nothing of the broken epoch was kept


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError])
def test_ctrl_c_works_as_before_once_a_fit_is_over(error: type[BaseException] | None) -> None:
    def own(number: int, frame: object) -> None:
        """What stood there before; not the default, which an earlier test may have lost."""

    before = signal.signal(signal.SIGINT, own)
    try:
        if error is None:
            fit(Watching(), batches_of(), config_of(epochs=1))
        else:
            with pytest.raises(error):
                fit(Watching(), batches_of(), config_of(), on_epoch=stop_at(1, error))
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_exit_that_nobody_pressed_ctrl_c_for_stays_one() -> None:
    def leave(record: dict[str, float]) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        fit(Watching(), batches_of(), config_of(), on_epoch=leave)
    assert caught.value.code == 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["lr", "weight_decay", "clip_norm", "stall_s"])
def test_a_schedule_takes_finite_numbers_only(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(**{name: value})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [name]


def test_wrong_schedules_are_told_with_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        FitConfig(
            epochs=0,
            batch_size=0,
            accumulate=0,
            lr=0.0,
            weight_decay=-1.0,
            warmup=1.0,
            min_lr_ratio=2.0,
            clip_norm=0.0,
            ema_decay=1.0,
            swa_share=1.0,
            patience=-1,
            checkpoint_every_epochs=0,
            checkpoint_every_steps=0,
            log_every_steps=0,
            stall_s=-1.0,
        )
    assert len(caught.value.problems) == 16  # each key, and two averages at once


def test_the_whole_trainer_section_is_checked_at_once() -> None:
    schedule = {"epochs": 1, "batch_size": 2}
    built = TrainerSection.from_config({"pretrain": schedule, "finetune": {**schedule, "lr": 1}})
    assert (built.finetune.lr, built.monitoring) == (1.0, Monitoring())
    with pytest.raises(ConfigError) as caught:
        TrainerSection.from_config(
            {
                "pretrain": {**schedule, "epoch": 3},
                "finetune": {"epochs": 0, "batch_size": 2},
                "monitoring": {"validation_share": 0.5, "snapshot_epochs": [0]},
                "pretrian": {},
            }
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "trainer.pretrian",
        "trainer.pretrain.epoch",
        "trainer.finetune.epochs",
        "trainer.monitoring.validation_share",
        "trainer.monitoring.snapshot_epochs",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told() -> None:
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(MissingPackageError, match="torch sees no GPU"):
        choose_device("cuda")
