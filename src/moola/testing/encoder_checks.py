"""What an encoder keeps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from moola.models import EncoderConfig
from moola.testing.component import check_component
from moola.testing.randomness import own_randomness

if TYPE_CHECKING:
    from torch import Tensor

    from moola.models.encoder import Encoder, InputShape

_LONG_BARS = 1500


def check_encoder(config: EncoderConfig, n_inputs: int = 5, n_bars: int = 24) -> None:
    """Raise `AssertionError`, with what was found, unless the encoder keeps all of this.

    All of it for windows whose parts are told apart, and for windows that are one part.

    - Its states and embedding have the announced widths, for windows of any length, on the CPU and a CUDA device.
    - One seed gives one set of weights, two seeds two; they survive a safetensors file.
    - In evaluation it is deterministic; inputs stay as they are, and their memory layout does not matter.
    - A window's outputs come from that window alone, while training too.
    - `settle` changes no state and no weight, gives the same from the same windows, and is saved with the weights.
    - A gradient reaches every weight, and `layers` holds every weight once.
    - Windows that never move, large numbers and long windows give finite outputs and gradients.

    Args:
        config: of the encoder; a small one keeps the suite quick.
        n_inputs: channels of the windows it is tried on.
        n_bars: bars of most of them.
    """
    from moola.models.encoder import InputShape

    check_component(config)
    halves = ((0, n_bars // 2), (n_bars // 2, n_bars))
    for spans in ((), halves):
        with own_randomness(0):
            _check_built(config, InputShape(n_inputs, n_bars, spans))


def _check_built(config: EncoderConfig, shape: InputShape) -> None:
    import torch

    encoder = _built(config, shape, seed=0)
    inputs = torch.randn(4, shape.n_bars, shape.n_inputs, generator=torch.Generator().manual_seed(1))
    _check_evaluation(encoder, inputs)
    _check_shapes(encoder, inputs)
    _check_seed(config, encoder, shape)
    _check_layers(encoder)
    _check_independence(encoder, inputs)
    _check_training_independence(encoder, inputs)
    _check_gradients(encoder, inputs)
    _check_saving(encoder, _built(config, shape, seed=1), inputs)
    _check_finite(encoder, inputs)
    _check_settling(encoder, _built(config, shape, seed=1), inputs)


def _built(config: EncoderConfig, shape: InputShape, seed: int) -> Encoder:
    import torch

    torch.manual_seed(seed)
    return config.build(shape).eval()


def _outputs(encoder: Encoder, inputs: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    with torch.no_grad():
        return encoder.encode(inputs)


def _check_evaluation(encoder: Encoder, inputs: Tensor) -> None:
    import torch

    before = inputs.clone()
    states, embedding = _outputs(encoder, inputs)
    assert torch.equal(inputs, before), "it writes to the windows it is given"
    again = _outputs(encoder, inputs)
    same = torch.equal(states, again[0]) and torch.equal(embedding, again[1])
    assert same, "in evaluation two calls differ: is dropout on?"
    turned = _outputs(encoder, inputs.transpose(0, 1).contiguous().transpose(0, 1))[1]
    assert torch.allclose(turned, embedding, atol=1e-5), "outputs depend on the memory layout of the windows"


def _check_shapes(encoder: Encoder, inputs: Tensor) -> None:
    import torch

    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        encoder.to(device)
        for n_bars in sorted({1, 2, 3, inputs.shape[1] - 1, inputs.shape[1], inputs.shape[1] + 1}):
            windows = torch.cat([inputs, inputs], dim=1)[:, :n_bars].to(device)
            states, embedding = _outputs(encoder, windows)
            form, announced = tuple(states.shape), (len(windows), n_bars, encoder.width)
            assert form == announced, f"states are {form}, and width={encoder.width} announces {announced}"
            form, announced = tuple(embedding.shape), (len(windows), encoder.embedding_width)
            assert form == announced, f"the embedding is {form}, and embedding_width announces {announced}"
            with torch.no_grad():
                same = torch.allclose(encoder(windows), states, atol=1e-5)
                assert same, "encode() gives other states than the call"
            found = (states.dtype, states.device.type, embedding.dtype, embedding.device.type)
            assert found == (torch.float32, device) * 2, f"float32 windows on {device} give {found}"
    encoder.cpu()


def _check_seed(config: EncoderConfig, encoder: Encoder, shape: InputShape) -> None:
    import torch

    weights = encoder.state_dict()
    twin, other = (_built(config, shape, seed).state_dict() for seed in (0, 1))
    same = twin.keys() == weights.keys() and all(torch.equal(twin[name], weights[name]) for name in weights)
    assert same, "the same seed gives another encoder"
    assert any(not torch.equal(other[name], weights[name]) for name in weights), "two seeds give the same encoder"


def _check_layers(encoder: Encoder) -> None:
    layers = encoder.layers()
    names = [name for name, _ in layers]
    assert len(set(names)) == len(names), f"names of layers repeat: {names}"
    empty = [name for name, parameters in layers if not parameters]
    assert not empty, f"layers without weights: {empty}"
    listed = [id(value) for _, parameters in layers for value in parameters]
    own = {id(value): name for name, value in encoder.named_parameters()}
    missing = [name for key, name in own.items() if key not in listed]
    assert not missing, f"layers() leaves out {missing}"
    twice = sorted({own.get(key, "?") for key in listed if listed.count(key) > 1})
    assert not twice, f"layers() holds {twice} more than once"
    assert set(listed) == own.keys(), "layers() holds weights that are not the encoder's"


def _check_independence(encoder: Encoder, inputs: Tensor) -> None:

    outputs = _outputs(encoder, inputs)
    for rows, what in (([1], "alone"), ([2, 0, 3, 1], "in another order"), ([3, 3], "beside a copy of itself")):
        some = _outputs(encoder, inputs[rows])
        for name, value, expected in zip(("states", "embedding"), some, outputs, strict=True):
            moved = float((value - expected[rows]).abs().max())
            assert moved < 1e-4, f"{name} of a window depend on the others: {what} they move by {moved:.2g}"


def _check_training_independence(encoder: Encoder, inputs: Tensor) -> None:
    """By gradients, so that dropout does not matter; normalisation over a batch shows only here."""
    import torch

    given = inputs.clone().requires_grad_()
    before = _outputs(encoder, inputs)[1]
    encoder.train()
    try:
        _score(*(outputs[:1] for outputs in encoder.encode(given))).backward()
    finally:
        encoder.eval()
        encoder.zero_grad()
    assert given.grad is not None, "outputs do not depend on the windows"
    reached = given.grad.abs().amax(dim=(1, 2)) > 0
    assert reached[0], "outputs of a window do not depend on it"
    assert not reached[1:].any(), "outputs of a window depend on the others while training"
    same = torch.equal(_outputs(encoder, inputs)[1], before)
    assert same, "a call while training, without a step of an optimiser, changes the embedding"


def _check_gradients(encoder: Encoder, inputs: Tensor) -> None:
    _score(*encoder.encode(inputs)).backward()
    still = [
        name
        for name, value in encoder.named_parameters()
        if value.requires_grad and (value.grad is None or not value.grad.any())
    ]
    encoder.zero_grad()
    assert not still, f"no gradient reaches {still}"


def _check_saving(encoder: Encoder, other: Encoder, inputs: Tensor) -> None:
    import torch

    from moola.training.weights import load_weights, save_weights, transfer_weights

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_weights(path, encoder.state_dict())
        transfer_weights(other, load_weights(path))
    same = torch.equal(_outputs(encoder, inputs)[1], _outputs(other, inputs)[1])
    assert same, "after its weights were written and read it gives another embedding: something is not in state_dict()"


def _check_settling(encoder: Encoder, other: Encoder, inputs: Tensor) -> None:
    import torch

    weights = {name: value.clone() for name, value in encoder.named_parameters()}
    states = _outputs(encoder, inputs)[0]
    encoder.settle(inputs)
    settled = _outputs(encoder, inputs)
    assert torch.equal(settled[0], states), "settle() changes the states"
    still = all(torch.equal(value, weights[name]) for name, value in encoder.named_parameters())
    assert still, "settle() changes a weight"
    assert not encoder.training, "settle() leaves the evaluation mode"
    encoder.settle(inputs)
    assert torch.equal(_outputs(encoder, inputs)[1], settled[1]), "settle() gives another embedding the second time"
    _check_saving(encoder, other, inputs)
    _check_finite(encoder, inputs)


def _check_finite(encoder: Encoder, inputs: Tensor) -> None:
    import torch

    generator = torch.Generator().manual_seed(2)
    cases = {
        "of zeros": torch.zeros_like(inputs),
        "that never move": inputs[:, :1].expand_as(inputs),
        "of large numbers": inputs * 1e4,
        f"of {_LONG_BARS} bars": torch.randn(1, _LONG_BARS, inputs.shape[2], generator=generator) * 3,
    }
    for what, windows in cases.items():
        given = windows.clone().requires_grad_()
        states, embedding = encoder.encode(given)
        assert torch.isfinite(states).all(), f"windows {what} give states that are not finite"
        assert torch.isfinite(embedding).all(), f"windows {what} give an embedding that is not finite"
        _score(states, embedding).backward()
        gradients = {"inputs": given.grad, **{name: value.grad for name, value in encoder.named_parameters()}}
        wrong = [name for name, value in gradients.items() if value is not None and not torch.isfinite(value).all()]
        encoder.zero_grad()
        assert not wrong, f"windows {what} give gradients that are not finite: {wrong}"


def _score(states: Tensor, embedding: Tensor) -> Tensor:
    """A number that depends on every output; a plain sum would not, where outputs are normalised."""
    import torch

    generator = torch.Generator().manual_seed(3)
    return sum(
        ((values * torch.randn(values.shape, generator=generator)).sum() for values in (states, embedding)),
        start=torch.zeros(()),
    )
