"""A W&B sweep over overrides: its agents start ``moola run`` with the words that the sweep gives them.

W&B checks a sweep when it gets it; its client holds no schema. What is ours is checked here: keys, groups and values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from moola.config import ConfigProblems, RunConfig, override, shipped_options, structure
from moola.errors import ConfigError, did_you_mean
from moola.sweeps.search.space import Dimension

Method = Literal["grid", "random", "bayes"]

_COMMAND = ("${env}", "moola", "run")
_KEY_OF_TRACKER = re.compile(r"[+~]*tracker(?![a-z_])")
_MOST_LISTED = 100
"""Values of a range with a step that are listed one by one."""
_ALIGNED = 1e-9
"""So far may a value be off a step, as a share of it."""
_ARGUMENTS = "${args_no_hyphens}"
"""``KEY=VALUE`` words, as Hydra wants them."""


@dataclass(frozen=True)
class SweepSpace:
    """What stays and what is searched.

    Attributes:
        fixed: words with one value.
        parameters: key -> ``values`` or a distribution, as W&B names them.
        samples: words of points that hold every listed value, to be composed before anything starts.
        ranges: key -> words of a point at a value of the range that is not whole, where its ends are.
        metric: figure that the space itself names; empty: none.
    """

    fixed: Sequence[str]
    parameters: Mapping[str, Mapping[str, Any]]
    samples: Sequence[Sequence[str]]
    metric: str = ""
    ranges: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass
class _Found:
    fixed: list[str] = field(default_factory=list[str])
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    words: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    between: dict[str, str] = field(default_factory=dict[str, str])
    metric: str = ""


def read_space(words: Sequence[str]) -> SweepSpace:
    """What the words of a grid, or ``search=NAME``, or a YAML file with a section ``space`` say.

    Raises:
        ConfigError: words that do not parse, spaces that are none, nothing to search: all in one go.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    found, problems = _Found(), ConfigProblems()
    for word in words:
        if word.startswith("search=") or word.endswith((".yaml", ".yml")):
            problems.attempt(lambda word=word: _add_search(word, found))
            continue
        try:
            parsed = OverridesParser.create().parse_override(word)
        except HydraException as error:
            problems.append(f"{word}: {str(error).splitlines()[0]}")
            continue
        if parsed.is_sweep_override():
            problems.attempt(lambda parsed=parsed: _add_sweep(parsed, found))
        else:
            found.fixed.append(word)
    keys = [word.partition("=")[0] for word in found.fixed]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1 or key in found.parameters]
    problems += [f"{key}: is given twice, and one of them would be lost" for key in twice]
    if not found.parameters and not problems:
        problems.append("nothing is searched: every word has one value")
    if problems:
        raise problems.error("give values as KEY=A,B or KEY='interval(A, B)', or search=NAME")
    first = {key: words[0] for key, words in found.words.items()}
    ranges = {key: [*found.fixed, *{**first, key: word}.values()] for key, word in found.between.items()}
    return SweepSpace(found.fixed, found.parameters, list(_samples(found)), found.metric, ranges)


def checked(space: SweepSpace, check: Callable[[Sequence[str]], RunConfig]) -> SweepSpace:
    """The space with whole numbers for keys that take no others, when every listed value is one that runs take.

    Args:
        space: as `read_space` has it.
        check: gives the configuration of a point, or raises.

    Raises:
        ConfigError: what is wrong with its points, all in one go.
    """
    problems = ConfigProblems()
    found = [problems.attempt(lambda words=words: check([*words, *_tracker(space)])) for words in space.samples]
    if any(config is not None and "wandb" not in config.tracker for config in found):
        told = " ".join(word for word in space.fixed if _KEY_OF_TRACKER.match(word)) or "tracker"
        error = ConfigError([f"{told}: without wandb no run tells its sweep anything"], "'tracker=[wandb,OTHER]'")
        problems.take(error)
    if problems:
        raise problems.error()
    return replace(space, parameters={key: _whole(key, space, check) for key in space.parameters})


