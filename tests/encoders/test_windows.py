"""Which windows a named encoder takes: its inputs decide, their length only where its layers go by it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from moola.encoders.loading import load_encoder
from moola.encoders.windows import build_for, check_channels, told_difference
from moola.errors import DataError
from moola.features import TRANSFORMS, Transform
from moola.features.anchored import Anchored
from moola.features.standardised import Standardised
from moola.models.bilstm import BiLstm
from moola.models.cnn_transformer import CnnTransformer
from moola.models.encoder import InputShape
from moola.models.gru import Gru
from moola.models.min_gru import MinGru
from moola.models.patch_transformer import PatchTransformer
from moola.models.tcn import Tcn

BARS, SPANS = 12, ((0, 6), (6, 12))
"""Of the windows that the encoders of the room learned from."""
OHLC = ("open", "high", "low", "close")
ANY_LENGTH: list[Any] = [
    BiLstm(hidden=3),
    BiLstm(hidden=3, pooling="spans", span_width=4, mixing=2),
    Gru(hidden=3),
    MinGru(hidden=3),
    Tcn(width=4, hidden=4, depth=2),
    Tcn(width=4, hidden=4, depth=2, pooling="max"),
    Tcn(width=4, hidden=4, depth=2, pooling="levels"),
    Tcn(width=4, hidden=4, depth=None),
    CnnTransformer(channels=2, width=4, heads=2),
    PatchTransformer(patch_bars=3, width=4, heads=2),
]


def shape(n_bars: int, first: int = 5) -> InputShape:
    return InputShape(2, n_bars, ((0, first), (first, n_bars)))


def test_other_inputs_are_refused_with_those_that_were_expected(put) -> None:
    record, _ = put()
    check_channels(record, Standardised(), ("x", "y"))
    with pytest.raises(DataError, match="it takes x, y"):
        check_channels(record, Standardised(), ("y", "x"))


def test_channels_that_the_transform_does_not_read_may_come_and_go(put) -> None:
    learned = dataclasses.replace(
        put()[0], source_channels=(*OHLC, "volume"), inputs=Anchored(returns=False).output_channels(OHLC)
    )
    transform: Transform = TRANSFORMS.build("anchored", {"returns": False}, "transform")
    check_channels(learned, transform, OHLC)
    check_channels(learned, transform, ("close", "low", "spread", "high", "open"))
    with pytest.raises(DataError, match=r"made from open, high, low, close\n.*data.channels=\[open,high,low,close\]"):
        check_channels(learned, transform, ("open", "high", "low", "volume"))


@pytest.mark.parametrize("config", ANY_LENGTH, ids=repr)
def test_windows_of_another_length_are_taken_by_the_module_that_a_run_builds_for_them(room, put, config) -> None:
    put(config=config)
    windows = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(1))
    ready = load_encoder("bilstm_mae_2d_v1", 0, room)
    expected = config.build(shape(9)).eval()
    expected.load_state_dict(ready.encoder.state_dict())
    with torch.no_grad():
        found, wanted = ready.for_windows(shape(9)).encoder.encode(windows), expected.encode(windows)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("config", "n_bars", "said"),
    [
        (Tcn(width=4, hidden=4, depth=None), 40, "its layers go by the length: for 40 bars it has other weights"),
        (PatchTransformer(patch_bars=3, width=4, heads=2), 2, "patch_bars: 3 is more than the 2 bars"),
    ],
)
def test_windows_that_ask_for_other_weights_are_refused_with_how_to_cut_them(put, config, n_bars, said) -> None:
    with pytest.raises(DataError, match=said) as caught:
        build_for(put()[0], config, shape(n_bars, 1))
    assert caught.value.what.endswith(f"{BARS} bars and cannot take {n_bars}")
    assert "data.window.visible=12 data.window.zone=[6,12]" in caught.value.way_out


@pytest.mark.parametrize(
    ("config", "windows", "told"),
    [
        (BiLstm(hidden=3), InputShape(2, BARS, SPANS), ""),
        (BiLstm(hidden=3), shape(BARS), ""),
        (
            BiLstm(hidden=3),
            shape(9),
            "windows of 12 bars (data.window.visible=12 data.window.zone=[6,12]), these have 9",
        ),
        (BiLstm(hidden=3, pooling="spans"), InputShape(2, BARS, SPANS), ""),
        (BiLstm(hidden=3, pooling="spans"), shape(BARS), "these have 12 bars in the parts 0 to 4 and 5 to 11"),
    ],
)
def test_a_difference_is_told_where_the_encoder_can_tell(put, config, windows, told) -> None:
    found = told_difference(put()[0], config.build(windows), windows)
    assert told in found and bool(told) == bool(found)
