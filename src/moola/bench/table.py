"""Models of several sets side by side with published figures: means over common sets, ranks, targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moola.bench.published import Published
from moola.bench.results import MEAN, SetResult
from moola.evaluation.estimates import Estimate
from moola.evaluation.significance import DataSetComparison, compare_over_datasets

STACK, STACK_WITHOUT_KERNELS = "stack", "stack_without_kernels"
SIDE_BY_SIDE = "multirocket_hydra"
KERNEL_MODEL = "minirocket"
FEW_LABELS_MODELS = {"finetuned": "the fine-tuned encoder", MEAN: "the mean of all models fitted on them"}
REFERENCE = "TS2Vec"
MOST_BELOW = 0.02
"""So far the stack may fall below MultiRocket-Hydra on a single set."""


@dataclass(frozen=True)
class PairedMeans:
    """Two methods on the sets for which both have a figure.

    Attributes:
        a, b: names.
        n: sets.
        mean_a, mean_b: means over these sets; nan where there are none.
        wins, ties, losses: sets on which `a` is better, equal, worse.
        worst: set on which `a` stands worst beside `b`; empty where there are none.
        worst_difference: a minus b there.
    """

    a: str
    b: str
    n: int
    mean_a: float
    mean_b: float
    wins: int
    ties: int
    losses: int
    worst: str
    worst_difference: float

    @property
    def difference(self) -> float:
        """Mean of a minus b."""
        return self.mean_a - self.mean_b


@dataclass(frozen=True)
class Target:
    """Something that was set out to be reached.

    Attributes:
        claim: in words.
        reached: None where a figure for it is missing.
        found: what was measured.
    """

    claim: str
    reached: bool | None
    found: str


@dataclass(frozen=True)
class BenchTable:
    """Everything a bench found.

    Attributes:
        sets: results, in the order in which they ran.
        failed: set -> why it has no result.
        published: figures of others.
        means: model -> mean over all sets, with the interval over test cases and seeds for these very sets.
        few_means: the same with a share of the labels.
        against: every model that is no control, beside each published method with which it has a set in common.
        ranks: average ranks with Wilcoxon-Holm, of models that are no control; None with fewer than two sets.
        targets: what was set out to be reached.
    """

    sets: tuple[SetResult, ...]
    failed: Mapping[str, str]
    published: tuple[Published, ...]
    means: Mapping[str, Estimate]
    few_means: Mapping[str, Estimate]
    against: tuple[PairedMeans, ...]
    ranks: DataSetComparison | None
    targets: tuple[Target, ...]

    @property
    def models(self) -> list[str]:
        """Names of all models, the best mean first; those that lack a set after those that have all."""
        names = list(dict.fromkeys(model for one in self.sets for model in one.accuracy))
        return sorted(names, key=lambda name: -self.means[name].value if name in self.means else math.inf)

    def role(self, model: str) -> str:
        """What a model is there for."""
        return next(one.roles[model] for one in self.sets if model in one.roles)


def make_table(sets: Sequence[SetResult], failed: Mapping[str, str], published: Sequence[Published]) -> BenchTable:
    """Put results side by side."""
    here = _by_model({one.name: one.accuracy for one in sets})
    few = _by_model({one.name: one.few for one in sets})
    contenders = [name for name in here if any(one.roles.get(name, "control") != "control" for one in sets)]
    others = {one.name: one.accuracy for one in published}
    against = [
        paired_means(name, _values(here[name]), other, accuracy)
        for name in contenders
        for other, accuracy in others.items()
        if set(accuracy) & set(here[name])
    ]
    return BenchTable(
        tuple(sets),
        dict(failed),
        tuple(published),
        {name: mean_over_sets(list(found.values())) for name, found in here.items() if len(found) == len(sets)},
        {name: mean_over_sets(list(found.values())) for name, found in few.items() if len(found) == len(sets)},
        tuple(against),
        _ranks({name: here[name] for name in contenders}, len(sets)),
        (*_stack_targets(here), *_reference_targets(here, others), *_few_targets(few)),
    )


def paired_means(a: str, of_a: Mapping[str, float], b: str, of_b: Mapping[str, float]) -> PairedMeans:
    """Compare two methods on the sets that both have; a mean over another list would compare lists."""
    common = [name for name in of_a if name in of_b]
    differences = {name: of_a[name] - of_b[name] for name in common}
    worst = min(common, key=lambda name: differences[name], default="")
    # Published figures have three decimals: a difference that they cannot show is a tie.
    signs = np.sign([round(difference, 3) for difference in differences.values()])
    return PairedMeans(
        a,
        b,
        len(common),
        float(np.mean([of_a[name] for name in common])) if common else math.nan,
        float(np.mean([of_b[name] for name in common])) if common else math.nan,
        int((signs > 0).sum()),
        int((signs == 0).sum()),
        int((signs < 0).sum()),
        worst,
        differences.get(worst, math.nan),
    )


def mean_over_sets(found: Sequence[Estimate]) -> Estimate:
    """Mean of figures of independent sets, with its interval for these very sets.

    Each end is as far from the mean as the root of the squared distances of the figures' own ends, over their number
    (MOVER: Zou & Donner 2008, Statistics in Medicine 27). It says how far other test cases and seeds could move the
    mean; not what other sets would give.
    """
    value = float(np.mean([one.value for one in found]))
    below = math.sqrt(sum((one.value - one.low) ** 2 for one in found)) / len(found)
    above = math.sqrt(sum((one.high - one.value) ** 2 for one in found)) / len(found)
    return Estimate(
        value, value - below, min(value + above, 1.0), sum(one.n for one in found), min(one.seeds for one in found)
    )


def _by_model(sets: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Estimate]]:
    """Model -> set -> figure, from set -> model -> figure."""
    models = dict.fromkeys(model for found in sets.values() for model in found)
    return {model: {name: found[model] for name, found in sets.items() if model in found} for model in models}


def _values(found: Mapping[str, Estimate]) -> dict[str, float]:
    return {name: one.value for name, one in found.items()}


def _ranks(here: Mapping[str, Mapping[str, Estimate]], n_sets: int) -> DataSetComparison | None:
    """Of the models that have a figure for every set."""
    whole = [name for name, found in here.items() if len(found) == n_sets]
    if n_sets < 2 or len(whole) < 2:
        return None
    names = list(here[whole[0]])
    return compare_over_datasets(np.array([[here[model][name].value for model in whole] for name in names]), whole)


def _stack_targets(here: Mapping[str, Mapping[str, Estimate]]) -> tuple[Target, Target]:
    """The stack beside MultiRocket-Hydra, run on the same machine with the same inputs."""
    found = paired_means(STACK, _values(here.get(STACK, {})), SIDE_BY_SIDE, _values(here.get(SIDE_BY_SIDE, {})))
    return (
        Target(
            "the stack is above MultiRocket-Hydra, run side by side, on the mean",
            found.difference > 0 if found.n else None,
            _told(found),
        ),
        Target(
            f"the stack is nowhere more than {MOST_BELOW} below MultiRocket-Hydra, run side by side",
            found.worst_difference >= -MOST_BELOW - 1e-9 if found.n else None,
            f"lowest on {found.worst}: {found.worst_difference:+.3f}" if found.n else _told(found),
        ),
    )


def _reference_targets(
    here: Mapping[str, Mapping[str, Estimate]], others: Mapping[str, Mapping[str, float]]
) -> list[Target]:
    """The stack without kernel models beside every published column of TS2Vec."""
    columns = [name for name in others if name.startswith(REFERENCE)]
    own = _values(here.get(STACK_WITHOUT_KERNELS, {}))
    pairs = [paired_means(STACK_WITHOUT_KERNELS, own, name, others[name]) for name in columns]
    return [
        Target(
            f"the stack without kernel models is above {pair.b} on the mean of the sets that both have",
            pair.difference > 0 if pair.n else None,
            _told(pair),
        )
        for pair in pairs
    ]


def _few_targets(few: Mapping[str, Mapping[str, Estimate]]) -> list[Target]:
    """With few labels, on the same draws of them."""
    other = _values(few.get(KERNEL_MODEL, {}))
    pairs = {
        words: paired_means(name, _values(few.get(name, {})), KERNEL_MODEL, other)
        for name, words in FEW_LABELS_MODELS.items()
    }
    return [
        Target(
            f"with a tenth of the labels {words} is above MiniRocket on the mean",
            pair.difference > 0 if pair.n else None,
            _told(pair),
        )
        for words, pair in pairs.items()
    ]


def _told(found: PairedMeans) -> str:
    if not found.n:
        return f"{found.a} and {found.b} have no set in common"
    sets = f"{found.n} set{'s' * (found.n > 1)}"
    return (
        f"{found.mean_a:.3f} against {found.mean_b:.3f} over {sets}, {found.difference:+.3f}; "
        f"better on {found.wins}, equal on {found.ties}, worse on {found.losses}"
    )
