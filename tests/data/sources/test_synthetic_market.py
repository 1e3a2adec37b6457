import hashlib
import itertools
import math
import tracemalloc
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from moola import schemas
from moola.config import config_folder, structure
from moola.data.calendars import WEEK, SessionCalendar
from moola.data.sources import SOURCES
from moola.data.sources.synthetic_market import Regime, SyntheticMarket
from moola.errors import ConfigError
from moola.testing import check_source

QUIET = {"holiday_rate": 0.0, "gap_rate": 0.0, "split_rate": 0.0}
ROUND_THE_CLOCK = SessionCalendar("America/New_York", "00:00", "24:00", WEEK)


def bars_of(market: SyntheticMarket) -> pl.DataFrame:
    return pl.concat(chunk.frame for chunk in market.scan().chunks)


def in_new_york(bars: pl.DataFrame) -> pl.DataFrame:
    """The bars with their local time, date and whether one of the same symbol precedes them by a minute."""
    local = pl.col("timestamp").dt.convert_time_zone("America/New_York")
    return bars.with_columns(
        date=local.dt.date(),
        time=local.dt.time(),
        weekday=local.dt.weekday(),
        pause=pl.col("timestamp").diff().dt.total_minutes().over("series"),
    )


def test_it_is_a_source_and_its_bars_fit_their_schema() -> None:
    values = {
        "n_bars": 3000,
        "symbols": ["NORTH", "SOUTH"],
        "regimes": [{"name": "x", "mean_bars": 9, "volatility_bp": 2}],
    }
    market = SOURCES.build("synthetic_market", values, "data")
    assert isinstance(market, SyntheticMarket)
    check_source(market)
    scan = market.scan()
    frame = pl.concat(chunk.frame for chunk in scan.chunks)
    schemas.bars(scan.channels).validate(frame, lazy=True)
    assert not scan.independent and scan.channels == (*schemas.OHLC, "volume")
    assert frame.select(pl.exclude("series", "timestamp")).dtypes == [pl.Float32] * 5
    assert frame["series"].rle_id().n_unique() == 2 and set(frame["series"]) == {"NORTH", "SOUTH"}
    assert frame.select((pl.col("timestamp").diff() > 0).over("series").sum()).item() == 2 * 2999


def test_the_shipped_configuration_is_the_default_market() -> None:
    values = yaml.safe_load((config_folder() / "data" / "synthetic.yaml").read_text())
    of_others = ("source", "window", "quality", "calendar", "resample", "clock_timezone")
    own = {key: value for key, value in values.items() if key not in of_others}
    assert structure(SyntheticMarket, own, "data") == SyntheticMarket()
    assert set(own) == {field.name for field in fields(SyntheticMarket)}, "every key can be overridden"


def test_the_same_seed_gives_the_same_bars_and_another_seed_others() -> None:
    market = SyntheticMarket(n_bars=5000, seed=7, holiday_rate=0.3)
    assert_frame_equal(bars_of(market), bars_of(market))
    other = bars_of(replace(market, seed=8))
    assert (other["close"] == bars_of(market)["close"]).mean() < 0.1
    assert set(other["timestamp"].dt.date()) != set(bars_of(market)["timestamp"].dt.date()), "holidays are drawn too"


@settings(max_examples=12)
@given(
    n_bars=st.integers(1, 150_000),
    fewer=st.floats(0, 1),
    chunk_bars=st.integers(1000, 90_000),
    seed=st.integers(0, 2**70),
)
def test_more_bars_extend_the_market_and_chunks_change_nothing(
    n_bars: int, fewer: float, chunk_bars: int, seed: int
) -> None:
    market = SyntheticMarket(n_bars=n_bars, seed=seed)
    whole = bars_of(market)
    n_fewer = max(1, int(fewer * n_bars))
    part = replace(market, n_bars=n_fewer, chunk_bars=chunk_bars)
    chunks = list(part.scan().chunks)
    assert_frame_equal(pl.concat(chunk.frame for chunk in chunks), whole[:n_fewer])
    heights = [chunk.frame.height for chunk in chunks]
    assert set(heights[:-1]) <= {chunk_bars} and sum(heights) == n_fewer
    assert [chunk.first_row for chunk in chunks] == [1 + done for done in itertools.accumulate([0, *heights[:-1]])]
    assert market.fingerprint() == replace(market, chunk_bars=chunk_bars).fingerprint()
    assert market.fingerprint() != replace(market, n_bars=n_bars + 1).fingerprint()


