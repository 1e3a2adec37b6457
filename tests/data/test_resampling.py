"""Longer bars are the bars they are made of, however these stream by, and no bar spans a session."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.data.calendars import OUTSIDE, SessionCalendar
from moola.data.durations import microseconds
from moola.data.resampling import ResampleConfig, Resampler
from moola.errors import ConfigError, DataError

SHARED = Path(__file__).parents[2] / "../shared/data"
CHANNELS = ("open", "high", "low", "close", "volume")
HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
MINUTE = 60_000_000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NEW_YORK = SessionCalendar("America/New_York", "18:00", "17:00", ("sun", "mon", "tue", "wed", "thu"))


def us(text: str) -> int:
    """Microseconds since 1970 of a UTC time."""
    there = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
    return int((there - EPOCH).total_seconds()) * 1_000_000


def bars_at(stamps: Sequence[int] | np.ndarray, series: Sequence[str] | str = "a", seed: int = 0) -> pl.DataFrame:
    """Bars with values that no two share and whose sums are not exact."""
    values = np.random.default_rng(seed).lognormal(size=(len(stamps), len(CHANNELS)))
    names = [series] * len(stamps) if isinstance(series, str) else list(series)
    times = pl.Series("timestamp", np.asarray(stamps, dtype=np.int64)).cast(pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({"series": pl.Series(names, dtype=pl.String), "timestamp": times})
    return frame.hstack([pl.Series(name, values[:, i]) for i, name in enumerate(CHANNELS)])


def resample(
    frame: pl.DataFrame,
    config: ResampleConfig,
    calendar: SessionCalendar | None = None,
    cuts: Sequence[int] = (),
    channels: Sequence[str] = CHANNELS,
) -> tuple[pl.DataFrame, Resampler]:
    """New bars, a series after the other, from chunks that end at the rows in `cuts`."""
    resampler = Resampler(config, calendar, channels)
    edges = [0, *sorted(cuts), len(frame)]
    parts = [resampler.push(frame[a:b]) for a, b in itertools.pairwise(edges)]
    bars = pl.concat([*parts, resampler.flush()])
    return bars.sort("series", maintain_order=True), resampler


def one_by_one(frame: pl.DataFrame, config: ResampleConfig, calendar: SessionCalendar) -> list[tuple[Any, ...]]:
    """The definition, bar by bar in plain Python: (series, stamp, values), sums in exact order of addition aside."""
    every, at_end = microseconds(config.every), config.stamped == "end"
    groups: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for name, time, *values in frame.iter_rows():
        stamp = (time - EPOCH) // datetime.timedelta(microseconds=1)
        session = calendar.sessions(np.array([stamp]))
        if session[0] == OUTSIDE:
            continue
        opening, closing = int(calendar.openings(session)[0]), int(calendar.closings(session)[0])
        begin, end = opening, closing
        if config.every != "1d":
            while not (begin < stamp <= begin + every if at_end else begin <= stamp < begin + every):
                begin += every
            end = min(begin + every, closing)
        groups.setdefault((name, end if at_end else begin), []).append(tuple(values))
    how = {"first": lambda v: v[0], "last": lambda v: v[-1], "max": max, "min": min, "sum": sum}
    return [
        (*key, *(how[HOW[name]]([row[i] for row in rows]) for i, name in enumerate(CHANNELS)))
        for key, rows in sorted(groups.items())
    ]


@st.composite
def streams(draw: st.DrawFn) -> tuple[pl.DataFrame, ResampleConfig, SessionCalendar, list[int]]:
    """Minute bars of up to three alternating series around the days when clocks are set, and where to cut them."""
    stamped = draw(st.sampled_from(["start", "end"]))
    zone, near = draw(
        st.sampled_from(
            [
                ("America/New_York", us("2024-03-10T07:00")),
                ("America/New_York", us("2024-11-03T06:00")),
                ("UTC", us("2024-01-02T00:00")),
                ("Australia/Lord_Howe", us("2024-04-06T15:00")),
            ]
        )
    )
    hours = draw(st.sampled_from([("00:00", "24:00"), ("18:00", "17:00"), ("09:30", "16:00"), ("17:00", "17:00")]))
    calendar = SessionCalendar(zone, *hours, stamped=stamped)
    pauses = draw(st.lists(st.sampled_from([1, 1, 1, 2, 7, 15, 61, 500]), max_size=40))
    minutes = np.cumsum([draw(st.integers(-2_000, 100)), *pauses])
    frame = bars_at(near + minutes * MINUTE)
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=len(frame), max_size=len(frame)))
    frame = frame.with_columns(series=pl.Series(names))
    noon = SessionCalendar(zone, "12:00", "13:00").openings(np.array([datetime.date(2000, 1, 3).toordinal()]))[0]
    twos = [bars_at([noon, noon + MINUTE], name, seed=1) for name in ("a", "b", "c")]
    frame = pl.concat([*twos, frame])  # so that each series shows that its bars last a minute
    every = draw(st.sampled_from(["1m", "5m", "15m", "7m", "1h", "4h", "1d"]))
    cuts = draw(st.lists(st.integers(0, len(frame)), max_size=6))
    return frame, ResampleConfig(every, stamped), calendar, cuts


Stream = tuple[pl.DataFrame, ResampleConfig, SessionCalendar, list[int]]


@given(streams())
def test_new_bars_are_those_of_the_definition(stream: Stream) -> None:
    frame, config, calendar, cuts = stream
    bars, _ = resample(frame, config, calendar, cuts)
    expected = one_by_one(frame, config, calendar)
    found = bars.with_columns(pl.col("timestamp").dt.epoch("us")).rows()
    assert [row[:6] for row in found] == [row[:6] for row in expected]
    np.testing.assert_allclose([row[6] for row in found], [row[6] for row in expected], rtol=1e-12)


@given(streams())
def test_how_a_stream_is_cut_changes_nothing_to_the_last_bit(stream: Stream) -> None:
    frame, config, calendar, cuts = stream
    in_pieces, pieces = resample(frame, config, calendar, cuts)
    at_once, whole = resample(frame, config, calendar)
    assert in_pieces.equals(at_once)
    assert pieces.counts == whole.counts


@given(streams())
def test_every_bar_is_in_one_new_bar_of_its_session_or_counted_outside(stream: Stream) -> None:
    frame, config, calendar, cuts = stream
    sessions = pl.Series(calendar.sessions(frame["timestamp"].to_physical().to_numpy()))
    marked = frame.with_columns(low=sessions, high=sessions, volume=pl.lit(1.0))
    bars, resampler = resample(marked, config, calendar, cuts)
    counts = resampler.counts
    assert (counts.rows, counts.bars) == (len(frame), len(bars))
    assert counts.outside_session == (sessions == OUTSIDE).sum()
    assert bars["volume"].sum() == counts.rows - counts.outside_session
    assert bars["low"].to_list() == bars["high"].to_list()  # first and last session that a new bar holds


def minutes_of_day(date: str, stamped: str = "start") -> pl.DataFrame:
    calendar = SessionCalendar("America/New_York")
    day = np.array([datetime.date.fromisoformat(date).toordinal()])
    stamps = np.arange(calendar.openings(day)[0], calendar.closings(day)[0], MINUTE)
    return bars_at(stamps + (MINUTE if stamped == "end" else 0))


@pytest.mark.parametrize(("date", "bars"), [("2024-03-10", 92), ("2024-11-03", 100), ("2024-06-03", 96)])
@pytest.mark.parametrize("stamped", ["start", "end"])
def test_days_when_clocks_are_set_have_as_many_bars_as_time(date: str, bars: int, stamped: Any) -> None:
    calendar = SessionCalendar("America/New_York", stamped=stamped)
    frame = minutes_of_day(date, stamped).with_columns(volume=pl.lit(1.0))
    found, _ = resample(frame, ResampleConfig("15m", stamped), calendar)
    assert found["volume"].to_list() == [15.0] * bars
    one, _ = resample(frame, ResampleConfig("1d", stamped), calendar)
    assert one["volume"].to_list() == [bars * 15.0]


def test_a_length_that_does_not_divide_the_session_gives_a_shorter_last_bar() -> None:
    calendar = SessionCalendar("UTC", "09:30", "16:00", stamped="end")
    stamps = np.arange(us("2024-06-03T09:31"), us("2024-06-03T16:01"), MINUTE)
    bars, _ = resample(bars_at(stamps).with_columns(volume=pl.lit(1.0)), ResampleConfig("2h", "end"), calendar)
    assert bars["volume"].to_list() == [120.0, 120.0, 120.0, 30.0]
    assert bars["timestamp"].dt.strftime("%H:%M").to_list() == ["11:30", "13:30", "15:30", "16:00"]


def test_a_bar_on_a_boundary_falls_on_the_side_that_its_stamp_says() -> None:
    frame = bars_at([us(f"2024-06-03T12:{minute:02d}") for minute in range(14, 18)])
    by_start, _ = resample(frame, ResampleConfig("15m", "start"))
    by_end, _ = resample(frame, ResampleConfig("15m", "end"))
    assert by_start["timestamp"].dt.strftime("%H:%M").to_list() == ["12:00", "12:15"]
    assert by_start["open"].to_list() == [frame["open"][0], frame["open"][1]]
    assert by_end["timestamp"].dt.strftime("%H:%M").to_list() == ["12:15", "12:30"]
    assert by_end["open"].to_list() == [frame["open"][0], frame["open"][2]]


def test_channels_are_aggregated_as_told_and_by_name() -> None:
    frame = bars_at([us(f"2024-06-03T12:0{minute}") for minute in range(3)]).rename({"volume": "spread"})
    channels = ("spread", "close")
    config = ResampleConfig("15m", aggregate={"spread": "max"})
    bars, _ = resample(frame.select("series", "timestamp", *channels), config, channels=channels)
    assert bars.columns == ["series", "timestamp", "spread", "close"]
    assert bars.row(0)[2:] == (frame["spread"].max(), frame["close"][2])


def test_every_channel_that_cannot_be_aggregated_is_named_at_once() -> None:
    config = ResampleConfig("15m", "end", {"vwop": "last"})
    with pytest.raises(ConfigError) as caught:
        Resampler(config, SessionCalendar(), ("open", "vwap", "trades"))
    text = str(caught.value)
    assert "data.resample.aggregate.vwop: there is no such channel; did you mean 'vwap'?" in text
    assert "data.resample.aggregate.vwap: is missing" in text
    assert "data.resample.aggregate.trades: is missing" in text
    assert "data.resample.stamped: 'end', but data.calendar.stamped is 'start'" in text


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"every": "fast"}, "every: 'fast' is not a duration"),
        ({"every": "0s"}, "every: '0s' is shorter"),
        ({"every": "2d"}, "every: '2d' is longer than 1d"),
        ({"every": "15m", "aggregate": {"vwap": "mean"}}, "aggregate.vwap: 'mean' is not allowed"),
    ],
)
def test_resampling_that_makes_no_sense_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ResampleConfig(**values)
    assert caught.value.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("step_minutes", "every", "problem"),
    [
        (60, "15m", "- 1 series with longer bars (1h): b"),
        (10_080, "1d", "- 1 series with longer bars (1w): b"),
        (10, "15m", "- 1 series with bars that new ones would cut (10m): b"),
    ],
)
def test_bars_that_are_too_long_for_the_new_ones_are_refused(step_minutes: int, every: str, problem: str) -> None:
    start = us("2024-06-03T00:00")
    fine = bars_at(start + np.arange(50) * MINUTE, "a")
    coarse = bars_at(start + np.arange(50) * step_minutes * MINUTE, "b")
    with pytest.raises(DataError) as caught:
        resample(pl.concat([fine, coarse]), ResampleConfig(every), cuts=[20, 60, 61, 80])
    assert caught.value.why == problem


def test_bars_that_do_not_begin_with_the_session_are_refused() -> None:
    hours = us("2024-06-03T00:00") + np.arange(100) * 60 * MINUTE
    with pytest.raises(DataError, match="do not begin at a whole number of steps after the session opens"):
        resample(bars_at(hours), ResampleConfig("2h"), SessionCalendar("UTC", "09:30", "16:00"))


def test_ticks_have_no_step_to_keep_to() -> None:
    ticks = us("2024-06-03T00:00") + np.cumsum(np.random.default_rng(0).integers(1, 90_000_000, 500))
    bars, _ = resample(bars_at(ticks), ResampleConfig("7m"))
    assert 30 < len(bars) < 60


@pytest.mark.parametrize("second", [us("2024-06-03T00:00"), us("2024-06-02T23:59")])
def test_bars_out_of_order_are_a_defect_of_the_caller(second: int) -> None:
    resampler = Resampler(ResampleConfig("15m"), None, CHANNELS)
    resampler.push(bars_at([us("2024-06-03T00:00")]))
    with pytest.raises(ValueError, match="in the order of time"):
        resampler.push(bars_at([second]))


def test_rows_with_nulls_are_a_defect_of_the_caller() -> None:
    frame = bars_at([us("2024-06-03T00:00")]).with_columns(close=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(ValueError, match="nulls"):
        Resampler(ResampleConfig("15m"), None, CHANNELS).push(frame)


def test_a_series_that_is_over_is_not_looked_at_again_while_others_stream_by(monkeypatch: pytest.MonkeyPatch) -> None:
    combine, looked_at = Resampler._combine, []

    def watched(self: Resampler, rows: pl.DataFrame, is_last: bool) -> pl.DataFrame:
        looked_at.append(len(rows))
        return combine(self, rows, is_last)

    monkeypatch.setattr(Resampler, "_combine", watched)
    frame = pl.concat([bars_at(np.arange(10) * MINUTE, name) for name in "abcdefgh"])
    bars, _ = resample(frame, ResampleConfig("1d"), cuts=range(10, 80, 10))
    assert looked_at == [10] * 8 + [80]
    assert len(bars) == 8


def test_nothing_resampled_is_nothing() -> None:
    bars, resampler = resample(bars_at([]), ResampleConfig("15m"))
    assert bars.is_empty()
    assert bars.columns == ["series", "timestamp", *CHANNELS]
    assert resampler.counts.rows == 0


@pytest.fixture(scope="module")
def eurusd() -> pl.DataFrame:
    """Half a year of EUR/USD minutes, EST without daylight saving."""
    path = SHARED / "eurusd_m1_2017H1.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    frame = pl.read_csv(path, try_parse_dates=True).rename({"timestamp_est": "timestamp"})
    utc = (pl.col("timestamp") + pl.duration(hours=5)).dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    return frame.select(pl.lit("eurusd").alias("series"), utc, "open", "high", "low", "close")


@pytest.mark.parametrize(
    ("every", "zone"), [("15m", "UTC"), ("4h", "UTC"), ("1d", "UTC"), ("1d", "America/New_York"), ("1d", "Asia/Tokyo")]
)
def test_real_minutes_give_the_bars_that_an_independent_query_gives(
    every: str, zone: str, eurusd: pl.DataFrame
) -> None:
    prices = ("open", "high", "low", "close")
    bars, resampler = resample(eurusd, ResampleConfig(every), SessionCalendar(zone), range(0, 186_348, 7_919), prices)
    local = eurusd.with_columns(pl.col("timestamp").dt.convert_time_zone(zone))
    query = local.group_by_dynamic("timestamp", every=every, group_by="series").agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
    )
    expected = query.with_columns(pl.col("timestamp").dt.convert_time_zone("UTC")).select(bars.columns)
    assert bars.equals(expected)
    assert resampler.counts.rows == 186_348
    assert resampler.counts.outside_session == 0
