"""Every encoder keeps the encoder suite, and the suite finds one that does not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from moola.config import config_folder
from moola.errors import ConfigError
from moola.models import ENCODERS, EncoderConfig
from moola.models.bilstm import BiLstm
from moola.models.cnn_transformer import CnnTransformer
from moola.models.encoder import Encoder, InputShape, pool_states
from moola.models.gru import Gru
from moola.models.level_pooling import LevelPooling
from moola.models.lstm import Lstm
from moola.models.min_gru import MinGru, linear_recurrence
from moola.models.patch_transformer import PatchTransformer, patches
from moola.models.tcn import Tcn
from moola.models.transformer import sinusoidal_positions
from moola.testing import check_encoder

SMALL: dict[str, EncoderConfig] = {
    "bilstm": BiLstm(hidden=3),
    "bilstm of two layers": BiLstm(hidden=3, layers=2, dropout=0.3),
    "bilstm that pools spans": BiLstm(hidden=3, pooling="spans", span_width=4, mixing=5),
    "gru": Gru(hidden=3),
    "gru of two layers": Gru(hidden=3, layers=2, dropout=0.3),
    "tcn": Tcn(width=6, hidden=4, depth=2),
    "tcn as in TS2Vec": Tcn(width=6, hidden=4, depth=2, pooling="max", normalise=False),
    "tcn pooled by levels": Tcn(width=6, hidden=4, depth=None, dropout=0.0, pooling="levels", normalise=False),
    "patch_transformer": PatchTransformer(patch_bars=4, width=8, layers=2, heads=2, dropout=0.3),
    "cnn_transformer": CnnTransformer(kernels=(3, 5), channels=4, width=8, heads=2, dropout=0.3),
    "lstm": Lstm(hidden=3),
    "min_gru": MinGru(hidden=3, dropout=0.3),
}
SEES_ALL = ["bilstm", "gru", "patch_transformer", "cnn_transformer", "min_gru"]


def built(config: EncoderConfig, n_inputs: int = 3, n_bars: int = 20, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return config.build(InputShape(n_inputs, n_bars)).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_encoder_is_tried_here() -> None:
    assert set(ENCODERS.built_in) <= set(SMALL)


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_an_encoder_keeps_the_encoder_suite(config: EncoderConfig) -> None:
    check_encoder(config)


@pytest.mark.parametrize("path", sorted((config_folder() / "encoder").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_names_every_key_of_its_encoder(path: Any) -> None:
    section = yaml.safe_load(path.read_text())
    config = ENCODERS.build_section(section, "encoder")
    assert set(vars(config)) == set(section) - {"name"}
    assert built(config, 4, 105)(noise(1, 105, 4)).shape[:2] == (1, 105)


@pytest.mark.parametrize("name", SEES_ALL)
def test_a_state_sees_the_whole_window(name: str) -> None:
    inputs = noise(1, 20, 3).requires_grad_()
    encoder = built(SMALL[name])
    for bar in (0, 19):
        (reached,) = torch.autograd.grad((encoder(inputs)[0, bar] * noise(encoder.width)).sum(), inputs)
        assert (reached.abs().amax(dim=2) > 0).all()


def test_a_state_of_an_lstm_of_one_direction_sees_what_came_before_it() -> None:
    inputs = noise(1, 20, 3).requires_grad_()
    encoder = built(SMALL["lstm"])
    (reached,) = torch.autograd.grad((encoder(inputs)[0, 8] * noise(encoder.width)).sum(), inputs)
    assert (reached[0].abs().amax(dim=1) > 0).tolist() == [True] * 9 + [False] * 11


@pytest.mark.parametrize("config", [Tcn(depth=1), Tcn(depth=2), Tcn(depth=0, kernel=5)])
def test_a_tcn_state_sees_the_bars_its_documentation_says(config: Tcn) -> None:
    inputs = noise(1, 61, 3).requires_grad_()
    encoder = built(config, n_bars=61)
    (reached,) = torch.autograd.grad((encoder(inputs)[0, 30] * noise(encoder.width)).sum(), inputs)
    bars = (reached[0].abs().amax(dim=1) > 0).nonzero().flatten()
    reach = (config.kernel - 1) * sum(config.dilations(61))
    assert (int(bars.min()), int(bars.max())) == (30 - reach, 30 + reach)


def test_the_last_block_of_a_tcn_repeats_the_widest_dilation() -> None:
    assert Tcn(depth=3).dilations(24) == [1, 2, 4, 4]
    assert Tcn(depth=0).dilations(24) == [1]


@pytest.mark.parametrize(("n_bars", "depth"), [(1, 3), (17, 4), (32, 4), (33, 5), (100, 6), (251, 7), (5000, 8)])
def test_the_depth_of_a_tcn_goes_by_the_length_of_the_windows_where_none_is_given(n_bars: int, depth: int) -> None:
    assert Tcn(depth=None).dilations(n_bars) == Tcn(depth=depth).dilations(n_bars)


def test_a_pooled_state_is_its_extremes_its_mean_and_the_time_it_spends_above_its_levels() -> None:
    pooling = LevelPooling([1])
    pooling.settle(torch.linspace(0, 10, 1001)[None, :, None], lambda inputs: [inputs.transpose(1, 2)])
    torch.testing.assert_close(pooling.levels, torch.tensor([[1.0], [5.0], [9.0]]))
    peaked = torch.tensor([[[0.0] * 7 + [7.0, 7.0, 20.0]]])
    torch.testing.assert_close(pooling([peaked]), torch.tensor([[20.0, 0.0, 3.4, 0.3, 0.3, 0.1]]), atol=0.001, rtol=0)


def test_a_state_that_never_moves_in_the_windows_that_are_known_gives_finite_shares() -> None:
    pooling = LevelPooling([1])
    pooling.settle(torch.full((2, 9, 1), 4.0), lambda inputs: [inputs.transpose(1, 2)])
    above, at, below = (pooling([torch.full((1, 1, 5), value)])[0, 3:].tolist() for value in (5.0, 4.0, 3.0))
    assert (above, at, below) == ([1.0] * 3, [0.5] * 3, [0.0] * 3)


def test_the_levels_look_at_every_block() -> None:
    encoder = built(SMALL["tcn pooled by levels"])
    inputs = noise(2, 20, 3)
    with torch.no_grad():
        before, states = encoder.encode(inputs)[1], encoder(inputs)
        blocks: Any = encoder.get_submodule("blocks")
        blocks[1].second.bias += 1.0
        after = encoder.encode(inputs)[1]
    sizes = [6 * width for width in (4, 4, 4, 4, 6)]
    same = [torch.equal(a, b) for a, b in zip(before.split(sizes, 1), after.split(sizes, 1), strict=True)]
    assert same == [True, False, False, False, False]
    torch.testing.assert_close(before.split(sizes, 1)[-1][:, :6], states.amax(dim=1))


def test_a_settled_encoder_pools_by_the_levels_of_the_windows_it_was_given() -> None:
    encoder = built(SMALL["tcn pooled by levels"])
    inputs = noise(40, 20, 3)
    encoder.settle(inputs)
    with torch.no_grad():
        shares = encoder.encode(inputs)[1][:, 12:24].unflatten(1, (3, 4)).mean(dim=0)  # of the first block
    torch.testing.assert_close(shares, torch.tensor([0.9, 0.5, 0.1])[:, None].expand(3, 4), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", [name for name in SMALL if "lstm" not in name and "gru" not in name] + ["min_gru"])
def test_bfloat16_autocast_gives_nearly_the_same_states(name: str) -> None:
    """On a CPU; the recurrent kernels of PyTorch know no bfloat16 there."""
    encoder, inputs = built(SMALL[name], n_bars=200), noise(4, 200, 3)
    with torch.autocast("cpu", torch.bfloat16):
        states, embedding = encoder.encode(inputs)
    expected = encoder.encode(inputs)
    torch.testing.assert_close(states.float(), expected[0], atol=0.15, rtol=0.05)
    torch.testing.assert_close(embedding.float(), expected[1], atol=0.15, rtol=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gru of two layers", ["recurrent_0", "recurrent_1"]),
        ("bilstm that pools spans", ["recurrent_0", "projection", "mixing"]),
        ("tcn", ["embed", "blocks_0", "blocks_1", "blocks_2"]),
        ("patch_transformer", ["embed", "blocks_0", "blocks_1", "to_bars"]),
        ("cnn_transformer", ["stem", "blocks_0"]),
        ("min_gru", ["embed", "blocks_0", "blocks_1"]),
    ],
)
def test_layers_go_from_the_inputs_to_the_states(name: str, expected: list[str]) -> None:
    layers = built(SMALL[name]).layers()
    assert [layer for layer, _ in layers] == expected


@pytest.mark.parametrize("name", ["gru", "patch_transformer", "cnn_transformer", "min_gru", "tcn"])
def test_the_last_normalisation_goes_with_the_last_layer(name: str) -> None:
    encoder = built(SMALL[name])
    last = {id(value) for value in encoder.layers()[-1][1]}
    norm: Any = encoder.norm
    assert {id(norm.weight), id(norm.bias)} < last


# --- the recurrence of minGRU


def one_bar_after_another(keep: Tensor, new: Tensor) -> Tensor:
    state, states = torch.zeros_like(new[:, 0]), []
    for bar in range(new.shape[1]):
        state = keep[:, bar] * state + new[:, bar]
        states.append(state)
    return torch.stack(states, dim=1)


@given(n_bars=st.integers(1, 130), seed=st.integers(0, 1000))
def test_the_scan_gives_the_states_of_the_loop(n_bars: int, seed: int) -> None:
    gates, new = noise(2, 2, n_bars, 3, seed=seed).double()
    keep = torch.sigmoid(4 * gates)
    torch.testing.assert_close(linear_recurrence(keep, new), one_bar_after_another(keep, new), rtol=1e-12, atol=1e-12)


def test_the_scan_has_the_gradients_of_the_loop() -> None:
    given_keep, given_new = noise(2, 2, 23, 3).double()
    found = []
    for scan in (linear_recurrence, one_bar_after_another):
        keep, new = torch.sigmoid(given_keep).requires_grad_(), given_new.clone().requires_grad_()
        found.append(torch.autograd.grad((scan(keep, new) * noise(2, 23, 3)).sum(), (keep, new)))
    torch.testing.assert_close(*found)


def test_the_scan_keeps_its_digits_over_long_windows() -> None:
    gates, new = noise(2, 1, 3000, 4)
    keep = torch.sigmoid(5 * gates)
    expected = one_bar_after_another(keep.double(), new.double())
    torch.testing.assert_close(linear_recurrence(keep, new).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_gates_that_are_shut_or_open_for_good_forget_all_or_nothing(kept: float) -> None:
    new = noise(2, 17, 3)
    states = linear_recurrence(torch.full_like(new, kept), new)
    torch.testing.assert_close(states, new.cumsum(dim=1) if kept else new)


def test_a_fresh_min_gru_remembers_from_two_bars_to_the_window() -> None:
    block: Any = built(MinGru(hidden=400), n_bars=100).get_submodule("blocks.0")
    memory = 1 / torch.sigmoid(block.gate_and_candidate.bias.detach()[:800])
    assert 2 <= float(memory.min()) < 2.2
    assert 90 < float(memory.max()) <= 101


def test_a_min_gru_block_adds_what_equation_and_direction_say() -> None:
    block: Any = built(SMALL["min_gru"]).get_submodule("blocks.0")
    hidden = noise(2, 20, 6)
    gate, candidate = block.gate_and_candidate(block.norm(hidden)).chunk(2, dim=-1)
    update = torch.sigmoid(gate)
    keep, new = 1 - update, update * candidate
    ahead = one_bar_after_another(keep, new)[..., :3]
    back = one_bar_after_another(keep.flip(1), new.flip(1)).flip(1)[..., 3:]
    torch.testing.assert_close(block(hidden), hidden + torch.cat([ahead, back], dim=-1))


def test_the_scan_of_a_min_gru_stays_in_float32_under_autocast() -> None:
    block: Any = built(SMALL["min_gru"]).get_submodule("blocks.0")
    with torch.autocast("cpu", torch.bfloat16):
        assert block(noise(2, 20, 6).bfloat16()).dtype == torch.float32


# --- patches and positions


def test_patches_hold_neighbouring_bars_and_the_last_bar_ends_one() -> None:
    inputs = torch.arange(10.0).reshape(1, 5, 2)
    assert patches(inputs[:, 1:], 2).tolist() == [[[2, 3, 4, 5], [6, 7, 8, 9]]]
    assert patches(inputs, 2).tolist() == [[[0, 1, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]]


def test_a_window_that_fills_no_whole_patches_is_read_as_if_its_first_bar_came_before() -> None:
    encoder = built(SMALL["patch_transformer"])
    inputs = noise(2, 18, 3)
    longer = torch.cat([inputs[:, :1], inputs[:, :1], inputs], dim=1)
    torch.testing.assert_close(encoder(inputs), encoder(longer)[:, 2:])


def test_bars_of_one_patch_have_states_of_their_own() -> None:
    states = built(SMALL["patch_transformer"])(noise(1, 20, 3))[0].unflatten(0, (-1, 4))
    assert (states[:, 1:] - states[:, :-1]).abs().amax(dim=2).min() > 1e-3


def test_positions_are_distances_from_the_last_step() -> None:
    positions = sinusoidal_positions(9, 6, torch.device("cpu"))
    assert positions[-1].tolist() == [0, 0, 0, 1, 1, 1]
    assert float(positions[-3, 0]) == pytest.approx(math.sin(2))
    torch.testing.assert_close(sinusoidal_positions(4, 6, torch.device("cpu")), positions[-4:])


@pytest.mark.parametrize("name", ["patch_transformer", "cnn_transformer"])
def test_a_transformer_tells_bars_apart_by_their_place_alone(name: str) -> None:
    states = built(SMALL[name])(torch.ones(1, 20, 3))[0]
    assert (states[9] - states[13]).abs().max() > 1e-2


# --- wrong settings


@pytest.mark.parametrize(
    ("wrong", "problems"),
    [
        (lambda: Gru(hidden=0, layers=0, dropout=1.0), 3),
        (lambda: Gru(dropout=0.5), 1),
        (lambda: Gru(mixing=8), 1),
        (lambda: Tcn(width=0, hidden=0, depth=-1, kernel=2, dropout=-0.1), 5),
        (lambda: PatchTransformer(patch_bars=0, width=7, layers=0, heads=2, dropout=1.0), 5),
        (lambda: PatchTransformer(heads=0), 1),
        (lambda: CnnTransformer(kernels=(), channels=0, width=7, layers=0, heads=2, dropout=1.0), 6),
        (lambda: CnnTransformer(kernels=(3, 4)), 1),
        (lambda: MinGru(hidden=0, layers=0, dropout=1.0), 3),
    ],
)
def test_wrong_settings_are_all_told(wrong: Any, problems: int) -> None:
    with pytest.raises(ConfigError) as caught:
        wrong()
    assert len(caught.value.problems) == problems


def test_more_than_ten_layers_hold_every_weight_once() -> None:
    encoder = built(Gru(hidden=2, layers=12))
    layers = encoder.layers()
    assert [name for name, _ in layers] == [f"recurrent_{number}" for number in range(12)]
    held = [id(value) for _, values in layers for value in values]
    assert sorted(held) == sorted(map(id, encoder.parameters()))


def test_a_patch_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.patch_bars: 5 is more than the 4 bars of a window"):
        PatchTransformer().build(InputShape(3, 4))


# --- the suite itself


@dataclass(frozen=True)
class Built:
    """A configuration that builds the encoder class it holds by name."""

    kind: str

    def build(self, shape: InputShape) -> Encoder:
        return BROKEN[self.kind][0](shape)


class Plain(Encoder):
    """One linear layer, and nothing wrong with it."""

    def __init__(self, shape: InputShape) -> None:
        super().__init__()
        self.width, self.embedding_width = 4, 12
        self.linear = nn.Linear(shape.n_inputs, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs)

    def pool(self, states: Tensor) -> Tensor:
        return pool_states(states)


class OtherWidth(Plain):
    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        self.width = 5


class OtherEmbedding(Plain):
    def pool(self, states: Tensor) -> Tensor:
        return states.mean(dim=1)


class OtherStates(Plain):
    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        states = self(inputs) + 1
        return states, self.pool(states)


class Double(Plain):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).double()


class OwnSeed(Plain):
    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)


class Unseeded(Plain):
    count = 0.0

    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        Unseeded.count += 1
        nn.init.constant_(self.linear.bias, Unseeded.count)


class Forgotten(Plain):
    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        return [("linear", [self.linear.weight])]


class Doubled(Plain):
    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        return [("a", list(self.linear.parameters())), ("b", list(self.linear.parameters()))]


class Writing(Plain):
    def forward(self, inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            inputs.mul_(2)
        return super().forward(inputs)


class Dropping(Plain):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.dropout(super().forward(inputs), 0.5, True)


class Centred(Plain):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs - inputs.mean(dim=0))


class Positioned(Plain):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + torch.arange(len(inputs)).reshape(-1, 1, 1)


class BatchNormed(Plain):
    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.norm(super().forward(inputs).transpose(1, 2)).transpose(1, 2)


class Learning(Plain):
    """Counts calls while training, and the count shows in its outputs."""

    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls = self.calls + 1
        return super().forward(inputs) + self.calls


class Idle(Plain):
    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        self.spare = nn.Linear(2, 2)


class Unsaved(Plain):
    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        self.register_buffer("offset", torch.rand(1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + self.offset


class Scaled(Plain):
    """Divides by the spread of the window, which may be 0."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs / inputs.std(dim=(1, 2), keepdim=True, unbiased=False))


