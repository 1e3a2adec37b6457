"""The review queue beside plain cleanlab on one model's predictions out of fold, where noise was planted.

Training cases of three human-labelled sets and training windows of the market default; 5, 10 and 20 % of the labels
flipped. No test case and no sealed bar is looked at, and none of these sets had a say in how models are weighed
(`moola.labels.consensus`). Intervals are over draws of noise: they speak of these sets.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from label_noise import Noisy, TrueSet
from measurement import Row, write_rows

SETS = ("ItalyPowerDemand", "OSULeaf", "JapaneseVowels", "market")
SHARES = (0.05, 0.1, 0.2)
OURS = "review queue"
PLAIN = ("logistic_regression", "random_forest")
"""Models whose predictions cleanlab alone gets; the better-known choices of its tutorials."""
FIRST = 35


@dataclass(frozen=True)
class Found:
    """What one way of looking found of the planted flips.

    Attributes:
        average_precision: of the order in which it shows windows.
        precision: share of the flagged labels that were flipped; nan where nothing was flagged.
        recall: share of the flipped labels that were flagged.
        first: share of the flipped labels among the first 35 windows.
    """

    average_precision: float
    precision: float
    recall: float
    first: float

    @classmethod
    def of(cls, order: np.ndarray, flagged: np.ndarray, flipped: np.ndarray) -> Found:
        """Judge an order of rows (the most doubtful first) and flags by row."""
        from sklearn.metrics import average_precision_score

        hits = flipped[order]
        score = float(average_precision_score(hits, -np.arange(len(hits))))
        found = float((flagged & flipped).sum())
        precision = found / flagged.sum() if flagged.any() else float("nan")
        return cls(score, precision, found / flipped.sum(), float(hits[:FIRST].sum() / flipped.sum()))


def review(clean: TrueSet, noisy: Noisy) -> Found:
    """The queue of moola: consensus, near duplicates and outliers."""
    from moola.labels.consensus import find_consensus
    from moola.labels.issues import find_label_issues
    from moola.labels.priority import Doubts
    from moola.labels.queue import review_queue
    from moola.labels.resemblance import contradicting_duplicates, outlying

    n, bars = len(noisy.given), clean.windows.bars
    consensus = find_consensus(noisy.said, noisy.given)
    names = [f"{row:06d}" for row in range(n)]
    classes = tuple(f"class {number}" for number in range(noisy.n_classes))
    issues = find_label_issues(names, noisy.given, consensus.probabilities, classes)
    rows = issues["window_id"].cast(int).to_numpy()
    twins = contradicting_duplicates(bars, noisy.given, clean.starts, clean.reach)[rows]
    nobody = np.zeros(n, dtype=bool)
    doubts = Doubts(
        issues["is_label_issue"].to_numpy(),
        consensus.agreement[rows],
        tuple(names[twin] if twin >= 0 else None for twin in twins),
        nobody,
        nobody,
        outlying(bars, clean.zone)[rows],
    )
    order = review_queue(issues, doubts)["window_id"].cast(int).to_numpy()
    flagged = np.zeros(n, dtype=bool)
    flagged[rows] = doubts.issue
    return Found.of(order, flagged, noisy.flipped)


def plain(noisy: Noisy, model: str) -> Found:
    """Cleanlab as its tutorial has it, on one model and one seed."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    said = noisy.said[model][0]
    quality = np.asarray(get_label_quality_scores(noisy.given, said))
    flagged = np.asarray(find_label_issues(noisy.given, said, n_jobs=1))
    return Found.of(np.argsort(quality, kind="stable"), flagged, noisy.flipped)


Results = Mapping[tuple[str, float, str], Sequence[Found]]
"""(set, share, way) -> one result a draw."""


def measure(draws: range, seeds: range) -> Results:
    """Every set, share and draw; a line for each as soon as it is known."""
    found: defaultdict[tuple[str, float, str], list[Found]] = defaultdict(list)
    for draw in draws:
        for name in SETS:
            clean = TrueSet.market("sealed", draw) if name == "market" else TrueSet.bundled(name)
            for share in SHARES:
                noisy = Noisy.of(clean, share, draw, seeds)
                ways = {OURS: review(clean, noisy)} | {model: plain(noisy, model) for model in PLAIN}
                for way, result in ways.items():
                    found[name, share, way].append(result)
                told = ", ".join(f"{way} {result.average_precision:.3f}" for way, result in ways.items())
                print(f"{name}, {share:.0%}, draw {draw}: average precision {told}", file=sys.stderr, flush=True)
    return found


def rows(found: Results) -> Iterator[Row]:
    """One a set, share and figure beside each plain way; then the mean over sets and shares."""
    for name in SETS:
        for share in SHARES:
            for what in ("average_precision", "precision", "recall", "first"):
                for way in PLAIN:
                    ours, other = (_values(found, [(name, share)], what, one) for one in (OURS, way))
                    yield _row(f"{name}, {share:.0%} flipped: {what}", what, ours, other, way)
    cells = [(name, share) for name in SETS for share in SHARES]
    for name, some in [*((name, [(name, share) for share in SHARES]) for name in SETS), ("all", cells)]:
        for way in PLAIN:
            ours, other = (_values(found, some, "average_precision", one) for one in (OURS, way))
            yield _row(f"{name}: mean average precision", "average_precision", ours, other, way)


def _values(found: Results, cells: Sequence[tuple[str, float]], what: str, way: str) -> np.ndarray:
    """A figure of each draw, the mean over some sets and shares [n_draws]."""
    return np.mean([[getattr(one, what) for one in found[name, share, way]] for name, share in cells], axis=0)


def _row(work: str, unit: str, ours: np.ndarray, other: np.ndarray, way: str) -> Row:
    spread = {"ours": _interval(ours), "reference": _interval(other), "difference": _interval(ours - other)}
    means = float(np.nanmean(ours)), float(np.nanmean(other))
    ratio = means[0] / means[1] if means[1] else None
    target = 1.0 if unit == "average_precision" else None
    return Row(work, unit, *means, f"plain cleanlab, {way}", True, ratio, target, spread)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """95 % by Student's t over draws; draws in which nothing was flagged have no precision."""
    from scipy.stats import t

    known = values[np.isfinite(values)]
    if len(known) < 2:
        return float("nan"), float("nan")
    half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return float(known.mean()) - half, float(known.mean()) + half


def main() -> int:
    """Measure, print, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two draws of noise and one seed")
    parser.add_argument("--draws", type=int, default=10, help="of noise (default 10)")
    parser.add_argument("--seeds", type=int, default=2, help="of models that have any (default 2)")
    parser.add_argument("--json", type=Path, default=None, help="file for the rows")
    arguments = parser.parse_args()
    draws, seeds = (2, 1) if arguments.quick else (arguments.draws, arguments.seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # cleanlab's own
        found = list(rows(measure(range(draws), range(seeds))))
    for row in found:
        apart = ", ".join(f"{name} [{low:+.3f}, {high:+.3f}]" for name, (low, high) in row.spread.items())
        print(f"{row.work}: {row.ours:.3f}; {row.reference_name} {row.reference:.3f}; {apart}")
    write_rows(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
