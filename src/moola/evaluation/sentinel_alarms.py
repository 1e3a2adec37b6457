"""What the sentinels found (`moola.pipelines.stages.sentinels`), said as alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moola.evaluation.estimates import Alarm

NO_SIGNAL_P = 0.05
LATER_P = 0.01
_BEYOND_CHANCE = 4.0
"""Standard errors by which shuffled labels must score above chance on average: not once in thirty thousand by luck."""
_NAMED = 3


def permutation_p(score: float, shuffled: Sequence[float]) -> float:
    """Share of shufflings that score as much, the score itself among them (Phipson & Smyth 2010)."""
    return (1 + sum(value >= score for value in shuffled)) / (1 + len(shuffled))


def no_signal(found: Mapping[str, Any]) -> list[Alarm]:
    """Notes labels on which a simple model does no better than on shuffled ones.

    Args:
        found: ``score``, ``shuffled`` and ``n``.
    """
    p = permutation_p(found["score"], found["shuffled"])
    if p <= NO_SIGNAL_P:
        return []
    message = (
        f"A logistic regression scores {found['score']:.3f} out of fold on the {found['n']} labels, and "
        f"{sum(value >= found['score'] for value in found['shuffled'])} of {len(found['shuffled'])} shufflings of them "
        f"score as much (p = {p:.2f}): it finds no signal in them."
    )
    return [Alarm("no_signal", "note", "", message, "oof")]


def shuffled_labels_score(found: Mapping[str, Any], n_classes: int) -> list[Alarm]:
    """Fires if shuffled labels can be told on average, which nothing but a fault of the evaluation can do."""
    shuffled = np.asarray(found["shuffled"], dtype=float)
    error = float(shuffled.std(ddof=1)) / np.sqrt(len(shuffled))
    if shuffled.mean() - _BEYOND_CHANCE * error <= 1 / n_classes:
        return []
    message = (
        f"Shuffled labels still score {shuffled.mean():.3f} out of fold, where chance is {1 / n_classes:.3f}: folds "
        "know what they hold out."
    )
    return [Alarm("shuffled_labels_score", "alarm", "", message, "oof")]


def later_labels_score(found: Mapping[str, Any], own: Mapping[str, Any], n_classes: int) -> list[Alarm]:
    """Fires if windows tell the labels of windows that begin after their end; a note where they tell little.

    Args:
        found: of the later labels.
        own: of the windows' own labels; half of what these score above chance is an alarm.
        n_classes: for chance.
    """
    p, chance = permutation_p(found["score"], found["shuffled"]), 1 / n_classes
    if p > max(LATER_P, 1 / (1 + len(found["shuffled"]))):  # few shufflings cannot give a smaller one
        return []
    much = found["score"] - chance >= (own["score"] - chance) / 2
    message = (
        f"A logistic regression tells the label of the next window, which begins after its own window ends, with "
        f"{found['score']:.3f} (its own label with {own['score']:.3f}, p = {p:.2f}): inputs know the future, or labels "
        "carry over in time so that windows are less independent than they look."
    )
    return [Alarm("later_labels_score", "alarm" if much else "note", "", message, "oof")]


def lookahead(found: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """Fires for every channel that tells more of the future of the close than of its past."""
    return [
        Alarm(
            "lookahead",
            "alarm",
            "",
            f"Channel {one['channel']} knows the future: its correlation with the change of the close over the next "
            f"{one['horizon_bars']} bars is {one['future']:.2f}, over the last ones {one['past']:.2f}.",
        )
        for one in found
    ]


def duplicates(found: Mapping[str, Sequence[str]]) -> list[Alarm]:
    """Fires for windows that are judged and whose bars, to the last bit, also train."""
    where = {"sealed": "of the sealed test", "folds": "that folds hold out"}
    return [
        Alarm(
            "duplicates",
            "alarm",
            "",
            f"{len(ids)} windows {words} have the very bars of windows that train: {', '.join(ids[:_NAMED])}"
            + (" and others." if len(ids) > _NAMED else "."),
            "test" if part == "sealed" else "oof",
        )
        for part, words in where.items()
        if (ids := found[part])
    ]


def sealed_test_opened(before: Sequence[str]) -> list[Alarm]:
    """Notes that other runs have scored models on the same sealed test before.

    Args:
        before: their ids.
    """
    if not before:
        return []
    named = ", ".join(before[-_NAMED:]) + (" and earlier ones" if len(before) > _NAMED else "")
    message = (
        f"This sealed test was opened by {len(before)} other run{'s' * (len(before) > 1)} before ({named}): whoever "
        "chooses between them chooses on the test, and its figures then flatter."
    )
    return [Alarm("sealed_test_opened", "note", "", message, "test")]


def sentinel_alarms(found: Mapping[str, Any], n_classes: int) -> tuple[list[Alarm], int]:
    """All of them that the sentinels' findings allow, and how many checks that were.

    Args:
        found: ``sentinels.json``.
        n_classes: classes there are.
    """
    results = [
        no_signal(found["labels"]),
        shuffled_labels_score(found["labels"], n_classes),
        lookahead(found["lookahead"]),
        duplicates(found["duplicates"]),
    ]
    if found["later_labels"] is not None:
        results.append(later_labels_score(found["later_labels"], found["labels"], n_classes))
    return [alarm for some in results for alarm in some], len(results)
