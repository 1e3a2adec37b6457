"""A minute market of any size out of a seed: regimes, sessions, holidays, gaps, splits; the truth is known.

Blocks of days are drawn whole and one after the other; a block takes over the last price and regime of the one before.
So a bar never depends on how many bars or symbols were asked for, or on the chunks they come in, and memory does not
grow with the market.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from moola.config import digest_json, reject
from moola.data.calendars import SessionCalendar
from moola.data.sources import BarScan, Chunk
from moola.data.sources.synthetic_clock import MINUTE_US, Days, MarketClock, stream
from moola.schemas import OHLC, TIMESTAMP

GENERATOR = 1
"""Version of what is drawn and in which order; a change makes every market another one."""

_LAST_YEAR = 9990
_MAX_LEVEL = 8.0
"""Sessions open within a factor e^8 of the start price, whatever the parameters."""
_MAX_SHOCK = 20.0
"""Innovations are cut at this many standard deviations."""
_MAX_CHUNK_BARS = 1 << 20


@dataclass(frozen=True)
class Regime:
    """One way in which a market moves. Runs have geometric lengths, so the regimes form a Markov chain.

    Attributes:
        name: for people.
        mean_bars: mean length of a run in trading minutes; nights count nothing.
        volatility_bp: standard deviation of a bar's log return, in 1e-4.
        drift_bp: mean of a bar's log return, in 1e-4; each run draws its sign.
    """

    name: str
    mean_bars: float
    volatility_bp: float
    drift_bp: float = 0.0

    def __post_init__(self) -> None:
        reject(
            (self.mean_bars < 1, f"mean_bars: {self.mean_bars} must be at least 1"),
            (not 0 < self.volatility_bp <= 500, f"volatility_bp: {self.volatility_bp} must lie in (0, 500]"),
            (not 0 <= self.drift_bp <= 50, f"drift_bp: {self.drift_bp} must lie in [0, 50]"),
        )


REGIMES = (Regime("quiet", 240, 2.0), Regime("trending", 120, 3.0, 0.6), Regime("volatile", 60, 9.0))
WEEKDAYS = SessionCalendar("America/New_York", "09:30", "16:00", ("mon", "tue", "wed", "thu", "fri"))


@dataclass(frozen=True)
class SyntheticMarket:
    """Open, high, low, close and volume of each traded minute, float32; one series a symbol, unrelated to the others.

    Log returns are Student t or normal with the moments of the regime, and are drawn back to the start price so
    slowly that a window does not see it. High and low have the law of the extremes of a Brownian path between open and
    close (Karatzas and Shreve 1991, section 4.3), each on its own. Volume is money over price, so that a split that
    halves the price doubles it.

    Attributes:
        n_bars: bars of each symbol.
        symbols: their names, or how many; a name has the same bars whatever stands beside it.
        seed: another seed, another market.
        start: first date that may trade, ISO 8601.
        sessions: when the market is open; clocks change as `SessionCalendar` says.
        regimes: what the market can be in; a run is followed by any of the others with equal probability.
        tail_dof: degrees of freedom of Student's t; null: normal.
        overnight_bp: standard deviation of the log price's jump while the market is closed, in 1e-4.
        reversion_sessions: sessions in which a distance from the start price shrinks to 1/e.
        start_price: where the first bar opens, and what prices return to.
        tick: step of the prices, and the least of them.
        turnover: mean money traded in a bar of the first regime, at any price.
        holiday_rate: probability that a date is a holiday, for all symbols.
        gap_rate: probability that one stretch of a session is missing.
        max_gap_bars: longest such stretch; its length is uniform.
        split_rate: probability that a session that ended above the start price is followed by a split two for one.
        chunk_bars: rows handed over at a time; says nothing about the market.
    """

    n_bars: int = 100_000
    symbols: int | tuple[str, ...] = 1
    seed: int = 0
    start: str = "2000-01-03"
    sessions: SessionCalendar = WEEKDAYS
    regimes: tuple[Regime, ...] = REGIMES
    tail_dof: float | None = 5.0
    overnight_bp: float = 40.0
    reversion_sessions: float = 1000.0
    start_price: float = 100.0
    tick: float = 0.01
    turnover: float = 100_000.0
    holiday_rate: float = 0.03
    gap_rate: float = 0.05
    max_gap_bars: int = 30
    split_rate: float = 0.01
    chunk_bars: int = 1 << 18

    def __post_init__(self) -> None:
        year = _year(self.start)
        names = self.names
        reject(
            (self.n_bars < 1, f"n_bars: {self.n_bars} must be at least 1"),
            (not names or not all(names), f"symbols: {self.symbols!r} must be a count from 1 on, or names"),
            (len(set(names)) < len(names), f"symbols: {list(names)} holds one twice"),
            (self.seed < 0, f"seed: {self.seed} must not be negative"),
            (year is None, f"start: '{self.start}' is not a date from 1970 on, such as 2000-01-03"),
            (not self.regimes, "regimes: needs at least one"),
            (len({regime.name for regime in self.regimes}) < len(self.regimes), "regimes: two have the same name"),
            (self.tail_dof is not None and self.tail_dof <= 2, f"tail_dof: {self.tail_dof} must be above 2, or null"),
            (not 0 <= self.overnight_bp <= 1000, f"overnight_bp: {self.overnight_bp} must lie in [0, 1000]"),
            (self.reversion_sessions < 1, f"reversion_sessions: {self.reversion_sessions} must be at least 1"),
            (self.tick < 1e-9, f"tick: {self.tick} must be at least 1e-9"),
            (not self.tick <= self.start_price <= 1e6, f"start_price: {self.start_price} must lie in [tick, 1000000]"),
            (not 0 < self.turnover <= 1e15, f"turnover: {self.turnover} must lie in (0, 1e15]"),
            (not 0 <= self.holiday_rate <= 0.9, f"holiday_rate: {self.holiday_rate} must lie in [0, 0.9]"),
            (not 0 <= self.gap_rate <= 1, f"gap_rate: {self.gap_rate} must lie in [0, 1]"),
            (self.max_gap_bars < 1, f"max_gap_bars: {self.max_gap_bars} must be at least 1"),
            (not 0 <= self.split_rate <= 1, f"split_rate: {self.split_rate} must lie in [0, 1]"),
            (
                not 1 <= self.chunk_bars <= _MAX_CHUNK_BARS,
                f"chunk_bars: {self.chunk_bars} must lie in [1, {_MAX_CHUNK_BARS}]",
            ),
        )
        room = int(self._clock().bars_a_year() * (_LAST_YEAR - (year or 0)))
        reject((self.n_bars > room, f"n_bars: {self.n_bars} is more than the {room} up to the year {_LAST_YEAR}"))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the symbols, in order."""
        if isinstance(self.symbols, int):
            return tuple(f"synthetic_{i}" for i in range(self.symbols))
        return tuple(self.symbols)

    def fingerprint(self) -> str:
        """Digest of the parameters and of the generator's version."""
        market = replace(self, symbols=self.names, chunk_bars=_MAX_CHUNK_BARS)
        return digest_json({"generator": GENERATOR, "market": market})

    def scan(self) -> BarScan:
        """Draw the bars, symbol after symbol; memory holds one chunk and one block of days."""
        return BarScan((*OHLC, "volume"), self._chunks())

    def regime_runs(self) -> pl.DataFrame:
        """The truth behind the bars, without drawing them: one row a run.

        Returns:
            ``series``, ``timestamp`` of the run's first minute (a gap may hide its bar), ``regime``, ``direction``
            (sign of the drift); symbol after symbol, in the order of time.
        """
        return pl.concat(self._block_runs(name, days) for name in self.names for days in self._blocks(name))

    def _block_runs(self, symbol: str, days: Days) -> pl.DataFrame:
        """Runs that begin in a block, no later than its last bar."""
        path = days.path
        first = np.cumsum(path.lengths) - path.lengths
        begun = (first <= days.bars()[-1]) & ((first > 0) | (not path.goes_on))
        names = np.array([regime.name for regime in self.regimes])
        return pl.DataFrame(
            {
                "series": [symbol] * int(begun.sum()),
                "timestamp": self._stamped(days)[first[begun]],
                "regime": names[path.regimes[begun]].tolist(),
                "direction": path.directions[begun],
            },
            schema={"series": pl.String, "timestamp": pl.Int64, "regime": pl.String, "direction": pl.Int8},
        ).cast({"timestamp": TIMESTAMP})

    def _chunks(self) -> Iterator[Chunk]:
        for name in self.names:
            first_row = 1
            for frame in _rechunked(self._frames(name), self.chunk_bars):
                yield Chunk(frame, f"synthetic market {name}", first_row)
                first_row += frame.height

    def _frames(self, symbol: str) -> Iterator[pl.DataFrame]:
        """The bars of each block."""
        level = 0.0
        for days in self._blocks(symbol):
            columns, level = self._prices(symbol, days, level)
            bars = days.bars()
            yield pl.DataFrame({name: column[bars] for name, column in columns.items()}).select(
                pl.lit(symbol).alias("series"), pl.col("timestamp").cast(TIMESTAMP), pl.exclude("timestamp")
            )

    def _blocks(self, symbol: str) -> Iterator[Days]:
        return self._clock().blocks(symbol, self.n_bars)

    def _clock(self) -> MarketClock:
        return MarketClock(
            seed=self.seed,
            start=datetime.date.fromisoformat(self.start),
            sessions=self.sessions,
            mean_bars=tuple(regime.mean_bars for regime in self.regimes),
            holiday_rate=self.holiday_rate,
            gap_rate=self.gap_rate,
            max_gap_bars=self.max_gap_bars,
        )

    def _stamped(self, days: Days) -> np.ndarray:
        """Timestamps of the minutes of a block, int64 [n_minutes] UTC microseconds."""
        return days.times() + (MINUTE_US if self.sessions.stamped == "end" else 0)

    def _prices(self, symbol: str, days: Days, level: float) -> tuple[dict[str, np.ndarray], float]:
        """Columns of every minute of a block, gaps too, and the log price over the start price at its end."""
        rng = stream(self.seed, "prices", symbol, days.number)
        volatility = days.path.over_minutes([regime.volatility_bp * 1e-4 for regime in self.regimes])
        own = self._shocks(rng, len(days.traded)) * volatility
        own += days.path.over_minutes([regime.drift_bp * 1e-4 for regime in self.regimes], signed=True)
        jumps, pulls = self._between_sessions(rng, np.add.reduceat(own, days.begins), days.rested, level)
        own += np.repeat(pulls / days.minutes, days.minutes)
        path = own.copy()
        path[days.begins] += jumps
        path[0] += level
        path = np.cumsum(path)
        middle, spread = path - own / 2, 2 * volatility**2
        close = self._priced(path)
        opened = np.concatenate([close[:1], close[:-1]])
        opened[days.begins] = self._priced((path - own)[days.begins])
        high = self._priced(middle + np.sqrt(own**2 + spread * rng.standard_exponential(len(own))) / 2)
        low = self._priced(middle - np.sqrt(own**2 + spread * rng.standard_exponential(len(own))) / 2)
        money = self.turnover / (self.regimes[0].volatility_bp * 1e-4) * volatility
        columns = {
            "timestamp": self._stamped(days),
            "open": opened,
            "high": np.maximum(high, np.maximum(opened, close)),
            "low": np.minimum(low, np.minimum(opened, close)),
            "close": close,
            "volume": np.maximum(np.rint(money * rng.standard_exponential(len(own)) / close), 1).astype(np.float32),
        }
        return columns, float(path[-1])

    def _shocks(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Innovations of mean 0 and variance 1, float64 [n]."""
        if self.tail_dof is None:
            return np.clip(rng.standard_normal(n), -_MAX_SHOCK, _MAX_SHOCK)
        unit = math.sqrt((self.tail_dof - 2) / self.tail_dof)
        return np.clip(rng.standard_t(self.tail_dof, n) * unit, -_MAX_SHOCK, _MAX_SHOCK)

    def _between_sessions(
        self, rng: np.random.Generator, moves: np.ndarray, rested: np.ndarray, level: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What no minute does by itself: the jump before each session, and the pull back to the start price over it.

        Args:
            rng: of this block.
            moves: float64 [n_sessions], sum of the log returns of each session.
            rested: bool [n_sessions], the market was closed before the session.
            level: log price over start price where the session before the first one ended.
        """
        leaps = rng.standard_normal(len(moves)) * self.overnight_bp * 1e-4 * rested
        luck = rng.random(len(moves))
        jumps, pulls = np.empty(len(moves)), np.empty(len(moves))
        for i, (move, leap, chance) in enumerate(zip(moves.tolist(), leaps.tolist(), luck.tolist(), strict=True)):
            split = math.log(2) if level > 0 and chance < self.split_rate else 0.0
            opened = min(max(level + leap - split, -_MAX_LEVEL), _MAX_LEVEL)
            jumps[i], pulls[i] = opened - level, -opened / self.reversion_sessions
            level = opened + move + pulls[i]
        return jumps, pulls

    def _priced(self, level: np.ndarray) -> np.ndarray:
        """Prices on the tick, float32, at log prices over the start price."""
        ticks = np.rint(np.exp(level + math.log(self.start_price / self.tick)))
        return (np.maximum(ticks, 1.0) * self.tick).astype(np.float32)


def _rechunked(frames: Iterable[pl.DataFrame], n_rows: int) -> Iterator[pl.DataFrame]:
    """The same rows, `n_rows` at a time."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(part.height for part in held) < n_rows:
            continue
        *whole, rest = pl.concat(held).iter_slices(n_rows)
        if rest.height == n_rows:
            whole.append(rest)
            held = []
        else:
            held = [rest]
        for part in whole:
            yield part.rechunk()
    if held:
        yield pl.concat(held, rechunk=True)


def _year(date: str) -> int | None:
    """The year of an ISO 8601 date from 1970 on; None where it is none."""
    try:
        year = datetime.date.fromisoformat(date).year
    except ValueError:
        return None
    return year if year >= 1970 else None
