"""The configuration that a search starts from, and what it becomes with the parameters of a trial."""

from __future__ import annotations

import copy
import functools
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moola.config import ConfigProblems, RunConfig, config_folder, describe, digest_json, from_omegaconf
from moola.errors import ConfigError, MoolaError, did_you_mean, near_names
from moola.pipelines.assembly import assemble
from moola.sweeps.search.space import Dimension, Space, Value

SEARCHED = ("augment", "encoder", "model", "objective", "trainer", "transform")
"""Sections that a search may change: what is fitted, and not what it is judged on."""
_MOST_COMBINATIONS = 64
_ABSENT = object()
_PLACES = ("device", "force", "paths", "processes", "tracker")
"""Keys that change no result."""


@dataclass(frozen=True)
class ComposedWords:
    """What Hydra makes of overrides.

    Attributes:
        text: the configuration as YAML, references (``${...}``) unresolved.
        search: the section ``search``; None without one.
        choices: group -> its option.
    """

    text: str
    search: Any
    choices: Mapping[str, str | None]


def compose_words(words: Sequence[str]) -> ComposedWords | None:
    """Compose; None where Hydra has only shown the configuration (``--cfg``).

    Raises:
        ConfigError: an override does not parse, or names what is not there.
    """
    from moola.composition import compose_and_call

    found: list[ComposedWords] = []

    def job(composed: Any) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf, open_dict

        section = composed.get("search")
        search = OmegaConf.to_container(section, resolve=True) if section is not None else None
        with open_dict(composed):
            composed.pop("search", None)
        found.append(ComposedWords(OmegaConf.to_yaml(composed), search, dict(HydraConfig.get().runtime.choices)))

    typed = sys.argv
    try:
        compose_and_call("search", list(words), job)
    finally:
        sys.argv = typed
    return found[0] if found else None


