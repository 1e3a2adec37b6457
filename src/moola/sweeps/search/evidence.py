"""What the winner of a study is worth: its gain over the default, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moola.evaluation.alarms import constant_predictor
from moola.evaluation.comparison import against_chance, estimates, excludes_zero, paired_comparison, plain, signed
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import METRICS
from moola.sweeps.search.scoring import Said
from moola.sweeps.search.space import Space
from moola.sweeps.search.study import TrialRecord


@dataclass(frozen=True)
class Compared:
    """The winner and the default on the same windows.

    Attributes:
        winner, default: their figures.
        gain: the first minus the second, paired.
        to_chance: of the winner, minus that of whoever always says the most frequent class.
        chance: figure of the latter.
    """

    winner: Estimate
    default: Estimate
    gain: Estimate
    to_chance: Estimate

    @property
    def chance(self) -> float:
        """Of whoever always says the most frequent class."""
        return self.winner.value - self.to_chance.value


@dataclass(frozen=True)
class Evidence:
    """All that is known of a winner.

    Attributes:
        inner: on the folds that chose it; too good by the choice.
        outer: on windows that judged what was searched without them; None where there are none.
        warnings: what speaks against it, a sentence each.
    """

    inner: Compared
    outer: Compared | None
    warnings: tuple[str, ...]


def compared(winner: Said, default: Said, metric: str) -> Compared:
    """Both on the same resamples of the same windows."""
    labels, weights = winner.labels, winner.weights

    def figure(said: Said) -> Estimate:
        return estimates(said.probabilities, labels, weights, (metric,))[metric]

    gain = paired_comparison(winner.probabilities, default.probabilities, labels, weights, metric).difference
    chance = against_chance(winner.probabilities, labels, weights, metric).difference
    return Compared(figure(winner), figure(default), gain, chance)


def warnings_of(
    best: TrialRecord,
    records: Sequence[TrialRecord],
    space: Space,
    inner: Compared,
    outer: Compared | None,
    said: Said,
    classes: Sequence[str],
    metric: str,
) -> tuple[str, ...]:
    """Everything that speaks against a winner."""
    found = [
        alarm.message for alarm in constant_predictor("the winner", said.probabilities, said.labels, "oof", classes)
    ]
    direction = 1 if METRICS[metric].higher_is_better else -1
    judge = outer or inner
    where = "out of fold" if outer else "on the inner folds"
    if best.is_default:
        found.append("No trial beats the configuration as it is: the winner is the default.")
    elif not (excludes_zero(judge.gain) and direction * judge.gain.value > 0):
        found.append(f"The gain over the default {where}, {signed(judge.gain)}, may be nothing.")
    if not (excludes_zero(judge.to_chance) and direction * judge.to_chance.value > 0):
        found.append(
            f"The winner {where} is not shown to beat chance: {plain(judge.winner)}, chance {judge.chance:.3f}."
        )
    edges = [key for key, value in best.params.items() if key in space and space[key].at_edge(value)]
    if edges and not best.is_default:
        found.append(f"The winner lies at the edge of {', '.join(edges)}: better values may lie beyond it.")
    failed = sum(one.status == "failed" for one in records)
    if failed:
        found.append(f"{failed} trials failed; `moola search show` says why.")
    return tuple(found)


def pooled(parts: Sequence[Said], weights: np.ndarray) -> Said:
    """What several fits say of windows that each of them alone held out.

    Args:
        parts: one a fold.
        weights: resamples of all windows [n_resamples, n], in the order of the parts put together.
    """
    probabilities = np.concatenate([part.probabilities for part in parts], axis=1)
    return Said(probabilities, np.concatenate([part.labels for part in parts]), weights)
