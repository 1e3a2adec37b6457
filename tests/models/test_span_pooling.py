"""Parts of a window are pooled by themselves, by the same weights."""

from __future__ import annotations

import pytest
import torch

from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.models.span_pooling import SpanPooling

SHAPE = InputShape(n_inputs=2, n_bars=20, spans=((0, 8), (8, 20)))


def pooling(mixing: int = 0, shape: InputShape = SHAPE) -> SpanPooling:
    torch.manual_seed(0)
    return SpanPooling(shape, width=3, span_width=4, mixing=mixing)


def states(n_bars: int = 20, seed: int = 1) -> torch.Tensor:
    return torch.randn(5, n_bars, 3, generator=torch.Generator().manual_seed(seed))


def test_a_pooled_span_holds_mean_extremes_and_ends() -> None:
    one = pooling()
    given = states()[:, 3:7]
    raw = [given.mean(1), given.max(1).values, given.min(1).values, given[:, 0], given[:, -1]]
    assert torch.equal(one.pool_span(given), one.projection(torch.cat(raw, dim=1)))


def test_each_part_stands_by_itself() -> None:
    one, given = pooling(), states()
    embedding = one(given)
    assert embedding.shape == (5, one.embedding_width) == (5, 8)
    assert torch.equal(embedding[:, :4], one.pool_span(given[:, :8]))
    assert torch.equal(embedding[:, 4:], one.pool_span(given[:, 8:]))
    changed = given.clone()
    changed[:, 8:] += 1
    assert torch.equal(one(changed)[:, :4], embedding[:, :4])
    assert not torch.equal(one(changed)[:, 4:], embedding[:, 4:])


def test_mixing_puts_a_layer_over_all_parts_beside_them() -> None:
    one, given = pooling(mixing=6), states()
    parts = [one.pool_span(given[:, :8]), one.pool_span(given[:, 8:])]
    assert one(given).shape == (5, one.embedding_width) == (5, 14)
    assert torch.equal(one(given), torch.cat([*parts, one.mix(parts)], dim=1))


def test_without_parts_the_whole_window_is_one() -> None:
    one, given = pooling(shape=InputShape(2, 20)), states()
    assert torch.equal(one(given), one.pool_span(given))


@pytest.mark.parametrize("n_bars", [1, 2, 5, 19, 21, 40])
def test_windows_of_another_length_keep_the_share_of_each_part(n_bars: int) -> None:
    one = pooling()
    bounds = one._bounds(n_bars)
    assert all(0 <= first < end <= n_bars for first, end in bounds)
    if n_bars == 40:
        assert bounds == [(0, 16), (16, 40)]
    assert one(states(n_bars)).isfinite().all()


def test_the_embedding_of_a_recurrent_encoder_tells_where_something_happened() -> None:
    torch.manual_seed(0)
    encoder = BiLstm(hidden=3, pooling="spans", span_width=4).build(SHAPE)
    assert encoder.embedding_width == 8
    given, embedding = encoder.encode(torch.randn(2, 20, 2))
    assert encoder.pooling is not None
    assert torch.equal(embedding, encoder.pooling(given))
