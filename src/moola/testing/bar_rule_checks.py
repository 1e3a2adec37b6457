"""What every rule about bars has to keep: it must not know what a price is worth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from moola.schemas.bars import BarRule

_EXPONENTS = (-60, -30, -10, -3, -1, 1, 3, 10, 30, 60)


def check_bar_rules(rules: Iterable[BarRule]) -> None:
    """Each rule answers true or false for every row, and the same when all values are multiplied by a constant.

    Whoever quotes in cents, pounds or points has the same candles. A rule such as ``close < 10_000`` holds until the
    market trades at 19,800, and then refuses all of it. Powers of two are tried, which change no digit.

    Raises:
        AssertionError: all rules that fail, with the constant.
    """
    rules = tuple(rules)
    names = [rule.name for rule in rules]
    problems = [f"two rules are named '{name}'" for name in sorted({name for name in names if names.count(name) > 1})]
    problems += [problem for rule in rules for problem in _problems(rule)]
    assert not problems, "\n".join(problems)


def _problems(rule: BarRule) -> list[str]:
    columns = sorted(set(rule.holds.meta.root_names()))
    if not columns:
        return [f"{rule.name}: looks at no column"]
    bars = _odd_bars(columns)
    holds = bars.select(rule.holds).to_series()
    if holds.dtype != pl.Boolean or len(holds) != len(bars):
        return [f"{rule.name}: gives {len(holds)} answers of type {holds.dtype} for {len(bars)} rows"]
    if holds.null_count():
        return [f"{rule.name}: gives no answer for some rows without nulls"]
    problems: list[str] = []
    for exponent in _EXPONENTS:
        scaled = bars.select(pl.all() * 2.0**exponent).select(rule.holds).to_series()
        differs = (scaled != holds).arg_true()
        if len(differs):
            row = ", ".join(f"{name}={value:g}" for name, value in bars.row(differs[0], named=True).items())
            problems.append(
                f"{rule.name}: depends on the price scale: {row} is {_word(holds[differs[0]])}, "
                f"and {_word(scaled[differs[0]])} when multiplied by {2.0**exponent:g}"
            )
            break
    return problems


def _odd_bars(columns: list[str]) -> pl.DataFrame:
    """Values of every order that candles could have, around 1, with zeros, negative ones, infinities and NaN."""
    generator = np.random.default_rng(0)
    values = np.exp(generator.normal(size=(2_000, len(columns)))).round(1)
    odd = generator.random(values.shape)
    for low, value in enumerate((0.0, -1.0, np.inf, -np.inf, np.nan)):
        values[(odd > 0.03 * low) & (odd < 0.03 * (low + 1))] = value
    return pl.DataFrame(values, schema=columns)


def _word(holds: bool) -> str:
    return "fine" if holds else "refused"
