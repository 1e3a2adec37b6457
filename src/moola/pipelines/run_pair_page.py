"""Two runs side by side, as a page, for a terminal and as plain values."""

from __future__ import annotations

import dataclasses
from typing import Any

import polars as pl

from moola.drawing.numbers import p_value
from moola.drawing.page import render_page
from moola.evaluation.comparison import plain, signed
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import METRICS
from moola.pipelines.results import SPLITS
from moola.pipelines.run_pair import NOTHING, ModelPair, RunPair
from moola.pipelines.scores import display_name, without_nan

_MOST_KEYS = 20
"""Differing keys that the terminal shows; the page has all."""


def render_pair(pair: RunPair) -> str:
    """The page ``compare.html``: nothing to load, no script."""
    return render_page(
        "moola.pipelines:run_pair_page.html.j2",
        pair=pair,
        metric=METRICS[pair.metric],
        splits={split: name for split, name in SPLITS.items() if pair.pairs_of(split) or split in pair.refused},
        display_name=display_name,
        warning=choice_warning(pair),
    )


def choice_warning(pair: RunPair) -> str:
    """What choosing between the two would be; "" where nothing is sealed."""
    if not any(split == "test" for run in (pair.a, pair.b) for split, _, _ in run.figures):
        return ""
    return (
        f"{pair.openings} runs have opened the sealed test. To choose between runs by it is to choose on the test, and "
        "the one chosen then flatters: choose out of fold."
    )


def pair_text(pair: RunPair) -> str:
    """The same for a terminal."""
    lines = [f"A  {pair.a.run_id}  {pair.a.folder}", f"B  {pair.b.run_id}  {pair.b.folder}", ""]
    keys = [*pair.configuration, *pair.origin]
    wide = max((len(one.key) for one in keys), default=0)
    lines += [f"{one.key.ljust(wide)}  {one.a}  ->  {one.b}" for one in keys[:_MOST_KEYS]]
    lines += [f"... and {len(keys) - _MOST_KEYS} keys more, on the page"] if len(keys) > _MOST_KEYS else []
    lines += [] if keys else ["nothing differs in their configurations"]
    for name, run in (("A", pair.a), ("B", pair.b)):
        lines += ["", *(f"{name}: {sentence}" for sentence in run.verdict)]
        lines += [f"{name}, {alarm['severity']}: {alarm['message']}" for alarm in run.alarms]
    for split, title in SPLITS.items():
        if split in pair.refused:
            lines += ["", f"{title}: not compared, {pair.refused[split]}"]
        elif shown := pair.pairs_of(split):
            lines += ["", *_table(shown, pair.metric, f"{title}, {METRICS[pair.metric].label}")]
    warning = choice_warning(pair)
    return "\n".join([*lines, *(["", f"beware: {warning}"] if warning else [])])


def _table(pairs: list[ModelPair], metric: str, title: str) -> list[str]:
    heads = (title, "A", "B", "A minus B, paired", "p, corrected", "")
    cells: list[tuple[str, ...]] = [heads]
    for one in pairs:
        figures = [plain(found) if found else NOTHING for found in (one.figure_a, one.figure_b)]
        difference = signed(one.compared.difference) if one.compared else NOTHING
        cells.append((one.name, *figures, difference, p_value(one.adjusted), one.outcome(metric)))
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    return ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def pair_frame(pair: RunPair) -> pl.DataFrame:
    """The differences as a table for other programs, a row a model and split; null for what is not known."""
    rows = [
        {
            "split": one.split,
            "metric": pair.metric,
            "a": one.a,
            "b": one.b,
            **_columns("a", one.figure_a),
            **_columns("b", one.figure_b),
            **_columns("difference", one.compared and one.compared.difference),
            "p_value": one.compared.p_value if one.compared else None,
            "p_adjusted": one.adjusted,
            "outcome": one.outcome(pair.metric),
        }
        for one in pair.pairs
    ]
    return pl.DataFrame(without_nan(rows), infer_schema_length=None)


def _columns(name: str, found: Estimate | None) -> dict[str, float | None]:
    """A figure with the ends of its interval."""
    ends = (found.value, found.low, found.high) if found else (None, None, None)
    return dict(zip((f"{name}_value", f"{name}_low", f"{name}_high"), ends, strict=True))


def pair_json(pair: RunPair) -> dict[str, Any]:
    """The same as plain values; null for what is not known."""
    runs = {
        name: {"run_id": run.run_id, "folder": str(run.folder), "verdict": run.verdict, "alarms": run.alarms}
        for name, run in (("a", pair.a), ("b", pair.b))
    }
    told = {
        **runs,
        "metric": pair.metric,
        "configuration": [dataclasses.asdict(one) for one in pair.configuration],
        "origin": [dataclasses.asdict(one) for one in pair.origin],
        "pairs": [dataclasses.asdict(one) | {"outcome": one.outcome(pair.metric)} for one in pair.pairs],
        "refused": dict(pair.refused),
        "openings": pair.openings,
    }
    return without_nan(told)
