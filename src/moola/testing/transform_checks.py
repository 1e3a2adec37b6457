"""What a transform has to keep: its own statements about how far it looks, and the same bits however it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from moola.data.channel_names import CLOCK_CHANNELS
from moola.features import Fittable, Transform
from moola.features.candles import OHLC
from moola.testing.component import check_component

if TYPE_CHECKING:
    from torch import Tensor

_SCALES = (1e-3, 0.037, 2.0, 198.0, 1e5)


def check_transform(transform: Transform, channels: tuple[str, ...], n_bars: int = 40) -> None:
    """Everything `moola.features.Transform` promises; a transform that has to be fitted is fitted first.

    - Names are unique and as many as outputs; dtype and device are kept; the bars given are not written to; any number
      of bars from 1 works; flat, tiny, huge and untraded windows stay finite.
    - Bit for bit: a window alone equals the same window in a batch, in any memory layout, on any number of threads.
    - ``causality="bar"``: what comes after a bar changes nothing up to it, every prefix gives the same outputs, and so
      does a stream. ``"window"``: bars that are not given change nothing, and there is no stream.
    - ``scale_invariant``: prices times a constant give the same outputs.

    Args:
        transform: the transform.
        channels: of the bars to try it on. Open, high, low and close are candles, ``volume`` is sometimes 0, the
            clock's channels are whole numbers, all others are positive walks.
        n_bars: bars a window; made longer where the transform remembers more.
    """
    check_component(transform)
    if isinstance(transform, Fittable):
        transform = _check_fit(transform, channels, n_bars)
        check_component(transform)
    n_bars = max(n_bars, (transform.memory_bars or 0) + 3)
    bars = random_bars(channels, 6, n_bars)
    _check_form(transform, channels, bars)
    _check_finite(transform, channels, n_bars)
    assert transform.causality in ("bar", "window"), f"causality is {transform.causality!r}"
    if transform.causality == "bar":
        _check_bar_causality(transform, channels, bars)
        _check_stream(transform, channels, bars)
    else:
        _check_window_causality(transform, channels, bars)
    if transform.scale_invariant:
        _check_scale(transform, channels, bars)
    # Many windows of prices near 1, whose logs fill the mantissa, in both precisions: there the order of sums shows.
    many = _scaled(random_bars(channels, 70, n_bars), channels, 0.01)
    for given in (many, many.double()):
        _check_independence(transform, channels, given)
        _check_layouts(transform, channels, given)
    _check_threads(transform, channels, n_bars)


def random_bars(channels: tuple[str, ...], n_windows: int, n_bars: int, seed: int = 0) -> Tensor:
    """Bars that could be real, float32 [n_windows, n_bars, n_channels]: what they are goes by the channels' names."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def noise(last: int = 1) -> Tensor:
        return torch.randn(n_windows, n_bars, last, generator=generator)

    close = 100 * torch.exp(0.01 * noise().cumsum(dim=1))
    opened = close * (1 + 0.002 * noise())
    high = torch.maximum(opened, close) * (1 + 0.003 * noise().abs())
    low = torch.minimum(opened, close) * (1 - 0.003 * noise().abs())
    minute = torch.randint(0, 7 * 1440, (n_windows, 1, 1), generator=generator) + torch.arange(n_bars)[None, :, None]
    known = {
        **dict(zip(OHLC, (opened, high, low, close), strict=True)),
        "volume": (1000 * noise()).round().clamp_min(0),
        **dict(zip(CLOCK_CHANNELS, (minute % 1440, minute // 1440 % 7), strict=True)),
    }
    columns = [known[name] if name in known else torch.exp(0.1 * noise().cumsum(dim=1)) for name in channels]
    return torch.cat([column.float() for column in columns], dim=-1)


def _check_fit(transform: Fittable, channels: tuple[str, ...], n_bars: int) -> Transform:
    """It refuses to be used before, portions do not matter, and what comes out can be written down and read again."""
    from moola.errors import ConfigError, MoolaError
    from moola.features import TRANSFORMS

    bars = random_bars(channels, 20, n_bars, seed=1)
    unfitted: Any = transform
    try:
        unfitted.apply(bars, channels)
    except MoolaError:
        pass
    else:
        raise AssertionError("it can be applied before it is fitted")
    fitted = transform.fit([bars], channels)
    assert not isinstance(fitted, Fittable), "what fit() gives still has to be fitted"
    assert transform.fit([bars], channels) == fitted, "the same windows give another fit"
    assert transform.fit(bars.split(7), channels) == fitted, "the fit depends on how the windows are portioned"
    try:
        read = TRANSFORMS.build_section(TRANSFORMS.section_of(fitted), "transform")
    except ConfigError as error:
        raise AssertionError(f"it, or a transform inside it, is not registered and cannot be kept: {error}") from error
    assert read == fitted, "it is another one after it was written and read"
    assert fitted.output_channels(channels) == unfitted.output_channels(channels), "fitting renames the outputs"
    return fitted


def _check_form(transform: Transform, channels: tuple[str, ...], bars: Tensor) -> None:
    import torch

    names = transform.output_channels(channels)
    assert len(set(names)) == len(names), f"output names repeat: {names}"
    assert all(0 <= number < len(names) for number in transform.summary_channels(channels)), "no such summary channel"
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for dtype in (torch.float32, torch.float64):
            given = bars.to(device, dtype)
            before = given.clone()
            outputs = transform.apply(given, channels)
            assert torch.equal(given, before), "it writes to the bars it is given"
            assert outputs.dtype == dtype, f"{dtype} bars give {outputs.dtype} outputs"
            assert outputs.device == given.device, f"bars on {given.device} give outputs on {outputs.device}"
    for n_bars in {1, 2, 3, bars.shape[1]}:
        shape = tuple(transform.apply(bars[:, :n_bars], channels).shape)
        assert shape == (len(bars), n_bars, len(names)), f"{n_bars} bars and {len(names)} names give {shape}"


def _check_finite(transform: Transform, channels: tuple[str, ...], n_bars: int) -> None:
    import torch

    ordinary = random_bars(channels, 2, n_bars)
    untraded = ordinary.clone()
    untraded[..., [i for i, name in enumerate(channels) if name == "volume"]] = 0.0
    jump = ordinary.clone()
    jump[:, n_bars // 2 :] *= 50
    cases = {
        "that never moves": ordinary[:, :1].expand_as(ordinary),
        "of tiny prices": _scaled(ordinary, channels, 1e-6),
        "of huge prices": _scaled(ordinary, channels, 1e9),
        "without trade": untraded,
        "with a jump": jump,
    }
    for what, bars in cases.items():
        for length in (1, 2, n_bars):
            finite = torch.isfinite(transform.apply(bars[:, :length], channels)).all()
            assert finite, f"a window {what} gives NaN or infinity ({length} bars)"


def _check_independence(transform: Transform, channels: tuple[str, ...], bars: Tensor) -> None:
    import torch

    outputs = transform.apply(bars, channels)
    for rows in ([0], [2], [5, 1, 1]):
        alone = transform.apply(bars[rows], channels)
        assert torch.equal(alone, outputs[rows]), "a window's outputs depend on the other windows of the batch"


def _check_layouts(transform: Transform, channels: tuple[str, ...], bars: Tensor) -> None:
    """The views that device batches may hand over: transposed storage, some columns of many, overlapping windows."""
    import torch

    n_bars = bars.shape[1]
    series = bars[0]
    views = {
        "transposed": bars.transpose(0, 1).contiguous().transpose(0, 1),
        "channels first": bars.transpose(1, 2).contiguous().transpose(1, 2),
        "every other column": torch.stack([bars, bars + 1], dim=-1).flatten(2)[..., ::2],
        "overlapping": series.unfold(0, n_bars // 2 + 1, 1).transpose(1, 2),
    }
    for what, view in views.items():
        same = torch.equal(transform.apply(view, channels), transform.apply(view.contiguous(), channels))
        assert same, f"outputs depend on the memory layout ({what}); call .contiguous() first"


def _check_threads(transform: Transform, channels: tuple[str, ...], n_bars: int) -> None:
    import torch

    bars = random_bars(
        channels, 1 + 70_000 // (n_bars * len(channels)), n_bars
    ).double()  # enough to be shared among threads
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        outputs = transform.apply(bars, channels)
        for number in (2, 3):
            torch.set_num_threads(number)
            assert torch.equal(transform.apply(bars, channels), outputs), "outputs depend on the number of threads"
    finally:
        torch.set_num_threads(threads)


def _check_bar_causality(transform: Transform, channels: tuple[str, ...], bars: Tensor) -> None:
    import torch

    outputs = transform.apply(bars, channels)
    others = _scaled(random_bars(channels, len(bars), bars.shape[1], seed=2), channels, 3.0)
    for t in range(bars.shape[1]):
        changed = torch.cat([bars[:, : t + 1], others[:, t + 1 :]], dim=1)
        seen = transform.apply(changed, channels)[:, : t + 1]
        assert torch.equal(seen, outputs[:, : t + 1]), f"bars after bar {t} change outputs up to it: it looks ahead"
        prefix = transform.apply(bars[:, : t + 1], channels)
        assert torch.equal(prefix, outputs[:, : t + 1]), f"the first {t + 1} bars alone give other outputs"


def _check_stream(transform: Transform, channels: tuple[str, ...], bars: Tensor) -> None:
    import torch

    from moola.features.streaming import TransformStream

    window = bars[3]
    stream = TransformStream(transform, channels)
    streamed = torch.stack([stream.push(bar) for bar in window])
    memory = transform.memory_bars
    assert torch.equal(streamed, transform.apply(window[None], channels)[0]), (
        f"a stream gives other outputs than a batch: it remembers more than memory_bars={memory}"
    )
    assert memory is None or len(stream.history) <= memory, "the stream keeps more than memory_bars"


def _check_window_causality(transform: Transform, channels: tuple[str, ...], bars: Tensor) -> None:
    import torch

    from moola.errors import ConfigError
    from moola.features.streaming import TransformStream

    visible = bars.shape[1] // 2 + 1
    changed = bars.clone()
    changed[:, visible:] *= 7
    seen, other = (transform.apply(some[:, :visible], channels) for some in (bars, changed))
    assert torch.equal(seen, other), "bars that are not given change the outputs"
    try:
        TransformStream(transform, channels)
    except ConfigError:
        return
    raise AssertionError("it says causality='window', yet a stream takes it")


def _check_scale(transform: Transform, channels: tuple[str, ...], bars: Tensor) -> None:
    """In float64, so that only the transform's own guards (epsilons) stand between the two."""
    import torch

    bars = bars.double()
    outputs = transform.apply(bars, channels)
    for factor in _SCALES:
        scaled = transform.apply(_scaled(bars, channels, factor), channels)
        moved = float((scaled - outputs).abs().max())
        same = torch.allclose(scaled, outputs, rtol=1e-3, atol=1e-3)
        assert same, f"prices times {factor} move outputs by {moved:.3g}, yet it says scale_invariant"


def _scaled(bars: Tensor, channels: tuple[str, ...], factor: float) -> Tensor:
    """Prices times a factor; where there are none, every channel but volume and the clock."""
    columns = list(_price_columns(channels))
    scaled = bars.clone()
    scaled[..., columns] = bars[..., columns] * factor
    return scaled


def _price_columns(channels: tuple[str, ...]) -> Iterator[int]:
    known = set(OHLC) if set(OHLC) & set(channels) else set(channels) - {"volume", *CLOCK_CHANNELS}
    return (i for i, name in enumerate(channels) if name in known)