class Rooted(Plain):
    """The gradient of the square root at 0 is infinite."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.abs().sqrt())


class Shifting(Plain):
    """Its states move when it settles."""

    def settle(self, inputs: Tensor) -> None:
        nn.init.zeros_(self.linear.weight)


class OnePart(Plain):
    """It forgets that windows may have parts."""

    def __init__(self, shape: InputShape) -> None:
        super().__init__(shape)
        self.parts = len(shape.spans or ((0, shape.n_bars),))
        self.embedding_width *= self.parts


class Growing(Plain):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * 1.1 ** torch.arange(inputs.shape[1])[:, None]


BROKEN: dict[str, tuple[type[Encoder], str]] = {
    "OtherWidth": (OtherWidth, "width=5 announces"),
    "OtherEmbedding": (OtherEmbedding, "embedding_width announces"),
    "OtherStates": (OtherStates, r"encode\(\) gives other states"),
    "Double": (Double, "float32 windows on cpu give"),
    "OwnSeed": (OwnSeed, "two seeds give the same encoder"),
    "Unseeded": (Unseeded, "the same seed gives another encoder"),
    "Forgotten": (Forgotten, r"layers\(\) leaves out \['linear.bias'\]"),
    "Doubled": (Doubled, "more than once"),
    "Writing": (Writing, "writes to the windows"),
    "Dropping": (Dropping, "is dropout on"),
    "Centred": (Centred, "depend on the others: alone"),
    "Positioned": (Positioned, "depend on the others"),
    "BatchNormed": (BatchNormed, "depend on the others while training"),
    "Learning": (Learning, "changes the embedding"),
    "Idle": (Idle, r"no gradient reaches \['spare"),
    "Unsaved": (Unsaved, r"something is not in state_dict\(\)"),
    "Scaled": (Scaled, "windows of zeros give states that are not finite"),
    "Rooted": (Rooted, "gradients that are not finite"),
    "Shifting": (Shifting, r"settle\(\) changes the states"),
    "OnePart": (OnePart, "embedding_width announces"),
    "Growing": (Growing, "windows of 1500 bars"),
}


def test_the_suite_passes_a_plain_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BROKEN, "Plain", (Plain, ""))
    before = torch.get_rng_state()
    check_encoder(Built("Plain"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", BROKEN)
def test_the_suite_says_what_is_wrong(kind: str) -> None:
    with pytest.raises(AssertionError, match=BROKEN[kind][1]):
        check_encoder(Built(kind))