def test_a_symbol_has_the_same_bars_whatever_stands_beside_it() -> None:
    alone = bars_of(SyntheticMarket(n_bars=2000, symbols=("B",)))
    among = bars_of(SyntheticMarket(n_bars=2000, symbols=("A", "B", "C")))
    assert_frame_equal(among.filter(series="B"), alone)
    assert not among.filter(series="A")["close"].equals(alone["close"])
    counted = SyntheticMarket(n_bars=2000, symbols=2)
    assert counted.fingerprint() == SyntheticMarket(n_bars=2000, symbols=counted.names).fingerprint()


def test_candles_are_whole_on_the_tick_and_open_where_the_minute_before_closed() -> None:
    bars = bars_of(SyntheticMarket(n_bars=100_000, gap_rate=0.5))
    assert bars.filter(pl.col("high") < pl.max_horizontal("open", "close")).is_empty()
    assert bars.filter(pl.col("low") > pl.min_horizontal("open", "close")).is_empty()
    ticks = bars.select(pl.col(schemas.OHLC).cast(pl.Float64) / 0.01).to_numpy()
    assert np.abs(ticks - np.rint(ticks)).max() < 0.01
    follows = in_new_york(bars).filter(pl.col("pause").fill_null(0) == 1)
    assert follows.height > 90_000
    joined = bars.with_columns(before=pl.col("close").shift()).join(follows, on="timestamp", how="semi")
    assert (joined["open"] == joined["before"]).all()
    assert (bars["volume"] >= 1).all() and (bars["volume"] == bars["volume"].round()).all()


def test_sessions_open_and_close_by_the_local_clock_in_summer_and_winter() -> None:
    bars = in_new_york(bars_of(SyntheticMarket(n_bars=390 * 400, start="2024-01-01", **QUIET)))
    days = bars.group_by("date", maintain_order=True).agg(pl.len(), pl.col("time").min(), last=pl.col("time").max())
    assert (days["len"] == 390).all() and set(days["date"].dt.weekday()) == {1, 2, 3, 4, 5}
    assert days["time"].dt.to_string().unique().to_list() == ["09:30:00"]
    assert days["last"].dt.to_string().unique().to_list() == ["15:59:00"]
    weekdays = pl.date_range(days["date"][0], days["date"][-1], eager=True)
    assert days["date"].to_list() == weekdays.filter(weekdays.dt.weekday() <= 5).to_list()
    openings = bars.group_by("date").agg(pl.col("timestamp").min().dt.hour())["timestamp"]
    assert set(openings) == {13, 14}, "half past nine in New York is one UTC hour in summer and another in winter"


@pytest.mark.parametrize(("stamped", "first"), [("start", "00:00:00"), ("end", "00:01:00")])
def test_a_market_round_the_clock_has_days_of_23_and_25_hours_and_no_pause(stamped: str, first: str) -> None:
    sessions = replace(ROUND_THE_CLOCK, stamped=stamped)
    bars = in_new_york(bars_of(SyntheticMarket(n_bars=1440 * 340, start="2024-01-01", sessions=sessions, **QUIET)))
    assert bars["time"][0].isoformat("seconds") == first
    assert (bars["pause"].drop_nulls() == 1).all()
    of_date = (
        pl.col("timestamp").dt.offset_by("-1m" if stamped == "end" else "0m").dt.convert_time_zone("America/New_York")
    )
    minutes = dict(bars.group_by(of_date.dt.date().dt.to_string()).len().iter_rows())
    assert minutes["2024-03-10"] == 23 * 60 and minutes["2024-11-03"] == 25 * 60 and minutes["2024-07-01"] == 24 * 60
    joined = bars.with_columns(before=pl.col("close").shift()).drop_nulls()
    assert (joined["open"] == joined["before"]).all(), "no jump where the market never closes"


def test_a_session_over_midnight_belongs_to_the_evening_it_opens() -> None:
    futures = SessionCalendar("America/New_York", "18:00", "17:00", ("sun", "mon", "tue", "wed", "thu"))
    bars = bars_of(SyntheticMarket(n_bars=1380 * 20, start="2024-05-05", sessions=futures, **QUIET))
    sessions = bars.select(
        (pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.offset_by("-18h")).dt.date().alias("opened")
    ).to_series()
    assert sessions.value_counts()["count"].unique().to_list() == [1380]
    assert set(sessions.dt.weekday()) == {7, 1, 2, 3, 4}