@dataclass(frozen=True)
class SearchBase:
    """Composed configurations, one for each choice of groups that the space names.

    Attributes:
        words: overrides of the user, without those of the search.
        groups: that the space chooses among, in order.
        texts: options of these groups -> the configuration as YAML.
        default: options without the search.
        choices: every group of the configuration without the search.
    """

    words: tuple[str, ...]
    groups: tuple[str, ...]
    texts: Mapping[tuple[Value, ...], str]
    default: tuple[Value, ...]
    choices: Mapping[str, str | None]

    @classmethod
    def compose(cls, words: Sequence[str], space: Space, own: ComposedWords) -> SearchBase:
        """Compose all of them.

        Raises:
            ConfigError: an option is missing; or there are too many combinations.
        """
        groups = tuple(key for key in space if is_group(key))
        wrong = {key: space[key] for key in groups if space[key].type != "categorical"}
        if wrong:
            told = [f"search.space.{key}: is a group of the configuration, its values are options" for key in wrong]
            raise ConfigError(told, "give type: categorical, choices: [OPTION, ...]")
        default: tuple[Value, ...] = tuple(own.choices.get(group) for group in groups)
        combinations = list(itertools.product(*(space[group].choices for group in groups))) if groups else []
        if len(combinations) > _MOST_COMBINATIONS:
            told = f"search.space: {', '.join(groups)} make {len(combinations)} combinations of options"
            raise ConfigError([told], f"leave some out: {_MOST_COMBINATIONS} at most")
        texts: dict[tuple[Value, ...], str] = {default: own.text}
        problems = ConfigProblems()
        for options in combinations:
            if options not in texts:
                chosen = [f"{group}={option}" for group, option in zip(groups, options, strict=True)]
                kept = [word for word in words if not _chooses(word, groups)]
                made = problems.attempt(lambda given=[*kept, *chosen]: compose_words(given))
                if made is not None:
                    texts[options] = made.text
        if problems:
            raise problems.error()
        return cls(tuple(words), groups, texts, default, own.choices)

    def plain(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """The configuration with parameters in it, as plain values with references resolved."""
        from omegaconf import OmegaConf

        made: Any = OmegaConf.to_container(self._composed(params), resolve=True)
        return made

    def config(self, params: Mapping[str, Value]) -> RunConfig:
        """The same, checked.

        Raises:
            ConfigError: these values do not go together.
        """
        return from_omegaconf(self._composed(params))

    def value(self, key: str, options: tuple[Value, ...] | None = None) -> Any:
        """What a key has without the search; `is_absent` tells whether there is none."""
        from omegaconf import OmegaConf

        chosen = self.default if options is None else options
        if key in self.groups:
            return chosen[self.groups.index(key)]
        found: Any = OmegaConf.to_container(_loaded(self.texts[chosen]), resolve=True)
        for word in key.split("."):
            if not isinstance(found, Mapping) or word not in found:
                return _ABSENT
            found = found[word]
        return found

    def default_params(self, space: Space) -> dict[str, Value] | None:
        """The space's keys as they are without the search; None where some lie outside it."""
        values = {key: self.value(key) for key in space}
        return values if all(space[key].contains(value) for key, value in values.items()) else None

    def identity(self) -> str:
        """Digest of all that can change a figure."""
        without = {
            str(options): {key: value for key, value in _loaded_plain(text).items() if key not in _PLACES}
            for options, text in self.texts.items()
        }
        return digest_json(without)

    def _composed(self, params: Mapping[str, Value]) -> Any:
        from omegaconf import OmegaConf

        options = tuple(params.get(group, own) for group, own in zip(self.groups, self.default, strict=True))
        composed = copy.deepcopy(_loaded(self.texts[options]))
        for key, value in params.items():
            if key not in self.groups:
                OmegaConf.update(composed, key, value)
        return composed


def is_absent(value: Any) -> bool:
    """Whether a configuration lacks the key."""
    return value is _ABSENT


def is_group(key: str) -> bool:
    """Whether a key of a space names a group of the configuration."""
    return key in SEARCHED


def check_space(base: SearchBase, space: Space) -> None:
    """Every key is there, and every end of its range is allowed.

    Raises:
        ConfigError: every problem in one go; near names are given.
    """
    problems = ConfigProblems()
    for key, dimension in space.items():
        problems += _key_problems(base, key, dimension)
    if problems:
        raise problems.error()
    default = problems.attempt(lambda: assemble(base.config({}), "oof"))
    if default is None:
        raise problems.error()
    for key, dimension in space.items():
        failed: list[str] = []
        for value in dimension.ends:
            told = _problems_of(base, {key: value})
            # What does not go with the default of another key may go with all that the search gives that key.
            if told and all(_problems_of(base, {**others, key: value}) for others in _elsewhere(space, key)):
                failed += [f"search.space.{key}: {value} is not allowed: {problem}" for problem in told]
        # One end may not go with the default of a key that is not searched; all of them cannot.
        problems += failed if dimension.type == "categorical" or _alone(failed, key) else []
    if problems:
        raise problems.error("change the range, or another key that it does not go with")


def _problems_of(base: SearchBase, params: Mapping[str, Value]) -> Sequence[str]:
    try:
        assemble(base.config(params), "oof")
    except ConfigError as error:
        return error.problems
    return ()


def _elsewhere(space: Space, key: str) -> Iterator[Mapping[str, Value]]:
    """Values of the other keys inside their ranges: one key after another at each end, then all at theirs."""
    ends = {other: dimension.ends for other, dimension in space.items() if other != key}
    if not ends:
        yield {}
        return
    yield from ({other: value} for other, values in ends.items() for value in values)
    for end in (0, -1):
        yield {other: values[end] for other, values in ends.items()}


def _alone(failed: Sequence[str], key: str) -> bool:
    """Whether what is wrong is told of the key itself, and of no other beside it."""
    return any(f"{key}:" in problem.partition("is not allowed:")[2] for problem in failed)


def _key_problems(base: SearchBase, key: str, dimension: Dimension) -> Iterator[str]:
    section = key.partition(".")[0]
    if section not in SEARCHED:
        known = _known_keys(base)
        near = near_names(key, known)
        if section in (*_PLACES, *_sections(base)):
            yield f"search.space.{key}: changes what trials are judged on, or where; searched are {', '.join(SEARCHED)}"
        else:
            yield f"search.space.{key}: there is no such key; {did_you_mean(key, near or SEARCHED)}"
        return
    if is_group(key):
        return
    for options in base.texts:
        value = base.value(key, options)
        which = f" with {', '.join(map(str, options))}" if base.groups else ""
        if is_absent(value):
            siblings = [
                other for other in _known_keys(base, options) if other.rpartition(".")[0] == key.rpartition(".")[0]
            ]
            near = near_names(key, siblings) or near_names(key, _known_keys(base, options))
            told = did_you_mean(key, near or siblings)
            yield (
                f"search.space.{key}: there is no such key{which}; {told} (one that is left to its default is given "
                f"first: +{key}=VALUE)"
            )
        elif isinstance(value, Mapping):
            yield f"search.space.{key}: is a section, not a key; it has {', '.join(value)}"


def _sections(base: SearchBase) -> list[str]:
    return list(_loaded_plain(base.texts[base.default]))


def _known_keys(base: SearchBase, options: tuple[Value, ...] | None = None) -> list[str]:
    text = base.texts[base.default if options is None else options]
    sections = {key: value for key, value in _loaded_plain(text).items() if key in SEARCHED}
    return list(_leaves(sections, ""))


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, item in values.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def _chooses(word: str, groups: Sequence[str]) -> bool:
    return re.split("=", word, maxsplit=1)[0].lstrip("+") in groups


@functools.lru_cache(maxsize=_MOST_COMBINATIONS)
def _loaded(text: str) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create(text)


def _loaded_plain(text: str) -> dict[str, Any]:
    from omegaconf import OmegaConf

    made: Any = OmegaConf.to_container(_loaded(text), resolve=True)
    return made


def pretrains_anew(base: SearchBase, space: Space) -> list[str]:
    """Keys of a space that change how the encoder is pretrained, so that trials pretrain one of their own."""
    before = _pretraining(base.config({}))
    found: list[str] = []
    for key, dimension in space.items():
        for value in dimension.ends:
            try:
                changed = _pretraining(base.config({key: value})) != before
            except MoolaError:
                continue
            if changed:
                found.append(key)
                break
    return found


def _pretraining(config: RunConfig) -> Any:
    stages = assemble(config, "oof").stages
    return [describe(stage) for stage in stages if stage.provides == "encoder"]


def shipped_spaces() -> list[str]:
    """Names of the spaces that come with moola."""
    return sorted(path.stem for path in (config_folder() / "search").glob("*.yaml"))
