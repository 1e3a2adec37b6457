"""Alarms: what makes a figure unfit as evidence, said before anyone reads the figure.

Each check is a function that returns the alarms it found, none as a rule; `all_alarms` runs them all and
counts how many were run, so that "no alarm" can be told from "nothing was checked".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from moola.evaluation.comparison import plain
from moola.evaluation.estimates import Alarm, Estimate
from moola.evaluation.metrics import FloatArray, IntArray, check_predictions

COLLAPSED_SHARE = 0.99
COLLAPSED_SPREAD = 1e-3
MAX_ECE = 0.15
MIN_CASES = 10.0
"""Independent cases that the sealed test should amount to; intervals hold from 6 on, but are very wide."""
MIN_PER_CLASS = 30
_WHERE = {"oof": "out of fold", "test": "on the sealed test"}
OF_TEST_FIGURES = frozenset({"not_better_than_chance", "worse_out_of_sample"})
"""Codes that say how a figure of the sealed test fell out, and nothing against its being a figure."""


@dataclass(frozen=True)
class Evidence:
    """What one model left behind; a part that does not exist stays None or empty.

    Attributes:
        model: its name.
        test_probabilities, oof_probabilities: by split [n_seeds, n_windows, n_classes].
        test, oof: by split, metric -> Estimate.
        blind: a control that never looks at the windows; it may be constant and no better than chance.
    """

    model: str
    test_probabilities: FloatArray | None = None
    oof_probabilities: FloatArray | None = None
    test: Mapping[str, Estimate] = field(default_factory=dict)
    oof: Mapping[str, Estimate] = field(default_factory=dict)
    blind: bool = False


@dataclass(frozen=True)
class AlarmReport:
    """Attributes: alarms: all found, in order of the models; n_checks: checks run, found something or not."""

    alarms: tuple[Alarm, ...]
    n_checks: int


def constant_predictor(
    model: str,
    probabilities: FloatArray,
    truth: IntArray | None = None,
    split: Literal["oof", "test"] = "test",
    classes: Sequence[str] = (),
) -> list[Alarm]:
    """Fires if any seed predicts one class for >= 99 % of windows, or if its probabilities hardly move.

    "Hardly move" is a standard deviation across windows below 1e-3 in every class. With `truth`, a model that
    is right to predict a rare class rarely is spared: the limit on the other predictions falls to half their
    true share, where that is below 1 %.

    Args:
        model: its name.
        probabilities: [n_seeds, n_windows, n_classes].
        truth: [n_windows], or None; DataError if it does not fit.
        split: where the predictions were made.
        classes: their names; without them they are numbers.
    """
    p = np.asarray(probabilities)
    limit = 1 - COLLAPSED_SHARE
    if truth is not None:
        check_predictions(p, truth)
        limit = min(limit, 0.5 * (1 - np.bincount(truth).max() / p.shape[1]))
    shares = np.stack([(p.argmax(axis=2) == label).mean(axis=1) for label in range(p.shape[2])], axis=1)
    top, spread = shares.max(axis=1), p.std(axis=1).max(axis=1)
    collapsed = (1 - top <= limit + 1e-12) | (spread < COLLAPSED_SPREAD)
    if not collapsed.any():
        return []
    worst = int(np.flatnonzero(collapsed)[np.argmax(top[collapsed])])
    message = (
        f"{model} is a constant predictor in {int(collapsed.sum())} of {len(p)} seeds {_WHERE[split]}: "
        f"seed {worst} gives class {_named(int(shares[worst].argmax()), classes)} to {top[worst]:.1%} of windows, "
        f"with a spread of {spread[worst]:.2g} in its probabilities."
    )
    return [Alarm("constant_predictor", "alarm", model, message, split)]


def not_better_than_chance(model: str, balanced_accuracy: Estimate, n_classes: int) -> list[Alarm]:
    """Fires unless the whole interval of balanced accuracy on the sealed test lies above 1 / n_classes.

    Each model is held against its own 95 % interval, so of many models that know nothing one in forty stays silent:
    the verdict, which names one of them, corrects for its tests.
    """
    chance, e = 1 / n_classes, balanced_accuracy
    if e.low > chance:
        return []
    message = (
        f"{model} is not shown to be better than chance: balanced accuracy on the sealed test is "
        f"{plain(e)}, chance is {chance:.3f}."
    )
    return [Alarm("not_better_than_chance", "alarm", model, message, "test")]


def worse_out_of_sample(model: str, oof: Estimate, test: Estimate) -> list[Alarm]:
    """Fires if a score (higher is better) is higher out of fold than on the sealed test, intervals disjoint.

    The two rest on different windows, so there is no paired difference; disjoint intervals are stricter.
    """
    if not oof.low > test.high:
        return []
    message = (
        f"{model} scores {plain(oof)} out of fold but {plain(test)} on the sealed test: "
        "something leaks between folds, or the later span differs."
    )
    return [Alarm("worse_out_of_sample", "alarm", model, message, "test")]


def one_class_only(counts: Sequence[int], classes: Sequence[str] = ()) -> list[Alarm]:
    """Fires if the sealed test holds windows of one class: there is nothing to tell apart.

    Args:
        counts: windows of each class.
        classes: their names; without them they are numbers.
    """
    present = [label for label, count in enumerate(counts) if count]
    if len(present) > 1:
        return []
    only = f"only windows of class {_named(present[0], classes)}" if present else "no window"
    message = f"The sealed test holds {only}: nothing can be told apart there, and its figures show nothing."
    return [Alarm("one_class_only", "alarm", "", message, "test")]


def few_effective_windows(
    cases: float | None,
    class_counts: Sequence[int],
    min_cases: float = MIN_CASES,
    min_per_class: int = MIN_PER_CLASS,
    classes: Sequence[str] = (),
) -> list[Alarm]:
    """Fires if the sealed test amounts to too few independent cases for any interval; notes few cases, of a class too.

    Args:
        cases: `moola.evaluation.score_interval.effective_cases` of the resamples, nan where these have no rows; None:
            not asked.
        class_counts: windows of each class.
        min_cases, min_per_class: fewer are noted.
        classes: their names; without them they are numbers.
    """
    code, found = "few_effective_windows", list[Alarm]()
    windows = f"The sealed test's {sum(class_counts):,} windows"
    if cases is not None and math.isnan(cases):
        message = f"{windows} are too few apart in time for any interval: its figures show nothing."
        found.append(Alarm(code, "alarm", "", message, "test"))
    elif cases is not None and cases < min_cases:
        message = f"{windows} amount to {cases:.1f} independent cases: its intervals are wide, and few models differ."
        found.append(Alarm(code, "note", "", message, "test"))
    rare = {label: count for label, count in enumerate(class_counts) if count < min_per_class}
    few = [f"{count} of class {_named(label, classes)}" for label, count in rare.items()]
    if few:
        message = f"The sealed test holds few windows ({', '.join(few)}; {min_per_class} are wanted)."
        found.append(Alarm(code, "note", "", message, "test"))
    return found


def sealed_test_perhaps_seen(model: str, encoder: str, learned: tuple[str, str] | None) -> list[Alarm]:
    """Fires if an encoder from elsewhere learned from the time of the sealed test; notes it if no time is known.

    Args:
        model: that starts from the encoder, or "" for all that do.
        encoder: its name.
        learned: first and last time of what it learned from; None where it has none that could be compared.
    """
    code, flatters = "sealed_test_perhaps_seen", "so the sealed test may flatter every model that starts from it."
    if learned is None:
        message = f"Nobody can tell whether {encoder} has seen the sealed test, {flatters}"
        return [Alarm(code, "note", "", message, "test")]
    message = (
        f"{encoder} learned from bars of {learned[0]} to {learned[1]}, which do not end before the sealed test "
        f"begins, {flatters}"
    )
    return [Alarm(code, "alarm", model, message, "test")]


def overconfident(model: str, ece: Estimate, gap: float) -> list[Alarm]:
    """Notes an expected calibration error whose interval lies above 0.15.

    Args:
        model: its name.
        ece: expected calibration error on the sealed test.
        gap: mean confidence minus accuracy; where it is negative the code is "underconfident".
    """
    if not ece.low > MAX_ECE:
        return []
    code, words = ("overconfident", "too sure") if gap > 0 else ("underconfident", "less sure than it may be")
    how = f"expected calibration error {plain(ece)}, mean confidence minus accuracy {gap:+.3f}"
    return [Alarm(code, "note", model, f"{model} is {words}: {how}.", "test")]


def all_alarms(
    evidence: Sequence[Evidence],
    *,
    test_truth: IntArray | None = None,
    oof_truth: IntArray | None = None,
    cases: float | None = None,
    min_per_class: int = MIN_PER_CLASS,
    classes: Sequence[str] = (),
) -> AlarmReport:
    """Every check that the evidence allows, on every model.

    Args:
        evidence: one record a model.
        test_truth, oof_truth: labels of each split [n_windows]; None where there is none.
        cases: independent cases that the sealed test amounts to, see `few_effective_windows`.
        min_per_class: fewer test windows of a class than this are noted.
        classes: their names; without them they are numbers.

    Raises:
        DataError: predictions that do not fit their truth.
    """
    results: list[list[Alarm]] = []
    if test_truth is not None:
        known = (e.test_probabilities for e in evidence if e.test_probabilities is not None)
        n_classes = max((p.shape[2] for p in known), default=0)
        counts = np.bincount(test_truth, minlength=n_classes).tolist()
        results.append(few_effective_windows(cases, counts, min_per_class=min_per_class, classes=classes))
        results.append(one_class_only(counts, classes))
    for one in evidence:
        results += _of_model(one, test_truth, oof_truth, classes)
    return AlarmReport(tuple(alarm for found in results for alarm in found), len(results))


def _of_model(
    one: Evidence, test_truth: IntArray | None, oof_truth: IntArray | None, classes: Sequence[str]
) -> list[list[Alarm]]:
    """One entry a check that could be run; none on a control that never looks: nothing is expected of it."""
    results: list[list[Alarm]] = []
    if one.blind:
        return results
    n_classes = 0 if test_truth is None else len(np.unique(test_truth))
    if one.test_probabilities is not None and n_classes != 1:
        results.append(constant_predictor(one.model, one.test_probabilities, test_truth, "test", classes))
    if one.oof_probabilities is not None:
        results.append(constant_predictor(one.model, one.oof_probabilities, oof_truth, "oof", classes))
    test, oof = one.test.get("balanced_accuracy"), one.oof.get("balanced_accuracy")
    if test and n_classes > 1:
        results.append(not_better_than_chance(one.model, test, n_classes))
    if test and oof:
        results.append(worse_out_of_sample(one.model, oof, test))
    if "ece" in one.test and one.test_probabilities is not None and test_truth is not None:
        p = one.test_probabilities
        gap = float(p.max(axis=2).mean() - (p.argmax(axis=2) == test_truth).mean())
        results.append(overconfident(one.model, one.test["ece"], gap))
    return results


def _named(label: int, classes: Sequence[str]) -> str:
    return classes[label] if classes else str(label)