def test_gaps_come_at_their_rate_one_a_session_and_never_at_its_opening() -> None:
    market = SyntheticMarket(n_bars=390 * 2000, gap_rate=0.3, max_gap_bars=20, holiday_rate=0.0)
    bars = in_new_york(bars_of(market))
    whole = bars.filter(pl.col("date") < pl.col("date").max())
    days = whole.group_by("date").agg(
        pl.len(),
        first=pl.col("time").min(),
        inside=(pl.col("pause").slice(1) > 1).sum(),
        pause=pl.col("pause").slice(1).max(),
    )
    assert days["first"].n_unique() == 1
    assert days["inside"].max() == 1 and days["pause"].max() - 1 <= 20
    assert (390 - days["len"]).max() == 20
    hit = (days["len"] < 390).mean()
    assert abs(hit - 0.3) < 4 * math.sqrt(0.3 * 0.7 / days.height)


def test_holidays_come_at_their_rate_and_are_those_of_every_symbol() -> None:
    bars = in_new_york(bars_of(SyntheticMarket(n_bars=390 * 1500, symbols=2, holiday_rate=0.1, gap_rate=0.0)))
    first, second = (bars.filter(series=name)["date"].unique().sort() for name in bars["series"].unique())
    assert first.to_list() == second.to_list()
    weekdays = pl.date_range(first[0], first[-1], eager=True)
    n_weekdays = (weekdays.dt.weekday() <= 5).sum()
    assert abs(1 - len(first) / n_weekdays - 0.1) < 4 * math.sqrt(0.1 * 0.9 / n_weekdays)


def test_a_split_halves_the_price_overnight_doubles_the_volume_and_follows_a_high_price() -> None:
    market = SyntheticMarket(n_bars=390 * 3000, split_rate=0.5, reversion_sessions=200.0)
    days = (
        in_new_york(bars_of(market))
        .group_by("date", maintain_order=True)
        .agg(pl.col("open").first(), pl.col("close").last(), pl.col("volume").mean())
        .with_columns(before=pl.col("close").shift())
        .with_columns(ratio=pl.col("open") / pl.col("before"))
    )
    splits = days.with_row_index().filter(pl.col("ratio") < 0.75)
    assert splits.height >= 3
    assert splits["ratio"].is_between(0.5 * 0.96, 0.5 * 1.04).all()
    assert (splits["before"] > 100).all()
    grown = [days["volume"][i : i + 10].mean() / days["volume"][i - 10 : i].mean() for i in splits["index"] if i >= 10]
    assert abs(np.mean(np.log2(grown)) - 1) < 0.25
    never = in_new_york(bars_of(replace(market, split_rate=0.0, n_bars=390 * 1000)))
    assert (never["open"] / never["close"].shift()).drop_nulls().min() > 0.75


@pytest.mark.parametrize("tail_dof", [5.0, None])
def test_bars_move_as_the_regime_that_the_truth_names(tail_dof: float | None) -> None:
    regimes = (Regime("calm", 400, 2.0), Regime("rising", 200, 4.0, 3.0), Regime("wild", 100, 20.0))
    market = SyntheticMarket(
        n_bars=400_000, regimes=regimes, tail_dof=tail_dof, tick=1e-6, sessions=ROUND_THE_CLOCK, **QUIET
    )
    runs, bars = market.regime_runs(), bars_of(market)
    assert runs["timestamp"][0] == bars["timestamp"][0] and runs["timestamp"][-1] <= bars["timestamp"][-1]
    moves = bars.with_columns(move=(pl.col("close") / pl.col("open")).cast(pl.Float64).log() * 1e4)
    joined = moves.join_asof(runs.with_row_index("run"), on="timestamp", by="series", check_sortedness=False)
    for regime in regimes:
        own = joined.filter(regime=regime.name)
        signed = own["move"] * own["direction"]
        assert abs(own["move"].std() / math.hypot(regime.volatility_bp, regime.drift_bp) - 1) < 0.03
        assert abs(signed.mean() - regime.drift_bp) < 5 * regime.volatility_bp / math.sqrt(own.height)
        lengths = own.group_by("run").len()["len"]
        assert abs(lengths.mean() / regime.mean_bars - 1) < 5 / math.sqrt(len(lengths))
    followers = runs.select("regime", after=pl.col("regime").shift(-1)).drop_nulls()
    assert (followers["regime"] != followers["after"]).all()


