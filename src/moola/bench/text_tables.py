"""The tables of a bench as text, each written once and shown in Markdown, LaTeX and HTML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from moola.bench.results import FEW, MEAN
from moola.bench.table import BenchTable, PairedMeans
from moola.drawing.latex import latex_escaped, latex_tabular
from moola.drawing.numbers import duration, figure, interval, p_value
from moola.evaluation.estimates import Estimate
from moola.pipelines.scores import display_name


@dataclass(frozen=True)
class TextTable:
    """One table.

    Attributes:
        name: short, for files and labels.
        title: for people.
        lead: what its figures are, in a sentence or two.
        header: of the columns.
        rows: cells; the first of a row names it.
        best: (row, column) of cells to set off.
    """

    name: str
    title: str
    lead: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        """A heading, the sentence and the table."""
        body = [
            [f"**{cell}**" if (i, j) in self.best else cell for j, cell in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]
        lines = [list(self.header), ["---"] * len(self.header), *body]
        # A bar inside a cell, as a model's name may have one, would begin another cell.
        table = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
        return f"## {self.title}\n\n{self.lead}\n\n{table}\n"

    def latex(self) -> str:
        """A ``table`` float in the style of the package booktabs."""
        cells = [
            [
                rf"\textbf{{{latex_escaped(cell)}}}" if (i, j) in self.best else latex_escaped(cell)
                for j, cell in enumerate(row)
            ]
            for i, row in enumerate(self.rows)
        ]
        caption = latex_escaped(f"{self.title}. {self.lead}")
        table = latex_tabular([[latex_escaped(cell) for cell in self.header]], cells)
        return f"\\begin{{table}}\n\\caption{{{caption}}}\n\\label{{tab:{self.name}}}\n{table}\n\\end{{table}}\n"


def text_tables(table: BenchTable) -> Iterator[TextTable]:
    """Accuracies, comparisons, few labels, ranks and costs; those that have nothing to show are left out."""
    yield _accuracies(table)
    yield _against(table)
    if table.few_means:
        yield _few(table)
    if table.ranks is not None:
        yield _ranks(table)
    yield _costs(table)


def _accuracies(table: BenchTable) -> TextTable:
    names = [one.name for one in table.sets]
    columns: list[list[float | None]] = []
    rows: list[tuple[str, ...]] = []
    for model in table.models:
        found = [one.accuracy.get(model) for one in table.sets]
        rows.append((display_name(model), *map(_cell, found), _cell(table.means.get(model))))
        columns.append([one and one.value for one in (*found, table.means.get(model))])
    best = frozenset((i, j + 1) for j in range(len(names) + 1) for i in _highest([row[j] for row in columns]))
    for other in table.published:
        values = [other.accuracy.get(name) for name in names]
        known = [value for value in values if value is not None]
        # A mean over fewer sets would stand beside means over all of them.
        mean = sum(known) / len(known) if len(known) == len(names) else None
        rows.append((f"published: {other.name}" if other.by_others else other.name, *map(figure, values), figure(mean)))
    seeds = sorted({one.seeds for found in table.sets for one in found.accuracy.values()})
    return TextTable(
        "accuracy",
        "Accuracy on the test split",
        f"Mean over up to {seeds[-1]} seed{'s' * (seeds[-1] > 1)} with its 95 % interval over test cases and seeds; "
        "the interval of a mean is for these very sets. Best of ours in bold. Figures from elsewhere have no "
        "interval, and a mean only where they have every set.",
        ("", *names, "mean"),
        tuple(rows),
        best,
    )


def _against(table: BenchTable) -> TextTable:
    found = {(pair.a, pair.b): pair for pair in table.against}
    others = list(dict.fromkeys(pair.b for pair in table.against))
    rows = tuple(
        (display_name(model), *(_difference(found.get((model, other))) for other in others))
        for model in table.models
        if any(model == ours for ours, _ in found)
    )
    return TextTable(
        "against",
        "Above or below figures from elsewhere",
        "Difference of the means over the sets that both have; in brackets on how many of them ours is better, equal "
        "(to three decimals), worse.",
        ("", *others),
        rows,
    )


def _difference(pair: PairedMeans | None) -> str:
    if pair is None:
        return figure(None)
    return f"{figure(pair.difference, signed=True)} ({pair.wins}, {pair.ties}, {pair.losses})"


def _few(table: BenchTable) -> TextTable:
    models = sorted(table.few_means, key=lambda name: -table.few_means[name].value)
    rows = tuple(
        (
            "Mean of all others" if name == MEAN else display_name(name),
            *(_cell(one.few.get(name)) for one in table.sets),
            _cell(table.few_means[name]),
        )
        for name in models
    )
    return TextTable(
        "few",
        f"Accuracy with {FEW:.0%} of the labels",
        "At least one label of each class; every seed draws its own, all models the same. Labels: "
        + ", ".join(f"{one.name} {one.n_few}" for one in table.sets)
        + ".",
        ("", *(one.name for one in table.sets), "mean"),
        rows,
        frozenset({(0, len(table.sets) + 1)}),
    )


def _ranks(table: BenchTable) -> TextTable:
    assert table.ranks is not None
    smallest = 2 / 2**table.ranks.n_datasets
    first = table.ranks.models[0]
    pairs = {other: pair for pair in table.ranks.pairs for other in (pair.a, pair.b) if first in (pair.a, pair.b)}
    rows = tuple(
        (
            display_name(name),
            figure(rank, digits=2),
            p_value(pairs[name].p_value if name != first else None),
            p_value(pairs[name].adjusted if name != first else None),
        )
        for name, rank in zip(table.ranks.models, table.ranks.ranks, strict=True)
    )
    n_pairs = len(table.ranks.pairs)
    return TextTable(
        "ranks",
        "Average ranks",
        f"Over {table.ranks.n_datasets} sets, 1 is best; Wilcoxon's signed-rank test against the first, and after "
        f"Holm's correction for all {n_pairs} pairs. With so many sets no p-value can be below {smallest:.2g} before "
        f"the correction and {min(smallest * n_pairs, 1):.2g} after it.",
        ("", "average rank", "p", "p, corrected"),
        rows,
    )


def _costs(table: BenchTable) -> TextTable:
    rows: list[tuple[str, ...]] = []
    for model in table.models:
        found = [one.costs.get(model) for one in table.sets]
        known = [cost for cost in found if cost]
        if known:
            cells = [figure(cost.seconds / cost.fits, 2) if cost else figure(None) for cost in found]
            rows.append((display_name(model), *cells, duration(sum(cost.seconds for cost in known))))
    rows.append(
        ("whole run", *(duration(one.seconds) for one in table.sets), duration(sum(s.seconds for s in table.sets)))
    )
    return TextTable(
        "cost",
        "Seconds of a fit",
        "Wall time of one fit with its predictions, a mean over folds and seeds on one thread, beside whatever else "
        "ran; last column: all fits. The pretraining of the encoder is in the last row alone.",
        ("", *(one.name for one in table.sets), "all"),
        tuple(rows),
    )


def _cell(found: Estimate | None) -> str:
    if found is None:
        return figure(None)
    ends = f" {interval(found.low, found.high)}" if math.isfinite(found.low) and math.isfinite(found.high) else ""
    return f"{figure(found.value)}{ends}"


def _highest(values: Sequence[float | None]) -> list[int]:
    known: Mapping[int, float] = {i: value for i, value in enumerate(values) if value is not None}
    return [i for i, value in known.items() if value == max(known.values())]
