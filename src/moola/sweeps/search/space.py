"""What a search may change: keys of the configuration, and the values that each may have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from moola.config import ConfigProblems, reject, structure
from moola.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Value = float | int | str | bool | None
_ALIGNED = 1e-9
"""So far may a value be off a step of its range, as a share of the step."""
_EDGE = 0.02
"""A value that lies within this share of its range from an end is at the edge."""


@dataclass(frozen=True)
class Dimension:
    """The values of one key.

    Attributes:
        type: ``float``, ``int`` or ``categorical``.
        low, high: ends of the range, both included; of numbers.
        log: spread evenly over the logarithm.
        step: distance of neighbours, from `low` on; null: any number, or every whole one.
        choices: of a categorical one.
    """

    type: Literal["float", "int", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        if self.type == "categorical":
            ranged = [name for name in ("low", "high", "step") if getattr(self, name) is not None]
            reject(
                (bool(ranged) or self.log, f"{', '.join([*ranged, *(['log'] if self.log else [])])}: of numbers only"),
                (len(self.choices) < 2, "choices: needs at least two"),
                (len(set(map(repr, self.choices))) < len(self.choices), "choices: holds one twice"),
            )
            return
        reject(
            (bool(self.choices), f"choices: of type categorical only; this one is {self.type}"),
            (self.low is None, "low: is missing"),
            (self.high is None, "high: is missing"),
        )
        low, high = self.range
        whole = [name for name in ("low", "high", "step") if (value := getattr(self, name)) is not None and value % 1]
        reject(
            (low >= high, f"low: {low:g} must be less than high, {high:g}"),
            (self.log and low <= 0, f"low: {low:g} must be positive where log is true"),
            (self.log and self.step is not None, "step: cannot be given where log is true"),
            (self.step is not None and self.step <= 0, f"step: {self.step} must be positive"),
            (self.type == "int" and bool(whole), f"{', '.join(whole)}: of type int, must be whole"),
        )

    @property
    def range(self) -> tuple[float, float]:
        """Both ends, of numbers."""
        if self.low is None or self.high is None:
            raise ValueError("a categorical dimension has no range")
        return self.low, self.high

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that show whether all are allowed: both ends of a range, or every choice."""
        if self.type == "categorical":
            return self.choices
        low, high = self.range
        return (int(low), int(high)) if self.type == "int" else (low, high)

    def contains(self, value: Any) -> bool:
        """Whether a search over it may come to this value."""
        if self.type == "categorical":
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.type == "int" else int | float):
            return False
        low, high = self.range
        steps = (value - low) / self.step if self.step else 0.0
        return low <= value <= high and abs(steps - round(steps)) < _ALIGNED

    def at_edge(self, value: Any) -> bool:
        """Whether a value lies so near an end of the range that better ones may lie beyond it."""
        if self.type == "categorical" or not isinstance(value, int | float):
            return False
        return not _EDGE < self.place(value) < 1 - _EDGE

    def place(self, value: Any) -> float:
        """Where a value lies, 0 at the low end to 1 at the high one; choices lie evenly apart, NaN for another."""
        if self.type == "categorical":
            places = [number for number, choice in enumerate(self.choices) if choice == value]
            return places[0] / (len(self.choices) - 1) if places else math.nan
        low, high = self.range
        if self.log:
            return math.log(value / low) / math.log(high / low) if value > 0 else math.nan
        return (value - low) / (high - low)

    def distribution(self) -> BaseDistribution:
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.type == "categorical":
            return CategoricalDistribution(self.choices)
        low, high = self.range
        if self.type == "int":
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(low, high, log=self.log, step=self.step)

    def suggest(self, trial: Trial, key: str) -> Value:
        """A value of a trial."""
        if self.type == "categorical":
            return trial.suggest_categorical(key, self.choices)
        low, high = self.range
        if self.type == "int":
            return trial.suggest_int(key, int(low), int(high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(key, low, high, log=self.log, step=self.step)


Space = Mapping[str, Dimension]
"""Dotted key of the configuration, or a group of it -> its values."""


def read_space(section: Any) -> Space:
    """The section ``search.space``: keys with dots, or group inside group, as Hydra makes them on the command line.

    Raises:
        ConfigError: no key at all, or wrong ranges; the problems of every key.
    """
    found: dict[str, Any] = {}
    for key, values in _dimensions(section, "") if isinstance(section, Mapping) else ():
        both = isinstance(values, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = {**found[key], **values} if both else values  # a word of the command line changes a file's
    if not found:
        raise ConfigError(
            ["search.space: names no key"],
            "give some: '+search.space={model.logistic_regression.c: {type: float, low: 0.01, high: 100, log: true}}'",
        )
    problems = ConfigProblems()
    read = {key: problems.attempt(lambda key=key, values=values: _read(key, values)) for key, values in found.items()}
    if problems:
        raise problems.error()
    return {key: dimension for key, dimension in read.items() if dimension is not None}


def _dimensions(section: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, item in section.items():
        inside = isinstance(item, Mapping) and bool(item) and not isinstance(item.get("type"), str)
        if inside and all(isinstance(value, Mapping) for value in item.values()):
            yield from _dimensions(item, f"{path}{key}.")
        else:
            yield f"{path}{key}", item


def _read(key: str, values: Any) -> Dimension:
    path = f"search.space.{key}"
    if not isinstance(values, Mapping):
        raise ConfigError([f"{path}: {values!r} must be a group of keys, type among them"])
    try:
        return structure(Dimension, values, path)
    except ConfigError as error:
        at = [problem if problem.startswith(path) else f"{path}.{problem}" for problem in error.problems]
        raise ConfigError(at, error.way_out) from error


def spoken(params: Mapping[str, Any], keys: Sequence[str] | None = None) -> str:
    """Parameters on one line: ``c=0.31, head_dropout=0.2``; keys by their last word where that tells them apart."""
    chosen = list(params) if keys is None else [key for key in keys if key in params]
    last = [key.rpartition(".")[2] for key in chosen]
    names = [word if last.count(word) == 1 else key for word, key in zip(last, chosen, strict=True)]
    return ", ".join(f"{name}={plain(params[key])}" for name, key in zip(names, chosen, strict=True))


def plain(value: Any) -> str:
    """A value in few signs."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