def _whole(key: str, space: SweepSpace, check: Callable[[Sequence[str]], RunConfig]) -> Mapping[str, Any]:
    """A parameter; a range whose ends are taken and a number between them is not draws whole numbers."""
    values = space.parameters[key]
    if key not in space.ranges:
        return values
    try:
        check([*space.ranges[key], *_tracker(space)])
    except ConfigError:
        return _whole_numbers(values)
    return values


def _whole_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same range of whole numbers."""
    ends = {"min": int(values["min"]), "max": int(values["max"])}
    if values["distribution"] == "log_uniform_values":
        return {"distribution": "q_log_uniform_values", "q": 1, **ends}
    return {"distribution": "int_uniform", **ends}


def _tracker(space: SweepSpace) -> list[str]:
    """The word that has runs tell W&B, where the space has none about trackers."""
    of_tracker = any(_KEY_OF_TRACKER.match(word) for word in [*space.fixed, *space.parameters])
    return [] if of_tracker else ["tracker=wandb"]


def sweep_of(
    space: SweepSpace,
    *,
    name: str,
    method: Method | None = None,
    metric: str | None = None,
    goal: str = "maximize",
    runs: int | None = None,
) -> dict[str, Any]:
    """The sweep as `wandb sweep` reads it.

    Args:
        space: what is searched.
        name: of the sweep.
        method: None: grid, or random where a value is drawn.
        metric: figure of a run's summary; None: the one that the space names.
        goal: ``maximize`` or ``minimize``.
        runs: after so many it ends; None: when the grid is done, or never.

    Raises:
        ConfigError: the method does not go with the space, or has no metric.
    """
    drawn = [key for key, values in space.parameters.items() if "values" not in values]
    method, metric = method or ("random" if drawn else "grid"), metric or space.metric
    problems: list[str] = []
    if method == "grid" and drawn:
        problems.append(f"--method grid: {', '.join(drawn)} have no list of values; use random or bayes")
    if method == "bayes" and not metric:
        problems.append("--method bayes: needs --metric, e.g. finetuned/oof/balanced_accuracy")
    if runs is not None and runs < 1:
        problems.append(f"--runs: {runs} must be at least 1")
    if problems:
        raise ConfigError(problems)
    return {
        "name": name,
        "method": method,
        **({"metric": {"name": metric, "goal": goal}} if metric else {}),
        **({"run_cap": runs} if runs else {}),
        "parameters": {key: dict(values) for key, values in space.parameters.items()},
        "program": "moola",
        "command": [*_COMMAND, *space.fixed, *_tracker(space), _ARGUMENTS],
    }


def _samples(found: _Found) -> Iterator[list[str]]:
    """The first point, and those that differ from it in one word."""
    first = {key: words[0] for key, words in found.words.items()}
    yield [*found.fixed, *first.values()]
    for key, words in found.words.items():
        for word in words[1:]:
            yield [*found.fixed, *{**first, key: word}.values()]


def _add_sweep(parsed: Any, found: _Found) -> None:
    """A word with several values, as Hydra reads it."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    key, value = parsed.get_key_element(), parsed.value()
    _refuse_twice(key, found)
    if isinstance(value, Glob):
        raise ConfigError([f"{parsed.input_line}: a pattern is nothing that W&B can draw from; write the options out"])
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        _add_range(key, value.start, value.end, found, log="log" in value.tags)
        return
    words = list(parsed.sweep_string_iterator())
    found.parameters[key] = {"values": [_typed(word) for word in words]}
    found.words[key] = [f"{key}={word}" for word in words]


def _refuse_twice(key: str, found: _Found) -> None:
    if key in found.parameters:
        raise ConfigError([f"{key}: is given twice, and one of them would be lost"])