def test_the_truth_is_the_same_for_fewer_bars_and_one_regime_is_enough() -> None:
    market = SyntheticMarket(n_bars=200_000, symbols=2)
    whole, part = market.regime_runs(), replace(market, n_bars=70_000).regime_runs()
    for name in market.names:
        shorter = part.filter(series=name)
        assert_frame_equal(whole.filter(series=name)[: shorter.height], shorter)
    lonely = SyntheticMarket(n_bars=1000, regimes=(Regime("only", 50, 2.0),))
    assert bars_of(lonely).height == 1000 and set(lonely.regime_runs()["regime"]) == {"only"}


@pytest.mark.parametrize("start_price", [0.01, 100.0, 1e6])
def test_prices_stay_above_zero_and_finite_in_the_wildest_market(start_price: float) -> None:
    storm = (Regime("storm", 100, 500.0, 50.0),)
    market = SyntheticMarket(
        n_bars=200_000, regimes=storm, tail_dof=2.1, overnight_bp=1000.0, start_price=start_price, split_rate=1.0
    )
    bars = bars_of(market)
    schemas.bars((*schemas.OHLC, "volume")).validate(bars, lazy=True)
    assert bars["low"].min() >= np.float32(0.01) and bars["high"].is_finite().all()


def test_centuries_of_sessions_keep_their_time_and_price() -> None:
    minute_a_day = SessionCalendar("America/New_York", "12:00", "12:01", ("mon", "wed"))
    bars = bars_of(SyntheticMarket(n_bars=40_000, sessions=minute_a_day, regimes=(Regime("day", 10, 100.0),)))
    assert bars["timestamp"].dt.year().max() > 2390
    assert (bars["timestamp"].diff().drop_nulls().dt.total_hours() > 24).all()
    assert 1 < bars["close"].median() < 10_000


def test_a_session_inside_the_hour_that_a_clock_skips_does_not_take_place() -> None:
    night = SessionCalendar("America/New_York", "02:00", "03:00", WEEK)
    bars = bars_of(SyntheticMarket(n_bars=60 * 100, start="2024-03-01", sessions=night, **QUIET))
    days = in_new_york(bars).group_by("date").len()
    assert (days["len"] == 60).all() and "2024-03-10" not in days["date"].dt.to_string().to_list()


def test_memory_does_not_grow_with_the_market() -> None:
    def peak(n_bars: int) -> int:
        tracemalloc.start()
        for chunk in SyntheticMarket(n_bars=n_bars, chunk_bars=50_000).scan().chunks:
            assert chunk.frame.height <= 50_000
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small = peak(150_000)
    assert peak(1_500_000) < 1.2 * small


def test_a_hundred_million_bars_begin_at_once() -> None:
    market = SyntheticMarket(n_bars=100_000_000)
    first = next(iter(market.scan().chunks))
    assert_frame_equal(first.frame[:1000], bars_of(replace(market, n_bars=1000)))


def test_the_generator_version_stands_for_these_bars() -> None:
    bars = bars_of(SyntheticMarket(n_bars=1000))
    content = bars.select(pl.col("timestamp").cast(pl.Int64), pl.col(schemas.OHLC)).to_numpy().tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "07cfaae7aa6849c1", "raise GENERATOR with what is drawn"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"n_bars": 0, "symbols": 0, "seed": -1, "start": "1 May"},
            ["n_bars: 0", "symbols: 0", "seed: -1", "start: '1 May'"],
        ),
        (
            {"symbols": ["A", "A"], "regimes": []},
            ["symbols: ['A', 'A'] holds one twice", "regimes: needs at least one"],
        ),
        ({"tick": 0.0, "tail_dof": 2.0, "gap_rate": 1.5}, ["tick: 0.0", "tail_dof: 2.0", "gap_rate: 1.5"]),
        ({"n_bars": 10**12}, ["n_bars: 1000000000000 is more than the"]),
        ({"chunk_bars": 1 << 30}, ["chunk_bars: "]),
        ({"sessions": {"timezone": "Mars/Olympus"}}, ["data.sessions.timezone: 'Mars/Olympus'"]),
        (
            {"regimes": [{"name": "x", "mean_bars": 0.5, "volatility_bp": 0.0}]},
            ["mean_bars: 0.5", "volatility_bp: 0.0"],
        ),
    ],
)
def test_a_wrong_parameter_is_refused_with_all_others_by_its_key(values: dict[str, object], said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        structure(SyntheticMarket, values, "data")
    text = "\n".join(caught.value.problems)
    assert all(part in text for part in said), text
    assert all(line.startswith("data.") for line in caught.value.problems)
