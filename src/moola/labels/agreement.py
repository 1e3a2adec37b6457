"""How far people agree about labels, beyond what chance would give (Cohen 1960)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from moola.labels.events import LabelEvent
from moola.labels.folding import in_effect, last_decisions

REMOVED = "(removed)"
"""The category of windows that somebody skips or blacklists."""
_N_DRAWS = 4000
_LEVEL = 0.95


@dataclass(frozen=True)
class Agreement:
    """Two raters on the same windows.

    Kappa is (p_o - p_e) / (1 - p_e), with p_o the share of windows on which they agree and p_e what that share would
    be were they independent with the same marginals (Cohen 1960, equation 1). The interval holds 95 % of the
    posterior of kappa, given the table of k x k verdicts and the prior Dirichlet(1 / k^2) (Berger, Bernardo & Sun 2015,
    "Overall objective priors"): a bootstrap of four windows that agree would be sure that all do. It takes
    windows for independent; where they overlap in time it is too narrow.

    Attributes:
        first: one rater; ``given`` is the label that the window had.
        second: the other.
        n: windows that both judged; where one is the given label, the decisions: each person's about a window counts.
        observed: share on which they agree; NaN where they share none.
        kappa: NaN where both always said the same one thing: chance explains all.
        low: lower end of the 95 % interval of kappa; NaN where kappa is.
        high: upper end.
    """

    first: str
    second: str
    n: int
    observed: float
    kappa: float
    low: float
    high: float


@dataclass(frozen=True)
class Anchoring:
    """What seeing the given label and the predictions does to a person's decisions.

    Windows of a sitting are drawn at random to be blind, so that the difference of the two kappas with the given label
    is what showing does: above zero, people follow what they see. Decisions of other origin say nothing of it: who
    decided them saw other windows, and knew of other things.

    Attributes:
        blind: given label and decision, where these were hidden.
        shown: the same where they were shown.
        difference: kappa shown minus kappa blind; NaN where one is.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    blind: Agreement
    shown: Agreement
    difference: float
    low: float
    high: float

    @property
    def conclusion(self) -> str:
        """What the interval says of people."""
        if self.low > 0:
            return "people follow what they are shown"
        if self.high < 0:
            return "people agree less with the given label when they see it"
        return "no difference that these windows can show"


def agreement_between(events: Iterable[LabelEvent], seed: int = 0) -> list[Agreement]:
    """Of every pair of annotators who judged a window both, by their last decisions; pairs in alphabetical order."""
    last = last_decisions(in_effect(events))
    said: dict[str, dict[str, str]] = {}
    for (window, annotator), event in last.items():
        said.setdefault(annotator, {})[window] = event.verdict or REMOVED
    found: list[Agreement] = []
    for first, second in itertools.combinations(sorted(said), 2):
        both = [name for name in said[first] if name in said[second]]
        if both:
            pairs = [(said[first][name], said[second][name]) for name in both]
            found.append(_agreement(first, second, pairs, seed)[0])
    return found


def anchoring(events: Iterable[LabelEvent], seed: int = 0) -> Anchoring | None:
    """Agreement with the given label where it was hidden and where it was shown; None where one of these never was.

    Of sittings of review in which windows were drawn to be blind (`LabelEvent.blind_share`).
    """
    last = _drawn(events)
    parts = {
        blind: [(event.given or "", event.verdict or REMOVED) for event in last if event.blind == blind]
        for blind in (True, False)
    }
    if not parts[True] or not parts[False]:
        return None
    blind, of_blind = _agreement("given", "blind", parts[True], seed)
    shown, of_shown = _agreement("given", "shown", parts[False], seed + 1)
    low, high = _interval(of_shown - of_blind)
    return Anchoring(blind, shown, shown.kappa - blind.kappa, low, high)


def why_not_anchored(events: Iterable[LabelEvent]) -> str:
    """Why `anchoring` is None, in words."""
    events = tuple(events)
    if _drawn(events):
        return "no window was judged with its label shown" if _drawn(events)[0].blind else "no window was judged blind"
    if any(event.blind for event in in_effect(events)):
        return "the log does not tell in which sittings windows were drawn to be blind (an older moola wrote it)"
    return "no window was judged blind"


def _drawn(events: Iterable[LabelEvent]) -> list[LabelEvent]:
    """Last decisions of sittings in which a lot said which windows are blind, about windows that had a label."""
    sat = (event for event in in_effect(events) if event.source == "review" and event.blind_share > 0)
    return [event for event in last_decisions(sat).values() if event.given]


def _agreement(first: str, second: str, pairs: Sequence[tuple[str, str]], seed: int) -> tuple[Agreement, np.ndarray]:
    """Of two raters, with draws of the posterior of kappa, [n_draws]."""
    names = sorted({name for pair in pairs for name in pair})
    counts = np.zeros((len(names), len(names)))
    for one, other in pairs:
        counts[names.index(one), names.index(other)] += 1
    prior = 1 / counts.size
    draws = np.random.default_rng(seed).dirichlet((counts + prior).ravel(), size=_N_DRAWS)
    posterior = _kappa(draws.reshape(-1, len(names), len(names)))
    observed, kappa = float(np.trace(counts) / len(pairs)), float(_kappa(counts[None])[0])
    return Agreement(first, second, len(pairs), observed, kappa, *_interval(posterior)), posterior


def _kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa of tables [n, k, k] of counts or shares; `sklearn.metrics.cohen_kappa_score` for many at once."""
    shares = counts / counts.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    by_chance = np.isclose(expected, 1)
    return np.where(by_chance, np.nan, (observed - expected) / np.where(by_chance, 1, 1 - expected))


def _interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
