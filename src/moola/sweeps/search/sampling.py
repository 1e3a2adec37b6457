"""How Optuna chooses the next trial, and which it ends early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

    from moola.sweeps.search.settings import SearchSettings

STEPS = 100
"""Steps of a trial, whatever it trains: a step is a hundredth of its work, so that trials of any length compare."""
_STARTUP = 5
"""Trials that the median needs before it ends others."""


class NumberedSampler(BaseSampler):
    """A sampler whose random numbers depend on its seed and on the trial's number.

    So a search that is continued goes on as if it had never ended: a sampler that draws from one stream would begin
    that stream again.

    Args:
        make: a sampler from a seed.
        seed: of the search.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin the trial's own stream."""
        self._sampler = self._make(int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the sampler does."""
        self._sampler.after_trial(study, trial, state, values)


def sampler_of(settings: SearchSettings) -> BaseSampler:
    """The sampler of a search; one that shares its study spreads trials that are under way."""
    if settings.sampler == "random":
        return NumberedSampler(lambda seed: RandomSampler(seed=seed), settings.seed)
    return NumberedSampler(lambda seed: TPESampler(seed=seed, constant_liar=settings.workers > 1), settings.seed)


def pruner_of(settings: SearchSettings) -> BasePruner:
    """The pruner of a search."""
    warmup = int(settings.warmup * STEPS)
    if settings.pruner == "median":
        return MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=warmup)
    if settings.pruner == "halving":
        return SuccessiveHalvingPruner(min_resource=max(1, warmup))
    if settings.pruner == "hyperband":
        return HyperbandPruner(min_resource=max(1, warmup), max_resource=STEPS)
    return NopPruner()
