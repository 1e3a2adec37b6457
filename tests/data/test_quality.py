"""Bars are judged the same way however they come, and by their own measure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.data.findings import Finding
from moola.data.outliers import BLOCK_BARS
from moola.data.quality import BarAudit, QualityConfig
from moola.data.sources import UNREAD, Chunk
from moola.errors import ConfigError
from moola.schemas import OHLC, TIMESTAMP
from moola.schemas.bars import BarRule, bar_rules
from moola.testing import check_bar_rules

MINUTE = 60_000_000
CHANNELS = (*OHLC, "volume")


def candles(
    closes: Sequence[float] | np.ndarray, minutes: Sequence[int | None] | None = None, series: str = "nq"
) -> pl.DataFrame:
    """Bars that open where the bar before closed, with small wicks, a minute apart."""
    close = np.asarray(closes, dtype=np.float64)
    opened = np.concatenate([close[:1], close[:-1]])
    minutes = list(range(len(close))) if minutes is None else list(minutes)
    return pl.DataFrame(
        {
            "series": pl.repeat(series, len(close), eager=True),
            "timestamp": (pl.Series(minutes, dtype=pl.Int64) * MINUTE).cast(TIMESTAMP),
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
            "volume": np.arange(len(close)) % 7.0,
        }
    )


def walk(n_bars: int, seed: int = 0) -> np.ndarray:
    """A price around 19,800 that moves by a basis point a bar."""
    return 19_800 * np.exp(np.random.default_rng(seed).normal(0, 1e-4, n_bars).cumsum())


def audit(*chunks: Chunk, config: QualityConfig | None = None) -> tuple[pl.DataFrame, pl.DataFrame, BarAudit]:
    """Good rows, bad rows and the audit itself."""
    judge = BarAudit(chunks[0].frame.columns[2:], config)
    audited = [*(judge.take(chunk) for chunk in chunks), judge.flush()]
    good, bad = (
        pl.concat([one.good for one in audited], how="vertical_relaxed"),
        pl.concat([one.bad for one in audited], how="vertical_relaxed"),
    )
    assert judge.rows_read == sum(len(chunk.frame) for chunk in chunks)
    assert (judge.rows_kept, judge.rows_bad) == (len(good), len(bad))
    assert judge.rows_read == judge.rows_kept + judge.rows_bad
    return good, bad, judge


def cut(frame: pl.DataFrame, at: Sequence[int], first_row: int = 2) -> list[Chunk]:
    edges = [0, *at, len(frame)]
    return [
        Chunk(frame[start:end], "prices.csv", first_row + start) for start, end in itertools.pairwise(sorted(edges))
    ]


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    return {
        f"{one.reason} {one.message.partition(':')[0]}" if ":" in one.message else one.reason: one.rows
        for one in findings
    }


def put(frame: pl.DataFrame, row: int, **cells: float | None) -> pl.DataFrame:
    """The frame with other values in one row."""
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in cells.items()
    )


# --- one row at a time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "reason", "message"),
    [
        ({"close": math.nan}, "not_finite_close", "close: is not a finite number"),
        ({"volume": math.inf}, "not_finite_volume", "volume: is not a finite number"),
        ({"high": 1.0}, "high_below_body", "high is below open or close"),
        ({"low": 1e9}, "low_above_body", "low is above open or close"),
        ({"low": 0.0}, "price_not_positive", "a price is 0 or less"),
        ({"low": -1.0}, "price_not_positive", "a price is 0 or less"),
        ({"volume": -1.0}, "negative_volume", "volume: is below 0"),
        ({"volume": 1e39}, "not_float32_volume", "volume: is too large or too close to 0 for a 32-bit float"),
        ({"low": 1e-46}, "not_float32_low", "low: is too large or too close to 0 for a 32-bit float"),
        ({"close": None}, "empty", "close: is empty"),
        ({"timestamp": None}, "empty", "timestamp: is empty"),
        ({"series": None}, "empty", "series: is empty"),
    ],
)
def test_a_row_that_cannot_be_is_kept_apart_with_its_reason_and_its_place(
    cells: dict[str, float | None], reason: str, message: str
) -> None:
    good, bad, judge = audit(*cut(put(candles(walk(30)), 4, **cells), []))
    (finding,) = judge.findings()
    assert (finding.reason, finding.message, finding.severity, finding.rows) == (reason, message, "error", 1)
    assert bad.select("place", "row", "reasons").rows() == [("prices.csv", 6, message)]
    assert finding.examples[0].startswith("prices.csv:6 ")
    assert len(good) == 29


def test_every_reason_of_a_row_is_told() -> None:
    _, bad, _ = audit(*cut(put(candles(walk(30)), 3, high=1.0, low=-1.0, volume=-2.0), []))
    assert bad["reasons"].to_list() == ["high is below open or close; a price is 0 or less; volume: is below 0"]


def test_cells_that_could_not_be_read_are_told_with_what_stood_there_and_not_called_empty() -> None:
    frame = put(put(candles(walk(10)), 3, close=None), 5, high=None, low=None)
    unread = pl.DataFrame(
        [(3, "Last", "12,5", "is not a number"), (5, "High", "", "is empty"), (5, "Low", None, "is empty")],
        schema=UNREAD,
        orient="row",
    )
    _, bad, judge = audit(Chunk(frame, "prices.csv", 2, unread))
    assert {(one.reason, one.message, one.rows) for one in judge.findings()} == {
        ("unread", "Last: is not a number", 1),
        ("unread", "High: is empty", 1),
        ("unread", "Low: is empty", 1),
    }
    assert bad["reasons"].to_list() == ["Last: is not a number ('12,5')", "High: is empty (''); Low: is empty ('')"]
    assert bad["row"].to_list() == [5, 7]
    example = next(one.examples[0] for one in judge.findings() if one.message.startswith("Last"))
    assert example == "prices.csv:5 series 'nq' 1970-01-01 00:03:00 UTC Last='12,5'"


def test_a_file_may_call_its_columns_as_it_likes() -> None:
    unread = pl.DataFrame(
        [(2, "timestamp", "noon", "is not a time"), (3, "series", "", "is empty")], UNREAD, orient="row"
    )
    frame = put(put(candles(walk(5)), 2, timestamp=None), 3, series=None)
    _, bad, judge = audit(Chunk(frame, "prices.csv", 2, unread))
    assert bad["reasons"].to_list() == ["timestamp: is not a time ('noon')", "series: is empty ('')"]
    assert {one.examples for one in judge.findings()} == {
        ("prices.csv:4 series 'nq' no time timestamp='noon'",),
        ("prices.csv:5 no series 1970-01-01 00:03:00 UTC series=''",),
    }


@pytest.mark.parametrize("odd", [{"open": math.nan}, {"high": math.nan}, {"low": math.nan}, {"close": math.nan}])
def test_a_price_that_is_no_number_is_not_also_said_to_be_out_of_order(odd: dict[str, float | None]) -> None:
    _, _, judge = audit(*cut(put(candles(walk(30)), 4, **odd), []))
    assert [one.reason for one in judge.findings()] == [f"not_finite_{next(iter(odd))}"]


# --- the order of time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "bad"),
    [
        ([0, 1, 2, 3, 4], {}),
        ([0, 1, 2, 2, 3], {3: "duplicate"}),
        ([0, 1, 2, 1, 3], {3: "late"}),
        ([0, 1, 2, 900, 3, 4, 5], {3: "ahead"}),
        ([900, 1, 2, 3], {0: "ahead"}),
        ([0, 1, 2, 900, 3, 4, 800, 5, 6], {3: "ahead", 6: "ahead"}),
        ([0, 1, 2, 900, 3, 3, 4], {3: "ahead", 5: "duplicate"}),
        ([0, 1, 900], {}),  # a pause, as far as anybody can know
        ([0, 1, 900, 2], {3: "late"}),  # one row is too little to say which of two is wrong
        ([5, 4, 3, 2], {1: "late", 2: "late", 3: "late"}),  # new to old
        ([0, 1, 2, 3, 1, 2, 3, 4], {4: "late", 5: "late", 6: "duplicate"}),  # an hour that occurs twice
    ],
)
def test_one_row_out_of_time_does_not_condemn_the_others(minutes: list[int], bad: dict[int, str]) -> None:
    frame = candles(walk(len(minutes)), minutes)
    expected = {
        row + 2: {"late": "earlier", "duplicate": "that of a row", "ahead": "leaps"}[why] for row, why in bad.items()
    }
    for at in ([], range(1, len(minutes)), [len(minutes) // 2]):
        good, rows, judge = audit(*cut(frame, list(at)))
        assert set(rows["row"]) == expected.keys()
        assert all(expected[row] in reason for row, reason in rows.select("row", "reasons").rows())
        assert good["timestamp"].is_sorted() and good["timestamp"].n_unique() == len(good)
        assert {one.reason for one in judge.findings()} == set(bad.values())


def test_rows_equal_in_everything_are_duplicates() -> None:
    frame = candles(walk(6))
    _, bad, judge = audit(*cut(pl.concat([frame[:3], frame[2:]]), []))
    assert [(one.reason, one.rows) for one in judge.findings()] == [("duplicate", 1)]
    assert bad["row"].to_list() == [5]


def test_a_row_with_another_fault_does_not_set_the_time_for_those_after_it() -> None:
    frame = put(candles(walk(6), [0, 1, 900, 2, 3, 4]), 2, close=math.nan)
    good, _, judge = audit(*cut(frame, []))
    assert [one.reason for one in judge.findings()] == ["not_finite_close"]
    assert len(good) == 5


def test_each_series_has_a_time_of_its_own() -> None:
    frame = pl.concat([candles(walk(4), series="a"), candles(walk(4), series="b")])
    good, bad, _ = audit(*cut(frame, [2, 6]))
    assert (len(good), len(bad)) == (8, 0)


# --- cuts and alternation ---------------------------------------------------------------------------------------------

ROW = st.tuples(
    st.sampled_from(["a", "a", "a", "b", "c", None]),
    st.sampled_from([1, 1, 1, 1, 0, -2, 700]),
    st.sampled_from([{}, {}, {}, {}, {"close": math.nan}, {"high": 0.5}, {"low": None}, {"volume": -1.0}]),
)


def bars_from(rows: list[tuple[str | None, int, dict[str, float | None]]]) -> pl.DataFrame:
    clock: dict[str | None, int] = {}
    table = []
    for name, step, cells in rows:
        clock[name] = clock.get(name, 0) + step
        good = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5, "volume": 1.0}
        table.append({"series": name, "timestamp": clock[name] * MINUTE, **good, **cells})
    kinds = {"series": pl.String, "timestamp": pl.Int64, **dict.fromkeys(CHANNELS, pl.Float64)}
    return pl.DataFrame(table, schema=kinds).with_columns(pl.col("timestamp").cast(TIMESTAMP))


@settings(max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=40), data=st.data())
def test_how_rows_are_cut_into_chunks_changes_neither_answer_nor_findings(rows: list, data: st.DataObject) -> None:
    frame = bars_from(rows)
    cuts = data.draw(st.sets(st.integers(0, len(frame)), max_size=8))
    good, bad, whole = audit(*cut(frame, []))
    good_cut, bad_cut, pieces = audit(*cut(frame, sorted(cuts)))
    assert pieces.findings() == whole.findings()
    assert good_cut.sort("series", maintain_order=True).equals(good.sort("series", maintain_order=True))
    assert bad_cut.sort("row").equals(bad.sort("row"))
    assert pieces.kept_series() == whole.kept_series()
    assert pieces.spoiled() == whole.spoiled()


@settings(max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=40), data=st.data())
def test_how_series_alternate_changes_neither_answer_nor_counts(rows: list, data: st.DataObject) -> None:
    frame = bars_from(rows).with_columns(number=pl.int_range(pl.len()))
    own = {name: iter(part["number"].to_list()) for (name,), part in frame.group_by("series", maintain_order=True)}
    tickets = data.draw(st.permutations(frame["series"].to_list()))
    mixed = frame[[next(own[name]) for name in tickets]].drop("number")
    good, bad, one = audit(*cut(frame.drop("number"), []))
    good_mixed, bad_mixed, other = audit(*cut(mixed, [len(mixed) // 3]))
    assert counts(one.findings()) == counts(other.findings())
    assert good_mixed.sort("series", maintain_order=True).equals(good.sort("series", maintain_order=True))
    columns = [name for name in bad.columns if name != "row"]
    assert sorted(map(str, bad_mixed.select(columns).rows())) == sorted(map(str, bad.select(columns).rows()))


@settings(max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=40))
def test_good_and_bad_rows_together_are_the_rows_that_were_read(rows: list) -> None:
    frame = bars_from(rows)
    good, bad, judge = audit(*cut(frame, [len(frame) // 2]))
    both = pl.concat([good, bad.select(good.columns)], how="vertical_relaxed")
    assert sorted(map(str, both.rows())) == sorted(map(str, frame.rows()))
    assert bad["reasons"].str.len_chars().min() is None or bad["reasons"].str.len_chars().min() > 0
    assert sum(one.rows for one in judge.findings() if one.severity == "error") >= len(bad)


# --- outliers ---------------------------------------------------------------------------------------------------------


def spoilt() -> pl.DataFrame:
    """3,000 bars with a slipped decimal point, a bad high, a split two for one, and 300 candles that stand still."""
    closes = walk(3_000)
    closes[2_000:] /= 2
    closes[2_500:2_800] = closes[2_500]
    frame = candles(closes).with_columns(volume=pl.lit(1.0))
    opened = pl.when(pl.int_range(pl.len()) == 2_000).then(pl.col("close")).otherwise(pl.col("open"))
    frame = frame.with_columns(open=opened).with_columns(high=pl.max_horizontal("open", "close") * 1.0001)
    frame = frame.with_columns(low=pl.min_horizontal("open", "close") * 0.9999)
    frame = put(frame, 500, low=frame["low"][500] / 10)
    return put(frame, 1_023, high=frame["high"][1_023] * 1.2)


ODD = {
    "spike high, low": 2,
    "level_shift open, high, low, close": 1,
    "stuck": 299,
}


def test_spikes_are_told_from_shifts_and_nothing_is_dropped() -> None:
    good, bad, judge = audit(*cut(spoilt(), []))
    assert (len(good), len(bad)) == (3_000, 0)
    assert counts(judge.findings()) == ODD
    assert {one.severity for one in judge.findings()} == {"warning"}
    spike = next(one for one in judge.findings() if one.reason == "spike")
    assert spike.examples[0].startswith("prices.csv:502 series 'nq' 1970-01-01 08:20:00 UTC low=19")


def test_a_bar_that_is_odd_in_several_channels_is_one_bar_with_all_its_values() -> None:
    _, _, judge = audit(*cut(spoilt(), []))
    shift = next(one for one in judge.findings() if one.reason == "level_shift")
    assert shift.rows == len(shift.examples) == 1
    assert [part.split("=")[0] for part in shift.examples[0].partition(" UTC ")[2].split(", ")] == list(OHLC)


def test_a_warning_names_the_first_of_many_channels() -> None:
    frame = candles(walk(500))[["series", "timestamp", "close"]]
    frame = frame.select("series", "timestamp", *(pl.col("close").alias(f"sensor_{number}") for number in range(9)))
    frame = put(frame, 250, **{f"sensor_{number}": 1.0 for number in range(9)})
    _, _, judge = audit(*cut(frame, []))
    (spike,) = judge.findings()
    assert spike.rows == 1 and "sensor_5 and 3 more: leaves for one bar" in spike.message
    assert spike.examples[0].endswith(", ...") and "sensor_6" not in spike.examples[0]


def test_places_in_independent_series_are_told_by_step_or_seconds_and_not_by_a_date() -> None:
    frame = candles(walk(30))
    cases = put(frame, 4, high=1.0).with_columns(timestamp=pl.int_range(pl.len()).cast(TIMESTAMP))
    runs = put(frame, 4, high=1.0).with_columns(timestamp=(pl.int_range(pl.len()) * 1_500_000).cast(TIMESTAMP))
    for times, told in ((cases, "step 4"), (runs, "6 s")):
        judge = BarAudit(CHANNELS, independent=True)
        judge.take(Chunk(times, "prices.csv", 2))
        assert judge.findings()[0].examples[0].startswith(f"prices.csv:6 series 'nq' {told} open=")


@settings(max_examples=50)
@given(cuts=st.sets(st.integers(0, 3_000), max_size=12))
def test_cuts_change_nothing_of_what_is_odd(cuts: set[int]) -> None:
    _, _, whole = audit(*cut(spoilt(), []))
    _, _, pieces = audit(*cut(spoilt(), sorted(cuts)))
    assert pieces.findings() == whole.findings()


@pytest.mark.parametrize("kind", [pl.Float64, pl.Float32])
@settings(max_examples=40)
@given(factor=st.floats(1e-6, 1e6))
def test_findings_are_the_same_when_every_price_is_multiplied_by_a_constant(kind: type, factor: float) -> None:
    prices = [pl.col(name) * factor for name in OHLC]
    scaled = spoilt().with_columns(prices).with_columns(pl.col(CHANNELS).cast(kind))
    good, bad, judge = audit(*cut(scaled, []))
    assert (len(good), len(bad)) == (3_000, 0)
    assert counts(judge.findings()) == ODD


def test_a_market_at_19_800_is_as_good_as_one_at_1() -> None:
    for price in (1.0, 9_999.0, 19_800.0, 1e6):
        _, _, judge = audit(*cut(candles(walk(2_000) / 19_800 * price), []))
        assert judge.findings() == ()


@pytest.mark.parametrize("length", [BLOCK_BARS - 1, BLOCK_BARS, BLOCK_BARS + 1, 2 * BLOCK_BARS, 30])
@pytest.mark.parametrize("end", [True, False])
def test_the_first_and_the_last_bars_are_looked_over_too(length: int, end: bool) -> None:
    closes = walk(length)
    closes[-2 if end else 1] *= 10
    _, _, judge = audit(*cut(candles(closes)[["series", "timestamp", "close"]], []))
    assert counts(judge.findings()) == {"spike close": 1}


def test_a_series_that_hardly_moves_is_not_judged_by_its_few_moves() -> None:
    closes = np.ones(200)
    closes[100:] = 2
    _, _, judge = audit(*cut(candles(closes), []), config=QualityConfig(stuck_bars=None))
    assert judge.findings() == ()


def test_channels_that_fall_below_zero_are_judged_by_differences() -> None:
    frame = pl.DataFrame({"series": "a", "timestamp": pl.Series(np.arange(500)).cast(TIMESTAMP)}).with_columns(
        x=pl.Series(np.sin(np.arange(500) / 5))
    )
    _, _, judge = audit(*cut(put(frame, 250, x=-999.0), [100]))
    assert counts(judge.findings()) == {"spike x": 1}
    _, _, judge = audit(*cut(frame, [100]))
    assert judge.findings() == ()


def test_outliers_and_stuck_candles_need_not_be_looked_for() -> None:
    _, _, judge = audit(*cut(spoilt(), []), config=QualityConfig(outlier_scale=None, stuck_bars=None))
    assert judge.findings() == ()


# --- rules and configuration ------------------------------------------------------------------------------------------


def test_the_rules_of_bars_do_not_know_what_a_price_is_worth() -> None:
    check_bar_rules(bar_rules(CHANNELS))
    check_bar_rules(bar_rules(("x", "y")))


@pytest.mark.parametrize("limit", [10_000, 1e-3, 19_800, -5])
def test_an_absolute_limit_is_refused_by_the_suite_of_rules(limit: float) -> None:
    rule = BarRule("too_high", "is above the limit", pl.col("close") < limit, "close")
    with pytest.raises(AssertionError, match="too_high: depends on the price scale"):
        check_bar_rules([*bar_rules(OHLC), rule])


@pytest.mark.parametrize(
    ("holds", "told"),
    [
        (pl.col("close").max() > 0, "gives 1 answers"),
        (pl.col("close"), "of type Float64"),
        (pl.lit(True), "looks at no column"),
        (pl.when(pl.col("close") > 0).then(True), "gives no answer"),
    ],
)
def test_a_rule_that_is_none_is_refused_by_the_suite_of_rules(holds: pl.Expr, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_bar_rules([BarRule("odd", "is odd", holds)])
    with pytest.raises(AssertionError, match="two rules are named 'high_below_body'"):
        check_bar_rules(bar_rules(OHLC) * 2)


@pytest.mark.parametrize(
    "broken",
    [{"bad_rows": "drop"}, {"max_bad_share": 1.0}, {"max_bad_share": -0.1}, {"outlier_scale": 1.0}, {"stuck_bars": 1}],
)
def test_a_configuration_that_makes_no_sense_is_refused(broken: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(broken))}: "):
        QualityConfig(**broken)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.drop("close"),
        lambda frame: frame.select("timestamp", "series", *CHANNELS),
        lambda frame: frame.with_columns(pl.col("close").cast(pl.Int64)),
        lambda frame: frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None)),
    ],
)
def test_a_chunk_of_another_form_is_the_fault_of_its_source(change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    with pytest.raises(ValueError, match=r"prices\.csv"):
        BarAudit(CHANNELS).take(Chunk(change(candles(walk(5))), "prices.csv"))


def test_float_types_may_differ_between_channels_and_chunks() -> None:
    frame = candles(walk(20))
    first, second = (
        frame[:9].with_columns(pl.col("close").cast(pl.Float32)),
        frame[9:].cast(dict.fromkeys(CHANNELS, pl.Float32)),
    )
    good, bad, _ = audit(Chunk(first, "a", 1), Chunk(second, "b", 1))
    assert (len(good), len(bad)) == (20, 0)
