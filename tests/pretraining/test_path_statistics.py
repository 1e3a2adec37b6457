"""How far prices went in a span, and the pooling that learns it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from moola.data.device_batches import Batch
from moola.data.draws import Draws
from moola.errors import ConfigError, DataError
from moola.features.candles import OHLC
from moola.models.bilstm import BiLstm
from moola.models.encoder import Encoder, InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.path_statistics import PathStatistics, PathStatisticsObjective
from moola.pretraining.path_targets import (
    SPREADS_TR,
    draw_neighbours,
    draw_spans,
    log_prices,
    path_statistics,
    span_relations,
)
from moola.testing import check_objective, make_batch
from moola.testing.transform_checks import random_bars

SHAPE = InputShape(4, 20)


def pooling_spans(mixing: int = 0) -> Encoder:
    shape = InputShape(4, 20, ((0, 8), (8, 20)))
    return BiLstm(hidden=4, pooling="spans", span_width=3, mixing=mixing).build(shape)


def objective_of(encoder: Encoder, channels: tuple[str, ...] = OHLC, **settings: float) -> PathStatisticsObjective:
    inputs = WindowInputs(SHAPE, channels, lambda bars: bars.log())
    return PathStatistics(**settings).build(encoder, inputs)  # type: ignore[arg-type]


def batch_of() -> Batch:
    bars = random_bars(OHLC, 6, 20)
    return make_batch(bars.log(), bars)


@given(seed=st.integers(0, 500), first=st.integers(0, 17), length=st.integers(2, 20))
def test_statistics_are_those_of_the_span_in_units_of_the_window(seed: int, first: int, length: int) -> None:
    prices = random_bars(OHLC, 2, 20, seed).double()
    span = range(20)[first : first + length]
    found = path_statistics(log_prices(prices), slice(first, first + length))
    for window, logs in enumerate(prices.log().tolist()):
        unit = sum(high - low for _, high, low, _ in logs) / 20
        net = (logs[span[-1]][3] - logs[span[0]][3]) / unit
        highest, lowest = max(logs[t][1] for t in span), min(logs[t][2] for t in span)
        assert float(found["net"][window]) == pytest.approx(net, abs=1e-9)
        assert float(found["distance"][window]) == pytest.approx(abs(net), abs=1e-9)
        assert float(found["range"][window]) == pytest.approx((highest - lowest) / unit)
        mean = sum(logs[t][1] - logs[t][2] for t in span) / len(span)
        assert float(found["bar_range"][window]) == pytest.approx(mean / unit)


@given(seed=st.integers(0, 10_000), n_bars=st.integers(2, 60), data=st.data())
def test_spans_lie_in_the_window_and_are_long_enough(seed: int, n_bars: int, data: st.DataObject) -> None:
    min_bars = data.draw(st.integers(2, n_bars))
    spans = draw_spans(Draws(seed, 4, slice(None), torch.device("cpu")), n_bars, 5, min_bars)
    assert len(spans) == 5
    for span in spans:
        assert 0 <= span.start < span.stop <= n_bars
        assert span.stop - span.start >= min_bars


def test_the_pooling_of_an_encoder_that_has_one_is_trained_and_stays_its_own() -> None:
    encoder = pooling_spans()
    objective = objective_of(encoder)
    assert objective.head.in_features == 3
    objective(batch_of())["loss"].backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in encoder.parameters())
    assert {name.partition(".")[0] for name in objective.state_dict()} == {"encoder", "head"}


def test_relations_train_the_layer_that_mixes_parts() -> None:
    encoder = pooling_spans(mixing=5)
    objective = objective_of(encoder, relations_weight=0.5)
    losses = objective(batch_of())
    assert set(losses) == {"loss", "net", "distance", "range", "relations"}
    losses["loss"].backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in encoder.parameters())
    figures = objective.validate(batch_of())
    statistics = sum(figures[f"val_{name}"] for name in ("net", "distance", "range")) / 3
    assert figures["val_loss"] == pytest.approx(statistics + 0.5 * figures["val_relations"])


def test_relations_are_learned_with_any_encoder() -> None:
    for encoder in (BiLstm(hidden=4).build(SHAPE), BiLstm(hidden=4, pooling="spans").build(SHAPE), pooling_spans()):
        losses = objective_of(encoder, relations_weight=1.0)(batch_of())
        losses["relations"].backward()
        assert any(weight.grad is not None and weight.grad.any() for weight in encoder.parameters())
    with pytest.raises(ConfigError, match=r"min_bars: two spans of 11 do not fit the 20 bars of a window\nuse .*=10 "):
        objective_of(pooling_spans(), relations_weight=1.0, min_bars=11)


@given(seed=st.integers(0, 500), first=st.integers(0, 8), part=st.integers(10, 14), end=st.integers(16, 20))
def test_relations_are_those_of_two_neighbouring_spans(seed: int, first: int, part: int, end: int) -> None:
    logs = log_prices(random_bars(OHLC, 2, 20, seed).double())
    found = span_relations(logs, slice(first, part), slice(part, end))
    for window in range(2):
        rows = logs[window].tolist()
        nets = [rows[b - 1][3] - rows[a][3] for a, b in ((first, part), (part, end))]
        highs = [max(rows[t][1] for t in range(a, b)) for a, b in ((first, part), (part, end))]
        lows = [min(rows[t][2] for t in range(a, b)) for a, b in ((first, part), (part, end))]
        joint = abs(nets[0] * nets[1]) ** 0.5 * (1 if nets[0] * nets[1] > 0 else -1)
        opposed = min(map(abs, nets)) if nets[0] * nets[1] < 0 else 0.0
        expected = [
            joint,
            opposed,
            max(highs) - min(lows),
            max(min(highs) - max(lows), 0.0),
            (highs[0] - lows[0]) - (highs[1] - lows[1]),
        ]
        assert found[window].tolist() == pytest.approx(expected, abs=1e-9)


@given(seed=st.integers(0, 10_000), n_bars=st.integers(4, 60), data=st.data())
def test_neighbours_touch_and_each_is_long_enough(seed: int, n_bars: int, data: st.DataObject) -> None:
    min_bars = data.draw(st.integers(2, n_bars // 2))
    for first, second in draw_neighbours(Draws(seed, 4, slice(None), torch.device("cpu")), n_bars, 5, min_bars):
        assert 0 <= first.start < first.stop == second.start < second.stop <= n_bars
        assert min(first.stop - first.start, second.stop - second.start) >= min_bars


def test_the_loss_is_the_mean_over_statistics_and_a_head_of_zeros_loses_their_size() -> None:
    objective, batch = objective_of(BiLstm(hidden=4).build(SHAPE), n_spans=1, min_bars=20), batch_of()
    nn.init.zeros_(objective.head.weight)
    nn.init.zeros_(objective.head.bias)
    every = path_statistics(log_prices(batch.bars), slice(0, 20))
    figures = objective.validate(batch)
    for name in ("net", "distance", "range"):
        sizes = [abs(float(value)) / SPREADS_TR[name] for value in every[name]]
        expected = sum(size**2 / 2 if size < 1 else size - 0.5 for size in sizes) / 6
        assert figures[f"val_{name}"] == pytest.approx(expected, rel=1e-5)
    parts = {name: float(value.detach()) for name, value in objective(batch).items()}
    assert figures["val_loss"] == pytest.approx(parts["loss"])
    assert parts["range"] == pytest.approx(figures["val_range"] / 3)


def test_the_constant_guess_is_the_mean_of_each_statistic() -> None:
    objective, batch = objective_of(BiLstm(hidden=4).build(SHAPE), n_spans=1, min_bars=20), batch_of()
    every = path_statistics(log_prices(batch.bars), slice(0, 20))
    values = torch.stack([every[name] / SPREADS_TR[name] for name in objective.config.statistics])
    distances = (values - values.mean(dim=1, keepdim=True)).abs().flatten().tolist()
    expected = sum(d**2 / 2 if d < 1 else d - 0.5 for d in distances) / len(distances)
    assert objective.validate(batch)["val_constant"] == pytest.approx(expected, rel=1e-5)


def test_all_statistics_keep_the_suite() -> None:
    check_objective(PathStatistics(("bar_range", "net"), n_spans=2, min_bars=2), ("volume", *OHLC), 16)


def test_wrong_settings_short_windows_and_sources_without_candles_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        PathStatistics((), 0, 1, -1.0, -1)
    assert len(caught.value.problems) == 5
    encoder = BiLstm(hidden=4).build(SHAPE)
    with pytest.raises(ConfigError, match="min_bars: 21 do not fit the 20 bars of a window"):
        objective_of(encoder, min_bars=21)
    with pytest.raises(DataError, match="objective=path_statistics needs candles"):
        objective_of(encoder, ("a", "b", "c", "d"))
