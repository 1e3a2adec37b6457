"""What a pretraining objective has to keep: losses that add up, draws that can be repeated, an encoder that learns."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.features.candles import OHLC
from moola.models import EncoderConfig
from moola.pretraining import ObjectiveConfig, Reconstructing, WindowInputs, least_batch
from moola.testing.batches import make_batch
from moola.testing.component import check_component
from moola.testing.randomness import own_randomness
from moola.testing.transform_checks import random_bars

if TYPE_CHECKING:
    from torch import Tensor

    from moola.data.device_batches import Batch

_STEPS = 30
_BATCHES = 5


def check_objective(
    config: ObjectiveConfig,
    channels: tuple[str, ...] = OHLC,
    n_bars: int = 32,
    encoder: EncoderConfig | None = None,
) -> None:
    """Everything `moola.pretraining.Objective` promises, on a small recurrent encoder and random bars.

    - ``loss`` and its parts are finite scalars; the parts sum to it; its gradient reaches every weight of the encoder,
      and the same other weights in every batch, as processes that train together count on.
    - The losses of a batch depend on seed, epoch and batch number alone, not on torch's global generator, and change
      nothing; another epoch or number draws others. A configuration that draws nothing says so: ``draws = False``.
    - Ranks that share a batch give the encoder what one process gives it.
    - Validation gives ``val_loss`` and names that begin with ``val_``, the same for every epoch and whatever was
      trained before; what is rebuilt has the form of the inputs.
    - A batch of one window, or of the ``least_batch`` that the configuration declares, teaches the encoder something.
    - One window, equal windows and windows that never move give finite losses and gradients.
    - The weights can be saved and loaded, and 30 steps on sines bring ``val_loss`` below its start.

    Args:
        config: of the objective.
        channels: of the bars to try it on; see `moola.testing.transform_checks.random_bars`.
        n_bars: bars a window; its halves are told apart.
        encoder: to wrap; None: a small recurrent one.

    Raises:
        AssertionError: the first promise that is broken, with what was found.
    """
    from moola.models.bilstm import BiLstm

    check_component(config)
    short_name = getattr(config, "short_name", "name")
    assert str(short_name).isidentifier(), f"short_name {short_name!r} cannot be part of a file name"
    batch = _batch(random_bars(channels, 8, n_bars))
    build = functools.partial(_build, config, encoder or BiLstm(hidden=6), channels)
    _check_losses(build(batch), batch)
    _check_gradients(build(batch), batch)
    _check_same_weights(build(batch), batch)
    _check_draws(build(batch), batch, draws=getattr(config, "draws", True))
    _check_ranks(build(batch), batch)
    _check_validation(build(batch), batch)
    _check_least_batch(build(batch), batch.bars[: least_batch(config)])
    _check_odd_windows(build(batch), batch.bars)
    _check_saving(build, batch)
    _check_learning(build, channels, n_bars)


def _build(
    config: ObjectiveConfig, encoder: EncoderConfig, channels: tuple[str, ...], batch: Batch, seed: int = 0
) -> Any:
    """A fresh objective in evaluation mode, so that dropout does not stand in the way."""
    import torch

    from moola.models.encoder import InputShape

    _, n_bars, n_inputs = batch.inputs.shape
    shape = InputShape(n_inputs, n_bars, ((0, n_bars // 2), (n_bars // 2, n_bars)))
    with own_randomness(seed):
        objective: Any = config.build(encoder.build(shape), WindowInputs(shape, channels, _inputs))
    assert isinstance(objective, torch.nn.Module), f"build() gives a {type(objective).__name__}, not a torch module"
    return objective.eval()


def _inputs(bars: Tensor) -> Tensor:
    """The transform of this suite: [B, T, C] -> [B, T, C]."""
    from moola.features.standardised import Standardised

    return Standardised().apply(bars, ())


def _batch(bars: Tensor, number: int = 0) -> Batch:
    return make_batch(_inputs(bars), bars, number=number)


def _check_losses(objective: Any, batch: Batch) -> None:
    losses = objective(batch)
    assert "loss" in losses, f"there is no 'loss' among {sorted(losses)}"
    assert len(losses) > 1, "there are no parts beside 'loss'"
    shapes = {name: tuple(value.shape) for name, value in losses.items() if value.shape != ()}
    assert not shapes, f"losses must be scalars; these have shapes: {shapes}"
    values = _plain(losses)
    assert all(map(math.isfinite, values.values())), f"losses are not finite: {values}"
    total = sum(value for name, value in values.items() if name != "loss")
    assert math.isclose(total, values["loss"], rel_tol=1e-4, abs_tol=1e-6), (
        f"the parts sum to {total:.6g}, and the loss is {values['loss']:.6g}: {values}"
    )


def _check_gradients(objective: Any, batch: Batch) -> None:
    objective(batch)["loss"].backward()
    encoder = objective.encoder
    still = [name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still, f"no gradient reaches these weights of the encoder: {still}"


def _check_same_weights(objective: Any, batch: Batch) -> None:
    reached: set[tuple[str, ...]] = set()
    for number in range(_BATCHES):
        objective.zero_grad(set_to_none=True)
        objective(dataclasses.replace(batch, number=number))["loss"].backward()
        reached.add(tuple(name for name, weight in objective.named_parameters() if weight.grad is not None))
    changing = sorted(set().union(*reached) - set(min(reached, key=len)))
    assert len(reached) == 1, f"some batches give these weights a gradient and others do not: {changing}"


def _check_draws(objective: Any, batch: Batch, *, draws: bool) -> None:
    import torch

    given = batch.inputs.clone(), batch.bars.clone()
    first = _plain(objective(batch))
    kept = torch.equal(batch.inputs, given[0]) and torch.equal(batch.bars, given[1])
    assert kept, "it writes to the batch it is given"
    with own_randomness(99):
        before = torch.get_rng_state()
        again = _plain(objective(batch))
        assert torch.equal(before, torch.get_rng_state()), "it draws from torch's global generator"
    for place in ("epoch", "number"):
        other = _plain(objective(dataclasses.replace(batch, **{place: 5})))
        assert not draws or other != first, f"it draws the same whatever the batch's {place}; see Batch.draws()"
    assert again == first == _plain(objective(batch)), "the same epoch and batch number give other losses"


def _check_ranks(objective: Any, batch: Batch) -> None:
    """Whether every window reaches the encoder in the same form, in the whole batch and in the parts of two ranks."""
    import torch

    whole = _given_to_encoder(objective, [batch])
    shared = _given_to_encoder(objective, [_rows(batch, 0, 5), _rows(batch, 5, 8)])
    told = "ranks that share a batch give the encoder other windows than one process: draw for the whole batch"
    assert {length: len(rows) for length, rows in whole.items()} == {n: len(rows) for n, rows in shared.items()}, told
    for length, rows in whole.items():
        distances = (rows[:, None] - shared[length][None]).abs().amax(dim=-1)
        nearest = torch.cat([distances.amin(dim=0), distances.amin(dim=1)])
        assert float(nearest.max()) < 1e-4, told


def _given_to_encoder(objective: Any, batches: list[Batch]) -> dict[int, Tensor]:
    """Every window that the encoder gets, by length: [n, length * D]."""
    import torch

    seen: dict[int, list[Tensor]] = {}

    def note(_: object, arguments: tuple[Tensor, ...]) -> None:
        windows = arguments[0].detach()
        seen.setdefault(windows.shape[1], []).append(windows.flatten(1))

    handle = objective.encoder.register_forward_pre_hook(note)
    try:
        for batch in batches:
            objective(batch)
    finally:
        handle.remove()
    return {length: torch.cat(rows) for length, rows in seen.items()}


def _rows(batch: Batch, first: int, end: int) -> Batch:
    """What the rank with these windows gets of a batch."""
    return dataclasses.replace(
        batch,
        inputs=batch.inputs[first:end],
        bars=batch.bars[first:end],
        index=batch.index[first:end],
        first=first,
    )


def _check_validation(objective: Any, batch: Batch) -> None:
    import torch

    figures = objective.validate(batch)
    assert "val_loss" in figures, f"there is no 'val_loss' among {sorted(figures)}"
    wrong = [name for name in figures if not name.startswith("val_")]
    assert not wrong, f"figures of validation begin with 'val_'; these do not: {wrong}"
    finite = all(isinstance(value, float) and math.isfinite(value) for value in figures.values())
    assert finite, f"figures of validation are finite floats, not {figures}"
    with own_randomness(99):
        objective(batch)
        again = objective.validate(dataclasses.replace(batch, epoch=7))
    assert again == figures, f"validation gives other figures the second time: {figures}, then {again}"
    if isinstance(objective, Reconstructing):
        rebuilt, mask = objective.reconstruct(batch)
        shape = tuple(batch.inputs.shape)
        assert rebuilt.shape == shape, f"inputs {shape} are rebuilt as {tuple(rebuilt.shape)}"
        assert mask.dtype == torch.bool, f"the mask is {mask.dtype}, not bool"
        assert mask.shape == shape[:2], f"the mask of inputs {shape} is {tuple(mask.shape)}"
        assert not rebuilt.requires_grad, "what is rebuilt carries a gradient"


def _check_least_batch(objective: Any, bars: Tensor) -> None:
    objective(_batch(bars))["loss"].backward()
    taught = any(weight.grad is not None and weight.grad.any() for weight in objective.encoder.parameters())
    assert taught, f"a batch of {len(bars)} gives the encoder no gradient: declare the fewest windows as least_batch"


def _check_odd_windows(objective: Any, bars: Tensor) -> None:
    cases = {
        "one window": bars[:1],
        "equal windows": bars[:1].expand(4, -1, -1),
        "windows that never move": bars[:4, :1].expand(-1, bars.shape[1], -1),
        "one window that never moves": bars[:1, :1].expand(-1, bars.shape[1], -1),
    }
    for what, some in cases.items():
        batch = _batch(some.contiguous())
        objective.zero_grad()
        losses = objective(batch)
        assert all(map(math.isfinite, _plain(losses).values())), f"{what}: losses are {_plain(losses)}"
        losses["loss"].backward()
        broken = [n for n, w in objective.named_parameters() if w.grad is not None and not w.grad.isfinite().all()]
        assert not broken, f"{what}: the gradient of {broken} is not finite"
        figures = objective.validate(batch)
        assert all(map(math.isfinite, figures.values())), f"{what}: figures of validation are {figures}"


def _check_saving(build: Callable[..., Any], batch: Batch) -> None:
    from moola.training.weights import load_weights, save_weights

    saved, other = build(batch), build(batch, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objective.safetensors"
        try:
            save_weights(path, saved.state_dict())
        except (RuntimeError, ValueError) as error:
            raise AssertionError(f"the weights cannot be saved: {error}") from error
        other.load_state_dict(load_weights(path))
    assert other.validate(batch) == saved.validate(batch), "the loaded weights give other figures: not all are saved"


def _check_learning(build: Callable[..., Any], channels: tuple[str, ...], n_bars: int) -> None:
    import torch

    train, held_out = _sines(channels, 32, n_bars, seed=0), _batch(_sines(channels, 32, n_bars, seed=1))
    objective = build(held_out)
    start = objective.validate(held_out)["val_loss"]
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    objective.train()
    for number in range(_STEPS):
        optimiser.zero_grad()
        objective(_batch(train, number=number))["loss"].backward()
        optimiser.step()
    end = objective.eval().validate(held_out)["val_loss"]
    assert end < start, f"{_STEPS} steps on sines take val_loss from {start:.4g} to {end:.4g}"


def _sines(channels: tuple[str, ...], n_windows: int, n_bars: int, seed: int) -> Tensor:
    """Sines of random phase and period in every channel; candles around them where there are candles."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    phase, period = torch.rand(2, n_windows, 1, 1, generator=generator)
    path = 100 + 5 * torch.sin(2 * math.pi * (phase + torch.arange(n_bars)[None, :, None] / (8 + 16 * period)))
    bars = path.repeat(1, 1, len(channels))
    if set(OHLC) <= set(channels):
        columns = [channels.index(name) for name in OHLC]
        candles = random_bars(OHLC, n_windows, n_bars, seed)
        bars[..., columns] = candles * path / candles[..., 3:]
    return bars


def _plain(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}
