"""The section ``search``: what is searched, how, and by which figure trials are judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from moola.config import ConfigProblems, reject, structure
from moola.errors import ConfigError, did_you_mean
from moola.sweeps.search.space import Space, read_space

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class SearchSettings:
    """How a search is made.

    Attributes:
        name: of the study and of the experiment that its winner becomes.
        model: name of the model whose figure counts, as in the section ``model``.
        space: what it may change (`moola.sweeps.search.space`).
        metric: a key of `moola.evaluation.metrics.METRICS`.
        n_trials: finished, pruned or failed by their own fault; over all workers and machines.
        timeout_s: seconds after which no trial is begun; null: none. Each start counts anew.
        sampler: ``tpe`` learns from the trials before, ``random`` does not.
        pruner: ends trials early that lag behind: ``none``, ``median``, ``halving`` or ``hyperband``.
        warmup: share of a trial before which the median ends none.
        seed: of the sampler; with one worker the same seed gives the same trials.
        storage: file of a journal, or URL of a database that machines share; null: a journal among the artifacts.
        workers: processes that try at once.
        folds: inner folds of the training windows; null: as many as the split has.
        outer: ``null``: one search on all training windows, which the sealed test may judge once; ``all``: besides, one
            on the training windows of each fold of the split, whose winner is judged on the windows that it holds out.
    """

    name: str
    model: str
    space: dict[str, Any]
    metric: str = "balanced_accuracy"
    n_trials: int = 50
    timeout_s: float | None = None
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["none", "median", "halving", "hyperband"] = "median"
    warmup: float = 0.2
    seed: int = 0
    storage: str | None = None
    workers: int = 1
    folds: int | None = None
    outer: Literal["all"] | None = None
    dimensions: Space = field(init=False)

    def __post_init__(self) -> None:
        from moola.evaluation.metrics import METRICS

        problems = ConfigProblems()
        rules = (
            (not _NAME.fullmatch(self.name), f"search.name: '{self.name}' must be letters, digits, - and _"),
            (
                self.metric not in METRICS,
                f"search.metric: '{self.metric}' is unknown; {did_you_mean(self.metric, METRICS)}",
            ),
            (self.n_trials < 1, f"search.n_trials: {self.n_trials} must be at least 1"),
            (
                self.timeout_s is not None and self.timeout_s <= 0,
                f"search.timeout_s: {self.timeout_s} must be positive",
            ),
            (not 0 <= self.warmup < 1, f"search.warmup: {self.warmup} must lie in [0, 1)"),
            (not 0 <= self.seed < 2**32, f"search.seed: {self.seed} must lie in [0, 2**32)"),
            (self.workers < 1, f"search.workers: {self.workers} must be at least 1"),
            (self.folds is not None and self.folds < 2, f"search.folds: {self.folds} must be at least 2"),
        )
        problems.attempt(lambda: reject(*rules))
        space = problems.attempt(lambda: read_space(self.space))
        if problems:
            raise problems.error()
        assert space is not None
        object.__setattr__(self, "dimensions", space)


def read_settings(section: Any) -> SearchSettings:
    """The section ``search`` of a composed configuration.

    Raises:
        ConfigError: every problem in one go; each names its key.
    """
    if not isinstance(section, Mapping):
        raise ConfigError([f"search: {section!r} must be a group of keys"])
    try:
        return structure(SearchSettings, section, "search")
    except ConfigError as error:
        twice = [problem.replace("search.search.", "search.", 1) for problem in error.problems]
        raise ConfigError(twice, error.way_out) from error
