"""How far prices went between two bars, and how two neighbouring stretches relate: targets made of candles alone.

With h, l, c natural logs of high, low and close in units of TR, the mean of h - l over the window. Of the bars a..b::

    net       = c_b - c_a
    distance  = |net|
    range     = highest h - lowest l
    bar_range = mean of h - l

Of two neighbouring stretches 1 and 2::

    joint_move       = sign(net_1 net_2) sqrt(|net_1 net_2|)
    opposition       = min(|net_1|, |net_2|) where the moves oppose each other, else 0
    joint_range      = highest of both - lowest of both
    overlap          = what the ranges of both share
    range_difference = range_1 - range_2
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from moola.data.draws import Draws

Statistic = Literal["net", "distance", "range", "bar_range"]
RELATIONS = ("joint_move", "opposition", "joint_range", "overlap", "range_difference")
SPREADS_TR = {
    "net": 4.5,
    "distance": 2.8,
    "range": 2.8,
    "bar_range": 0.1,
    "joint_move": 2.6,
    "opposition": 1.1,
    "joint_range": 2.8,
    "overlap": 1.45,
    "range_difference": 3.5,
}
"""Standard deviations over random spans of 8 to 75 bars, in TR: of daily index bars from 1999 to 2012."""
_SMALLEST_UNIT = 1e-8
"""Of TR: a window that never moves has statistics of 0."""


def draw_spans(draws: Draws, n_bars: int, n_spans: int, min_bars: int) -> list[slice]:
    """Spans for all windows of a batch: a length, then a place for it, each uniform."""
    generator = torch.Generator().manual_seed(draws.shared(0, 1 << 62))  # one wait for the device
    spans: list[slice] = []
    for _ in range(n_spans):
        length = int(torch.randint(min_bars, n_bars + 1, (1,), generator=generator))
        first = int(torch.randint(0, n_bars - length + 1, (1,), generator=generator))
        spans.append(slice(first, first + length))
    return spans


def draw_neighbours(draws: Draws, n_bars: int, n_pairs: int, min_bars: int) -> list[tuple[slice, slice]]:
    """Two spans that follow each other, for all windows of a batch: a length of both, a place, and where they part."""
    generator = torch.Generator().manual_seed(draws.shared(0, 1 << 62))
    pairs: list[tuple[slice, slice]] = []
    for _ in range(n_pairs):
        length = int(torch.randint(2 * min_bars, n_bars + 1, (1,), generator=generator))
        first = int(torch.randint(0, n_bars - length + 1, (1,), generator=generator))
        part = first + int(torch.randint(min_bars, length - min_bars + 1, (1,), generator=generator))
        pairs.append((slice(first, part), slice(part, first + length)))
    return pairs


def log_prices(prices: Tensor) -> Tensor:
    """Natural logs in units of TR, float64: open, high, low, close [B, T, 4] -> [B, T, 4]."""
    logs = prices.double().log()
    unit = (logs[..., 1] - logs[..., 2]).mean(dim=1).clamp_min(_SMALLEST_UNIT)
    return (logs - logs[:, :1, 3:]) / unit[:, None, None]


def path_statistics(logs: Tensor, span: slice) -> dict[str, Tensor]:
    """Each statistic of the bars of a span, [B]: from `log_prices` [B, T, 4]."""
    net, highest, lowest = _path(logs, span)
    bar_range = (logs[:, span, 1] - logs[:, span, 2]).mean(dim=1)
    return {"net": net, "distance": net.abs(), "range": highest - lowest, "bar_range": bar_range}


def span_relations(logs: Tensor, first: slice, second: slice) -> Tensor:
    """The five relations of two neighbouring spans, [B, 5] in the order of `RELATIONS`: from `log_prices` [B, T, 4]."""
    (net_1, high_1, low_1), (net_2, high_2, low_2) = (_path(logs, span) for span in (first, second))
    product = net_1 * net_2
    overlap = torch.minimum(high_1, high_2) - torch.maximum(low_1, low_2)
    relations = {
        "joint_move": product.sign() * product.abs().sqrt(),
        "opposition": torch.where(product < 0, torch.minimum(net_1.abs(), net_2.abs()), 0.0),
        "joint_range": torch.maximum(high_1, high_2) - torch.minimum(low_1, low_2),
        "overlap": overlap.clamp_min(0.0),
        "range_difference": (high_1 - low_1) - (high_2 - low_2),
    }
    return torch.stack([relations[name] for name in RELATIONS], dim=-1)


def _path(logs: Tensor, span: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Net move, highest high and lowest low of the bars of a span, [B] each."""
    _, high, low, close = logs[:, span].unbind(dim=-1)
    return close[:, -1] - close[:, 0], high.amax(dim=1), low.amin(dim=1)
