"""What a review changed, as a page and for a terminal."""

from __future__ import annotations

from moola.drawing.numbers import NOTHING, duration, p_value
from moola.drawing.page import render_page
from moola.evaluation.comparison import plain, signed
from moola.evaluation.metrics import METRICS
from moola.evaluation.score_interval import share_estimate
from moola.labels.changes import PlantedOutcome
from moola.pipelines.results import SPLITS
from moola.pipelines.review_report import LogFacts, ReviewReport
from moola.pipelines.run_pair import ModelPair, RunPair
from moola.pipelines.run_pair_page import choice_warning
from moola.pipelines.scores import SplitName

_MOST_KEYS = 6
"""Differing keys that a warning names."""
_MOST_CHANGES = 10
"""Changed windows that the terminal shows; the page has all."""


def render_review(report: ReviewReport) -> str:
    """The page ``review-report.html``: nothing to load, no script."""
    pair = report.retrained.pair if report.retrained else None
    return render_page(
        "moola.pipelines:review_report.html.j2",
        report=report,
        pair=pair,
        metric=METRICS[pair.metric] if pair else None,
        splits=_splits(pair) if pair else {},
        rows=figure_rows,
        words=outcome_words,
        common=common_words,
        share=share_estimate,
        seeds=seed_words(pair) if pair else "",
        warnings=warnings_of(report),
    )


def warnings_of(report: ReviewReport) -> list[str]:
    """What keeps the figures from being about the review alone, and from being chosen by."""
    if report.retrained is None:
        return []
    found: list[str] = []
    keys, late = report.retrained.other_keys, report.retrained.late
    if keys:
        more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
        named = ", ".join(keys[:_MOST_KEYS])
        found.append(f"The runs differ in more than corrections ({named}{more}): not all that differs is the review's.")
    if late:
        found.append(
            f"{late} events of the log are younger than the labels of the later run: they are counted under decisions, "
            "time and agreement, and no model has learned from them."
        )
    warning = choice_warning(report.retrained.pair)
    return [*found, *([warning] if warning else [])]


def seed_words(pair: RunPair) -> str:
    """Over how many seeds figures are means; an interval of one seed says nothing of how much seeds differ."""
    before, after = (len(run.manifest["seeds"]) for run in (pair.b, pair.a))
    if before == after:
        return _of_seeds(after)
    return f"{_of_seeds(before)} before, {_of_seeds(after)} after"


def _of_seeds(n: int) -> str:
    return "of one seed" if n == 1 else f"means over {n} seeds"


def _splits(pair: RunPair) -> dict[SplitName, str]:
    return {split: name for split, name in SPLITS.items() if figure_rows(pair, split)}


def figure_rows(pair: RunPair, split: SplitName) -> list[ModelPair]:
    """Models of both runs; where the windows are not the same ones, each with its own figures and nothing compared."""
    if split not in pair.refused:
        return pair.pairs_of(split)
    after, before = (
        {model: e for (part, model, name), e in run.figures.items() if (part, name) == (split, pair.metric)}
        for run in (pair.a, pair.b)
    )
    return [ModelPair(model, model, split, after[model], before[model]) for model in after if model in before]


def common_words(pair: RunPair, split: SplitName) -> str:
    """On what differences are made; "" where nothing is compared."""
    if split in pair.refused:
        return ""
    after, before = (run.judged.filter(split=split) for run in (pair.a, pair.b))
    both = after.join(before, on="window_id")
    n, corrected = len(both), (both["true_label"] != both["true_label_right"]).sum()
    told = f"Differences are on the same resamples of the same {n:,} windows."
    if not n == len(after) == len(before):
        told = (
            f"Differences are on the same resamples of the {n:,} windows that both runs have; figures are of each "
            f"run's own windows, {len(before):,} before and {len(after):,} after, and so need not differ by as much."
        )
    if corrected:
        told += (
            f" {corrected:,} of them have a corrected label, which differences judge both runs by; figures before are "
            "by the labels before."
        )
    return told


def outcome_words(pair: RunPair, one: ModelPair) -> str:
    """The difference in words."""
    if one.split in pair.refused:
        return "not compared"
    words = one.outcome(pair.metric)
    return {"A is better": "better after", "B is better": "better before"}.get(words, words)


def review_text(report: ReviewReport) -> str:
    """The same for a terminal."""
    pair = report.retrained.pair if report.retrained else None
    lines = [f"before  {pair.b.run_id}", f"after   {pair.a.run_id}"] if pair else []
    lines += [f"log     {report.log.path}", "", *_log_lines(report.log)] if report.log else []
    lines += ["", f"{len(report.changes)} windows have another label now"]
    lines += [f"  {given} -> {label}: {n}" for given, label, n in report.from_to[:_MOST_CHANGES]]
    if report.retrained:
        ignored = report.retrained.corrections.get("ignored", {})
        lines += [f"  {found['n']} decisions did nothing: {why}" for why, found in ignored.items()]
    if report.notes:
        lines += ["", f"{len(report.notes)} windows with a note"]
        lines += [f"  {name}: {'; '.join(notes)}" for name, notes in list(report.notes.items())[:_MOST_CHANGES]]
    if report.retrained and report.retrained.planted:
        lines += _planted_lines(report.retrained.planted)
    lines += _figure_lines(pair) if pair else []
    return "\n".join([*lines, *(f"\nbeware: {warning}" for warning in warnings_of(report))])


def _log_lines(log: LogFacts) -> list[str]:
    found = log.counts
    lines = [
        f"{found.accepted} accepted, {found.relabelled} relabelled, {found.skipped} skipped, {found.blacklisted} "
        f"blacklisted, {found.in_conflict} in conflict, {found.noted} with a note; {found.undone} events undone"
    ]
    for one in log.times:
        spread = f", median {duration(one.median)}, middle half {duration(one.low)} to {duration(one.high)}"
        rate = f", {one.per_minute:.1f} a minute" if one.per_minute is not None else ""
        lines.append(
            f"{one.annotator}: {one.decisions} decisions about {one.windows} windows{spread if one.timed else ''}{rate}"
        )
    lines += [f"{one.first} and {one.second}: kappa {one.kappa:.2f} on {one.n} windows" for one in log.pairs]
    return lines


def _planted_lines(found: PlantedOutcome) -> list[str]:
    recall = plain(share_estimate(found.restored, found.planted))
    precision = plain(share_estimate(found.put_right, found.relabelled))
    return [
        "",
        f"planted flips: {found.restored} of {found.planted} put right, recall {recall}",
        f"changed labels: {found.put_right} of {found.relabelled} right now, precision {precision}; "
        f"{found.spoiled} right ones made wrong",
    ]


def _figure_lines(pair: RunPair) -> list[str]:
    lines: list[str] = []
    for split, title in _splits(pair).items():
        lines += ["", *_table(pair, split, f"{title}, {METRICS[pair.metric].label}, {seed_words(pair)}")]
        lines += [words] if (words := common_words(pair, split)) else []
        if split in pair.refused:
            lines.append(f"not compared window by window: {pair.refused[split]} (A is the run after)")
    return lines


def _table(pair: RunPair, split: SplitName, title: str) -> list[str]:
    cells: list[tuple[str, ...]] = [(title, "before", "after", "after minus before, paired", "p, corrected", "")]
    for one in figure_rows(pair, split):
        figures = [plain(found) if found else NOTHING for found in (one.figure_b, one.figure_a)]
        difference = signed(one.compared.difference) if one.compared else NOTHING
        cells.append((one.name, *figures, difference, p_value(one.adjusted), outcome_words(pair, one)))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in cells]
