"""The suite finds what it is there to find: one broken objective a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch
from moola.models.encoder import Encoder
from moola.pretraining import WindowInputs
from moola.pretraining.fixed_draws import fixed_draws
from moola.testing import check_objective


class Denoising(nn.Module):
    """Rebuilds inputs with noise on them, and keeps every promise."""

    def __init__(self, encoder: Encoder, n_inputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Linear(encoder.width, n_inputs)

    def noise(self, batch: Batch) -> Tensor:
        return batch.draws(0).normal(*batch.inputs.shape[1:])

    def error(self, inputs: Tensor, noise: Tensor) -> Tensor:
        return (self.decoder(self.encoder(inputs + 0.1 * noise)) - inputs).square().mean()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        error = self.error(batch.inputs, self.noise(batch))
        return {"loss": error, "denoising": error}

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        return {"val_loss": float(self.error(batch.inputs, fixed_draws(batch).normal(*batch.inputs.shape[1:])))}


class OneLossIsMissing(Denoising):
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"denoising": super().forward(batch)["loss"]}


class NoParts(Denoising):
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": super().forward(batch)["loss"]}


class NoScalars(Denoising):
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {name: loss[None] for name, loss in super().forward(batch).items()}


class PartsWithoutWeights(Denoising):
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = super().forward(batch)
        return {**losses, "denoising": 2 * losses["denoising"]}


class Infinite(Denoising):
    def error(self, inputs: Tensor, noise: Tensor) -> Tensor:
        return super().error(inputs, noise) / 0.0


class Detached(Denoising):
    def error(self, inputs: Tensor, noise: Tensor) -> Tensor:
        return (self.decoder(self.encoder(inputs + noise).detach()) - inputs).square().mean()


class GlobalNoise(Denoising):
    def noise(self, batch: Batch) -> Tensor:
        return torch.randn_like(batch.inputs)


class RememberingNoise(Denoising):
    calls = 0

    def noise(self, batch: Batch) -> Tensor:
        self.calls += 1
        return super().noise(batch) * self.calls


class NoiseInPlace(Denoising):
    def error(self, inputs: Tensor, noise: Tensor) -> Tensor:
        return super().error(inputs.add_(0.1 * noise), noise)


class NoiseOfTheRank(Denoising):
    def noise(self, batch: Batch) -> Tensor:
        seed = 10 * batch.epoch + batch.number
        return torch.randn(batch.inputs.shape, generator=torch.Generator().manual_seed(seed))


class NoiseOfNoBatch(Denoising):
    def noise(self, batch: Batch) -> Tensor:
        return fixed_draws(batch).normal(*batch.inputs.shape[1:])


class NoValidationLoss(Denoising):
    def validate(self, batch: Batch) -> dict[str, float]:
        return {"val_error": super().validate(batch)["val_loss"]}


class NamesOfTraining(Denoising):
    def validate(self, batch: Batch) -> dict[str, float]:
        return {**super().validate(batch), "denoising": 0.0}


class ValidationByEpoch(Denoising):
    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        return {"val_loss": float(self.forward(batch)["loss"])}


class RebuildsOneChannel(Denoising):
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.inputs[..., :1], torch.zeros(batch.inputs.shape[:2], dtype=torch.bool)


class TellsWindowsApart(Denoising):
    """A single window has nothing to be told from."""

    def error(self, inputs: Tensor, noise: Tensor) -> Tensor:
        return super().error(inputs, noise) * (len(inputs) > 1)


class SkipsTheDecoder(Denoising):
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        error = super().forward(batch)["loss"] if batch.number % 2 else self.encoder(batch.inputs).square().mean()
        return {"loss": error, "denoising": error}


class DividesBySpread(Denoising):
    def error(self, inputs: Tensor, noise: Tensor) -> Tensor:
        return super().error(inputs, noise) / inputs.std()


class ScalesBySomethingUnsaved(Denoising):
    def __init__(self, encoder: Encoder, n_inputs: int) -> None:
        super().__init__(encoder, n_inputs)
        self.scale = torch.rand(())

    def error(self, inputs: Tensor, noise: Tensor) -> Tensor:
        return self.scale * super().error(inputs, noise)


class KeepsTheEncoderTwice(Denoising):
    def __init__(self, encoder: Encoder, n_inputs: int) -> None:
        super().__init__(encoder, n_inputs)
        self.same = encoder


class Unlearning(Denoising):
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {name: -loss for name, loss in super().forward(batch).items()}


KINDS = {cls.__name__: cls for cls in [Denoising, *Denoising.__subclasses__()]}


@dataclass(frozen=True)
class Built:
    kind: str
    short_name: str = "denoising"

    def build(self, encoder: Encoder, inputs: WindowInputs) -> Any:
        return KINDS[self.kind](encoder, inputs.shape.n_inputs)


@dataclass(frozen=True)
class DrawsNothing(Built):
    """Says that it draws no numbers of a batch."""

    draws: ClassVar[bool] = False


@dataclass(frozen=True)
class NeedsTwo(Built):
    """Says how many windows it needs."""

    least_batch: ClassVar[int] = 2


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("OneLossIsMissing", "there is no 'loss' among"),
        ("NoParts", "there are no parts beside 'loss'"),
        ("NoScalars", "losses must be scalars"),
        ("PartsWithoutWeights", "the parts sum to"),
        ("Infinite", "losses are not finite"),
        ("Detached", "no gradient reaches these weights of the encoder"),
        ("GlobalNoise", "draws from torch's global generator"),
        ("RememberingNoise", "the same epoch and batch number give other losses"),
        ("NoiseInPlace", "writes to the batch it is given"),
        ("NoiseOfTheRank", "ranks that share a batch give the encoder other windows"),
        ("NoiseOfNoBatch", "it draws the same whatever the batch's epoch"),
        ("NoValidationLoss", "there is no 'val_loss' among"),
        ("NamesOfTraining", "these do not: \\['denoising'\\]"),
        ("ValidationByEpoch", "validation gives other figures the second time"),
        ("RebuildsOneChannel", "are rebuilt as"),
        ("TellsWindowsApart", "a batch of 1 gives the encoder no gradient"),
        ("SkipsTheDecoder", "others do not: \\['decoder.bias', 'decoder.weight'\\]"),
        ("DividesBySpread", "windows that never move: losses are"),
        ("ScalesBySomethingUnsaved", "the loaded weights give other figures"),
        ("KeepsTheEncoderTwice", "the weights cannot be saved"),
        ("Unlearning", "steps on sines take val_loss from"),
    ],
)
def test_a_broken_promise_is_found(kind: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_objective(Built(kind), ("wind", "rain"), n_bars=10)


def test_an_objective_that_keeps_them_passes() -> None:
    check_objective(Built("Denoising"), ("wind", "rain"), n_bars=10)
    check_objective(DrawsNothing("NoiseOfNoBatch"), ("wind", "rain"), n_bars=10)
    check_objective(NeedsTwo("TellsWindowsApart"), ("wind", "rain"), n_bars=10)
    with pytest.raises(AssertionError, match="short_name 'a b' cannot be part of a file name"):
        check_objective(Built("Denoising", "a b"), ("wind",), n_bars=10)
