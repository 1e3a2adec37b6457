"""Runs the sets, and tells what they gave: rows for the JSON file, tables for people."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measurement import Row, write_rows
from self_supervised_fits import ARMS, CURVE_ARMS, PROBES, SHARES, Scores, measure_other, measure_set, other_encoders
from self_supervised_sets import TS2VEC

MAIN = "pretrained, ridge"
QUICK = ("ItalyPowerDemand", "GunPoint", "JapaneseVowels")
OTHERS_ON = ("ItalyPowerDemand", "GunPoint", "BasicMotions")
SLOWEST_FIRST = ("ACSF1", "OSULeaf", "ArrowHead", "GunPoint", "BasicMotions", "JapaneseVowels", "ItalyPowerDemand")
WORKERS = 2
BOOTSTRAP_DRAWS = 10_000


def main() -> int:
    """``--quick --others --json FILE``."""
    parser = argparse.ArgumentParser(description="Self-supervised encoders on labelled sets, beside TS2Vec.")
    parser.add_argument("--quick", action="store_true", help="three small sets, one seed; ends within 5 minutes")
    parser.add_argument("--others", action="store_true", help="instead: every other encoder and objective, small sets")
    parser.add_argument("--json", type=Path, default=None, help="file for the rows")
    arguments = parser.parse_args()
    if arguments.others:
        pairs = [(label, name, 0) for label in other_encoders() for name in OTHERS_ON]
        found = dict(zip(pairs, _in_processes(measure_other, pairs), strict=True))
        print("\n" + other_table(found))
        write_rows(list(other_rows(found)), arguments.json)
        return 0
    sets, seeds = (QUICK, (0,)) if arguments.quick else (tuple(TS2VEC), (0, 1, 2))
    order = sorted(sets, key=SLOWEST_FIRST.index)
    jobs = [(name, seed, seed == 0 and not arguments.quick) for seed, name in itertools.product(seeds, order)]
    scores: list[Scores] = _in_processes(measure_set, jobs)
    rows = [*set_rows(scores), *summary_rows(scores), *curve_rows(scores)]
    print("\n\n".join(tables(scores, rows)), flush=True)
    write_rows(rows, arguments.json)
    return 0


def _in_processes(work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Two processes of one thread each: faster than one of two threads, because the tensors are small."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(work, *job) for job in jobs]
        for number, done in enumerate(as_completed(futures), start=1):
            print(f"{number}/{len(jobs)} {_told(done.result())}", file=sys.stderr, flush=True)
        return [future.result() for future in futures]


def _told(found: Any) -> str:
    """What a job gave, in a line."""
    if isinstance(found, Scores):
        figures = ", ".join(f"{arm} {value:.3f}" for arm, value in found.accuracy.items())
        return f"{found.name}, seed {found.seed}: {figures}"
    return "pretrained {:.3f}, random {:.3f}".format(*found)


def set_rows(scores: Sequence[Scores]) -> Iterator[Row]:
    """Each arm of each set, mean over seeds, beside TS2Vec."""
    for name in _sets(scores):
        reference, reference_name = TS2VEC[name]
        for arm in _of_set(scores, name)[0].accuracy:
            target = 1.0 if arm == MAIN else None
            yield _row(f"{name}: {arm}", _accuracies(scores, name, arm), reference, reference_name, target)


def summary_rows(scores: Sequence[Scores]) -> Iterator[Row]:
    """Means over the sets, sets above the reference, and what pretraining gives to fine-tuning."""
    names = _sets(scores)
    reference = float(np.mean([TS2VEC[name][0] for name in names]))
    for arm in scores[0].accuracy:
        by_seed = np.mean([_accuracies(scores, name, arm) for name in names], axis=0)
        yield _row(f"mean of {len(names)} sets: {arm}", by_seed, reference, "TS2Vec", 1.0 if arm == MAIN else None)
    above = [float(np.mean(_accuracies(scores, name, MAIN))) > TS2VEC[name][0] for name in names]
    yield Row(f"sets above the reference: {MAIN}", "sets", sum(above), None, None, True, None, 5, {})
    for arm in (arm for arm in ARMS if arm != "fine-tuned"):
        mean, low, high = gain(scores, arm)
        work = f"fine-tuned minus {arm}, mean over sets and seeds with its 95 % interval"
        yield Row(work, "accuracy", mean, None, None, True, None, 0.0, {"ours": (low, high)})
    for name in names:
        mean, p = paired(scores, name)
        work = f"{name}: fine-tuned minus scratch, p of a paired t test over test windows {p:.3f}"
        yield Row(work, "accuracy", mean, None, None, True, None, None, {})


def curve_rows(scores: Sequence[Scores]) -> Iterator[Row]:
    """Mean over the sets at each share of the labels; fine-tuning with the first seed alone, except at 100 %."""
    for arm, share in itertools.product((MAIN, "random, ridge", *CURVE_ARMS), SHARES):
        seeds = sorted({found.seed for found in scores if share in found.curve[arm]})
        by_seed = [
            float(np.mean([found.curve[arm][share] for found in scores if found.seed == seed])) for seed in seeds
        ]
        if by_seed:
            yield _row(f"{share:.0%} of the labels, mean of {len(_sets(scores))} sets: {arm}", by_seed)


def other_rows(found: dict[tuple[str, str, int], tuple[float, float]]) -> Iterator[Row]:
    """Frozen probe of each pair of encoder and objective beside that of its own random start."""
    for (label, name, _), (ours, random) in found.items():
        spread = {"ours": (ours, ours), "reference": (random, random)}
        work = f"{name}: {label}, frozen, ridge"
        yield Row(work, "accuracy", ours, random, "the same encoder, random", True, ours / random, None, spread)


def gain(scores: Sequence[Scores], arm: str) -> tuple[float, float, float]:
    """Mean of fine-tuned minus `arm`, and the 95 % interval of a bootstrap that draws sets, then seeds within each."""
    differences = np.array(
        [np.subtract(_accuracies(scores, name, "fine-tuned"), _accuracies(scores, name, arm)) for name in _sets(scores)]
    )
    rng = np.random.default_rng(0)
    n_sets, n_seeds = differences.shape
    sets = rng.integers(0, n_sets, (BOOTSTRAP_DRAWS, n_sets, 1))
    seeds = rng.integers(0, n_seeds, (BOOTSTRAP_DRAWS, n_sets, n_seeds))
    low, high = np.quantile(differences[sets, seeds].mean(axis=(1, 2)), [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def paired(scores: Sequence[Scores], name: str) -> tuple[float, float]:
    """Fine-tuned minus scratch on the test windows of a set, each averaged over seeds, and p of a paired t test."""
    from scipy.stats import ttest_1samp

    correct = [found.correct for found in _of_set(scores, name)]
    each = np.mean([one["fine-tuned"].astype(float) - one["scratch"] for one in correct], axis=0)
    found: Any = ttest_1samp(each, 0.0)
    return float(each.mean()), float(found.pvalue) if each.any() else 1.0


def tables(scores: Sequence[Scores], rows: Sequence[Row]) -> Iterator[str]:
    """Sets by arms, the summary, and the label-scarce curve, in Markdown."""
    arms = [f"{start}, {probe}" for start, probe in itertools.product(("pretrained", "random"), PROBES)] + list(ARMS)
    body = []
    for name in _sets(scores):
        cells = [_cell(_accuracies(scores, name, arm)) for arm in arms]
        body.append([name, f"{TS2VEC[name][0]:.3f}", *cells, f"{paired(scores, name)[1]:.2f}"])
    means = [_cell(np.mean([_accuracies(scores, name, arm) for name in _sets(scores)], axis=0)) for arm in arms]
    body.append(["mean", f"{np.mean([TS2VEC[name][0] for name in _sets(scores)]):.3f}", *means, ""])
    yield _markdown(["set", "TS2Vec", *arms, "p, fine-tuned and scratch"], body)
    shown = [row for row in rows if row.work.startswith(("sets above", "fine-tuned minus"))]
    yield "\n".join(f"- {row.work}: {row.ours:.3g}" + _interval(row) for row in shown)
    by_work = {row.work: row for row in rows}
    start = f"mean of {len(_sets(scores))} sets"
    curve = []
    for arm in (MAIN, "random, ridge", *CURVE_ARMS):
        found = [by_work.get(f"{share:.0%} of the labels, {start}: {arm}") for share in SHARES]
        curve.append([arm, *("" if row is None else f"{row.ours:.3f}" for row in found)])
    yield _markdown(["labels", *(f"{share:.0%}" for share in SHARES)], curve)


def other_table(found: dict[tuple[str, str, int], tuple[float, float]]) -> str:
    """Encoders and objectives by sets: pretrained, and random in brackets."""
    names = sorted({name for _, name, _ in found})
    body = []
    for label in dict.fromkeys(label for label, _, _ in found):
        each = [found[label, name, 0] for name in names]
        means = np.mean(each, axis=0)
        body.append([label, *(f"{ours:.3f} ({random:.3f})" for ours, random in (*each, means))])
    return _markdown(["encoder, objective: frozen, ridge (random start)", *names, "mean"], body)


def _row(
    work: str, ours: Any, reference: float | None = None, reference_name: str | None = None, target: float | None = None
) -> Row:
    mean = float(np.mean(ours))
    spread = {"ours": (float(np.min(ours)), float(np.max(ours)))}
    ratio = None if reference is None else mean / reference
    if reference is not None:
        spread["reference"] = (reference, reference)
    return Row(work, "accuracy", mean, reference, reference_name, True, ratio, target, spread)


def _of_set(scores: Sequence[Scores], name: str) -> list[Scores]:
    return sorted((found for found in scores if found.name == name), key=lambda found: found.seed)


def _accuracies(scores: Sequence[Scores], name: str, arm: str) -> list[float]:
    return [found.accuracy[arm] for found in _of_set(scores, name)]


def _sets(scores: Sequence[Scores]) -> list[str]:
    return [name for name in TS2VEC if any(found.name == name for found in scores)]


def _cell(values: Any) -> str:
    return f"{np.mean(values):.3f} [{np.min(values):.3f}, {np.max(values):.3f}]"


def _interval(row: Row) -> str:
    return f" [{row.spread['ours'][0]:.3g}, {row.spread['ours'][1]:.3g}]" if row.spread else ""


def _markdown(header: list[str], body: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
