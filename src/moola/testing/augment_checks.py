"""What an augmentation has to keep: candles that stay candles, time that goes on, and numbers of its draws alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from moola.augment import Augmentation, MovesTime
from moola.data.channel_names import CLOCK_CHANNELS, VOLUME
from moola.features.candles import OHLC
from moola.testing.component import check_component
from moola.testing.transform_checks import random_bars

if TYPE_CHECKING:
    from torch import Tensor

    from moola.data.draws import Draws

CANDLES = (*OHLC, VOLUME, *CLOCK_CHANNELS)
"""Channels to try an augmentation of candles on."""


def check_augment(
    augmentation: Augmentation,
    channels: tuple[str, ...] = CANDLES,
    n_bars: int = 40,
    *,
    off: Augmentation | None = None,
) -> None:
    """Everything `moola.augment.Augmentation` promises.

    - Shape, dtype and device are kept, the bars given are not written to, any number of bars from 1 works, and some
      window is changed.
    - Candles stay candles: finite, positive, the high highest, the low lowest; also where a window never moves, has
      tiny or huge prices, or jumps. Volume stays at 0 or above, the clock stays as it is.
    - Draws decide alone: equal draws give equal bits, whatever torch's own generator holds, and it is left alone.
      A window's change depends neither on other windows nor on how a batch is shared out or laid out in memory.
    - `MovesTime`: positions start at the first bar, end at the last one and never decrease; values are read there.

    Args:
        augmentation: the augmentation.
        channels: of the bars to try it on, as `moola.testing.transform_checks.random_bars` takes them.
        n_bars: bars a window.
        off: the same augmentation with strength 0, which must change nothing.
    """
    check_component(augmentation)
    _check_form(augmentation, channels, n_bars)
    for what, bars in odd_windows(channels, n_bars):
        for length in (1, 2, n_bars):
            changed = augmentation.apply(bars[:, :length], channels, _draws(len(bars)))
            problem = broken(bars[:, :length], changed, channels)
            assert problem is None, f"a window {what} ({length} bars): {problem}"
    _check_draws(augmentation, channels, n_bars)
    _check_independence(augmentation, channels, n_bars)
    if isinstance(augmentation, MovesTime):
        _check_time(augmentation, n_bars)
    if off is not None:
        bars = random_bars(channels, 6, n_bars)
        same = bool((off.apply(bars, channels, _draws(6)) == bars).all())
        assert same, "strength 0 changes the bars"


def broken(bars: Tensor, changed: Tensor, channels: tuple[str, ...]) -> str | None:
    """What is wrong with changed bars [B, T, C], None where they are bars."""
    import torch

    if not torch.isfinite(changed).all():
        return "a value is not finite"
    clock = [place for place, name in enumerate(channels) if name in CLOCK_CHANNELS]
    if not torch.equal(changed[..., clock], bars[..., clock]):
        return "the clock was changed"
    if VOLUME in channels and bool((changed[..., channels.index(VOLUME)] < 0).any()):
        return "a volume is negative"
    if not set(OHLC) <= set(channels):
        return None
    opened, high, low, close = (changed[..., channels.index(name)] for name in OHLC)
    if not bool((low > 0).all()):
        return "a price is not positive"
    if not bool((high >= torch.maximum(opened, close)).all()):
        return "a high is below open or close"
    if not bool((low <= torch.minimum(opened, close)).all()):
        return "a low is above open or close"
    return None


def odd_windows(channels: tuple[str, ...], n_bars: int) -> Iterator[tuple[str, Tensor]]:
    """Windows [B, n_bars, C] that could come, with what is odd about them."""
    ordinary = random_bars(channels, 6, n_bars)
    prices = [place for place, name in enumerate(channels) if name not in (VOLUME, *CLOCK_CHANNELS)]
    untraded, jump, tiny, huge = (ordinary.clone() for _ in range(4))
    untraded[..., [place for place, name in enumerate(channels) if name == VOLUME]] = 0.0
    jump[:, n_bars // 2 :, prices] *= 50
    tiny[..., prices] *= 1e-8
    huge[..., prices] *= 1e10
    still = ordinary.clone()
    still[..., prices] = ordinary[:, :1, prices[:1]]
    yield "like any other", ordinary
    yield "that never moves", still
    yield "without trade", untraded
    yield "with a jump", jump
    yield "of tiny prices", tiny
    yield "of huge prices", huge


def _draws(total: int, rows: slice = slice(None), seed: int = 0, device: str = "cpu") -> Draws:
    import torch

    from moola.data.draws import Draws

    return Draws(seed, total, rows, torch.device(device))


def _check_form(augmentation: Augmentation, channels: tuple[str, ...], n_bars: int) -> None:
    import torch

    moved = False
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for dtype in (torch.float32, torch.float64):
            for length in (1, 2, 3, n_bars):
                bars = random_bars(channels, 6, length).to(device, dtype)
                before = bars.clone()
                changed = augmentation.apply(bars, channels, _draws(6, device=device))
                assert torch.equal(bars, before), "it writes to the bars it is given"
                assert changed.shape == bars.shape, f"{tuple(bars.shape)} bars become {tuple(changed.shape)}"
                assert changed.dtype == dtype, f"{dtype} bars become {changed.dtype}"
                assert changed.device == bars.device, f"bars on {bars.device} come back on {changed.device}"
                moved = moved or not torch.equal(changed, bars)
    assert moved, "it changes nothing"


def _check_draws(augmentation: Augmentation, channels: tuple[str, ...], n_bars: int) -> None:
    import torch

    bars = random_bars(channels, 20, n_bars)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        one = augmentation.apply(bars, channels, _draws(20))
        assert torch.equal(torch.get_rng_state(), state), "it takes numbers from torch's own generator, not its draws"
        torch.manual_seed(2)
        same = augmentation.apply(bars, channels, _draws(20))
    assert torch.equal(one, same), "equal draws give other bars"
    assert not torch.equal(one, augmentation.apply(bars, channels, _draws(20, seed=1))), "other draws change nothing"


def _check_independence(augmentation: Augmentation, channels: tuple[str, ...], n_bars: int) -> None:
    import torch

    bars = random_bars(channels, 9, n_bars)
    whole = augmentation.apply(bars, channels, _draws(9))
    for rows in (slice(0, 1), slice(0, 5), slice(5, 9)):
        part = augmentation.apply(bars[rows], channels, _draws(9, rows))
        assert torch.equal(part, whole[rows]), f"windows {rows.start} to {rows.stop - 1} alone are changed otherwise"
    others = torch.cat([bars[:4], random_bars(channels, 5, n_bars, seed=1)])
    same = torch.equal(augmentation.apply(others, channels, _draws(9))[:4], whole[:4])
    assert same, "a window's change depends on the other windows of the batch"
    transposed = bars.transpose(0, 1).contiguous().transpose(0, 1)
    same = torch.equal(augmentation.apply(transposed, channels, _draws(9)), whole)
    assert same, "the change depends on how bars lie in memory"


def _check_time(augmentation: MovesTime, n_bars: int) -> None:
    """On a ramp the values are the positions, so a warp that says one thing and does another is seen."""
    import torch

    for length in (1, 2, n_bars, 1000):
        positions = augmentation.positions(length, _draws(200))
        assert positions.shape == (200, length), f"positions of {length} bars come as {tuple(positions.shape)}"
        ends = bool((positions[:, 0] == 0).all()) and bool((positions[:, -1] == length - 1).all())
        assert ends, "positions do not go from the first bar to the last one"
        back = float((positions.diff(dim=1) < 0).float().mean()) if length > 1 else 0.0
        assert back == 0, f"time runs backwards on {back:.1%} of steps"
        ramp = torch.arange(length, dtype=torch.float32).expand(200, length)[..., None]
        read = augmentation.apply(ramp, ("ramp",), _draws(200))[..., 0]
        assert torch.allclose(read, positions, rtol=1e-5, atol=1e-4), "values are not read at the positions it gives"