def _add_range(key: str, low: float, high: float, found: _Found, *, log: bool) -> None:
    if not low < high or (log and low <= 0):
        raise ConfigError([f"{key}: from {low:g} to {high:g} nothing can be drawn{' in a logarithm' if log else ''}"])
    found.parameters[key] = {"distribution": "log_uniform_values" if log else "uniform", "min": low, "max": high}
    if low % 1 or high % 1:
        found.words[key] = [override(key, low), override(key, high)]
    else:  # keys of whole numbers take no 8.0; which these are the check finds out
        found.words[key] = [override(key, int(low)), override(key, int(high))]
        found.between[key] = override(key, low + 0.5)


def _add_steps(key: str, dimension: Dimension, found: _Found) -> None:
    """A range with a step, as a list where that is short; W&B's own steps are multiples, whatever the low end is."""
    low, high = dimension.range
    step = dimension.step or 1
    count = int((high - low) / step + _ALIGNED) + 1
    number = int if dimension.type == "int" else float
    numbers = [number(float(f"{low + n * step:.12g}")) for n in range(count)]
    is_multiple = abs(low / step - round(low / step)) < _ALIGNED
    if count <= _MOST_LISTED or not is_multiple:
        found.parameters[key] = {"values": numbers}
    else:
        ends = {"min": numbers[0], "max": numbers[-1]}
        found.parameters[key] = {"distribution": "q_uniform", "q": number(step), **ends}
    found.words[key] = [override(key, numbers[0]), override(key, numbers[-1])]


def _add_search(word: str, found: _Found) -> None:
    """A search of `moola search`: its space, and the figure that it judges by."""
    section = _search_section(word)
    for key, values in _dimensions(section.get("space") or {}, ""):
        _refuse_twice(key, found)
        match values:
            case {"type": "categorical", "choices": list(choices)} if choices:
                words = [override(key, choice).partition("=")[2] for choice in choices]
                found.parameters[key] = {"values": [_typed(one) for one in words]}
                found.words[key] = [f"{key}={word}" for word in words]
            case {"type": "int" | "float", "low": int() | float() as low, "high": int() | float() as high}:
                if values.get("step") is not None:
                    _add_steps(key, structure(Dimension, values, f"space.{key}"), found)
                    continue
                _add_range(key, low, high, found, log=bool(values.get("log")))
                if values["type"] == "int":
                    found.parameters[key] = _whole_numbers(found.parameters[key])
                    found.between.pop(key, None)  # that it takes whole numbers alone is known
            case _:
                raise ConfigError([f"{word}: {key}: {values!r} is no range and no list of choices"])
    if {"model", "metric"} <= section.keys():
        found.metric = f"{section['model']}/oof/{section['metric']}"


def _search_section(word: str) -> Mapping[str, Any]:
    """The section of a search that is shipped, or of a file."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    name = word.removeprefix("search=")
    if word.startswith("search="):
        options = shipped_options("search")
        if name not in options:
            raise ConfigError([f"{word}: there is no such option; {did_you_mean(name, options)}"])
        return options[name]
    try:
        plain = OmegaConf.to_container(OmegaConf.load(Path(name)), resolve=True)
    except FileNotFoundError as error:
        raise ConfigError([f"{name}: there is no such file"]) from error
    except (OmegaConfBaseException, ValueError, OSError) as error:
        raise ConfigError([f"{name}: {str(error).splitlines()[0]}"]) from error
    if not isinstance(plain, dict):
        raise ConfigError([f"{name}: holds no section"])
    inner = plain.get("search", plain)
    return {str(key): value for key, value in inner.items()} if isinstance(inner, dict) else {}


def _dimensions(section: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys, whether they are written with dots or one inside another."""
    for key, item in section.items():
        if isinstance(item, Mapping) and not isinstance(item.get("type"), str):
            yield from _dimensions(item, f"{path}{key}.")
        else:
            yield f"{path}{key}", item


def _typed(word: str) -> Any:
    """A number stays one, so that W&B can order it; anything else is what Hydra reads."""
    for number in (int, float):
        try:
            if str(value := number(word)) == word:
                return value
        except ValueError:
            continue
    return word
