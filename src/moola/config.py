"""From composed YAML to checked frozen dataclasses: the only place that sees a DictConfig.

A component's configuration is a frozen dataclass beside the component. `structure` fills it from plain values,
checks types and names, and reports every problem at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from moola.errors import ConfigError, MoolaError, did_you_mean

T = TypeVar("T")
_INVALID = object()
_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_/.-]*")
_NO_TEXT = ("null", "true", "false", "inf", "nan")
"""Text that Hydra takes without quotes, unless it is one of these words."""
_MEANINGLESS = ("debug-cpu", "debug-fast")
"""Names that debug presets give to runs whose figures mean nothing."""
_LOOK = "see the composed configuration with --cfg job"
"""The way out of wrong values that say for themselves what they must be; anything else asked for says more."""


@dataclass(frozen=True)
class PathsConfig:
    """Where files live, relative to the working directory."""

    data: str = "data"
    artifacts: str = "artifacts"


@dataclass(frozen=True)
class RunConfig:
    """The composed configuration of one run; the sections are structured by the stages that read them.

    Attributes:
        name: experiment name; the first half of the run id.
        seeds: one pretraining and fine-tuning per seed.
        device: ``auto``, ``cpu`` or ``cuda``.
        processes: that fit models at once; None: as many as there are cores, where that saves time.
        force: stages to build again though their artifact exists; ``["all"]`` for every one.
        encoder_from: a named encoder (``moola encoders ls``), or the folder of one, to use in place of pretraining.
        paths: data and artifact folders.
        data, task, transform, augment, split, encoder, objective, trainer, model, evaluation, stage: sections, by
            config group.
        tracker: name of a tracker -> its keys; changes no result, so it is no part of the run id.
    """

    name: str
    data: dict[str, Any]
    task: dict[str, Any]
    transform: dict[str, Any]
    augment: dict[str, Any]
    split: dict[str, Any]
    encoder: dict[str, Any]
    objective: dict[str, Any]
    trainer: dict[str, Any]
    model: dict[str, Any]
    evaluation: dict[str, Any]
    stage: dict[str, Any]
    tracker: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int | None = None
    force: tuple[str, ...] = ()
    encoder_from: str | None = None
    paths: PathsConfig = field(default_factory=PathsConfig)

    def __post_init__(self) -> None:
        reject(
            (not self.seeds, "seeds: needs at least one"),
            (self.processes is not None and self.processes < 1, f"processes: {self.processes} must be at least 1"),
            (len(set(self.seeds)) < len(self.seeds), f"seeds: {list(self.seeds)} holds one twice"),
            (any(not 0 <= seed < 2**32 for seed in self.seeds), f"seeds: {list(self.seeds)} must lie in [0, 2**32)"),
            (
                not self.name.replace("-", "").replace("_", "").isalnum(),
                f"name: '{self.name}' must be letters, digits, - and _",
            ),
        )


def from_omegaconf(composed: Any, sections: Callable[[RunConfig], object] | None = None) -> RunConfig:
    """Check a composed Hydra configuration.

    Args:
        composed: of Hydra.
        sections: raises `ConfigError` where something inside the sections is wrong. Called only where something beside
            them is, with defaults in its place, so that a user hears of everything at once.

    Raises:
        ConfigError: missing values (``???``), unknown keys or wrong types, all in one go.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            raise ConfigError([f"{key}: has no value" for key in missing], "give each on the command line: KEY=VALUE")
        plain = typing.cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError([str(error).splitlines()[0]], "mend the ${...} it names") from error
    problems = ConfigProblems()
    config = problems.attempt(lambda: structure(RunConfig, plain, ""))
    if config is not None:
        return config
    if sections is not None and (rest := _without(plain, problems)) is not None:
        with contextlib.suppress(MoolaError):  # what is no problem of the configuration can wait
            problems.attempt(lambda: sections(rest))
    raise problems.error(_LOOK)


def meaningless_preset(name: str) -> str:
    """The debug preset behind an experiment's name, as it is chosen, whose figures mean nothing; "" for none."""
    return name.replace("-", "=", 1) if name in _MEANINGLESS else ""


def _without(plain: Mapping[str, Any], problems: Sequence[str]) -> RunConfig | None:
    """The configuration with defaults in place of keys that have problems; None where one of them has no default."""
    wrong = {re.split(r"[:.\[]", problem, maxsplit=1)[0] for problem in problems}
    right = {key: value for key, value in plain.items() if key not in wrong}
    try:
        return structure(RunConfig, {"name": "unnamed", **right}, "")
    except ConfigError:
        return None


def config_folder() -> Path:
    """The folder of the shipped Hydra configuration: in the wheel, or at the top of the repository."""
    package = Path(__file__).resolve().parent
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parents[1] / "configs"


def shipped_options(group: str) -> dict[str, dict[str, Any]]:
    """The shipped options of a group of the configuration, each as it is written: ``bilstm_8x1`` -> its section."""
    from omegaconf import OmegaConf

    files = sorted((config_folder() / group).glob("*.yaml"))
    return {path.stem: typing.cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(path))) for path in files}


def override(key: str, value: Any) -> str:
    """``KEY=VALUE`` as Hydra reads it; a shell may want quotes around it.

    >>> override("+transform.of", {"name": "relative", "window_bars": None})
    '+transform.of={name:relative,window_bars:null}'
    """
    return f"{key}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN_TEXT.fullmatch(value) and value.casefold() not in _NO_TEXT:
        return value
    # Not as JSON: in quotes Hydra reads \u00e9 as it stands, and a backslash as one unless quotes follow.
    return '"' + re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), value) + '"'


def reject(*rules: tuple[bool, str]) -> None:
    """Raise one `ConfigError` with the message of every rule whose condition is true."""
    problems = [message for broken, message in rules if broken]
    if problems:
        raise ConfigError(problems)


class ConfigProblems(list[str]):
    """Problems of a configuration, and the ways out of them, until all are known."""

    def __init__(self) -> None:
        super().__init__()
        self._ways_out: dict[str, None] = {}

    def take(self, error: ConfigError, prefix: str = "") -> None:
        """Those of an error, with the place where they were found in front."""
        self.extend(prefix + problem for problem in error.problems)
        if error.way_out:
            self._ways_out[error.way_out] = None

    def attempt(self, build: Callable[[], T]) -> T | None:
        """What `build` gives, or None where it has problems, which are taken."""
        try:
            return build()
        except ConfigError as error:
            self.take(error)
            return None

    def error(self, way_out: str = "") -> ConfigError:
        """All of them, each once; `way_out` is said where none of them brought one."""
        own = [known for known in self._ways_out if known != _LOOK] or list(self._ways_out)
        return ConfigError(dict.fromkeys(self), "; ".join(own) or way_out)


def build_all(*builders: Callable[[], Any]) -> list[Any]:
    """The results of all builders, in order.

    Raises:
        ConfigError: the problems of every builder that has some, with their ways out.
    """
    problems = ConfigProblems()
    results = [problems.attempt(build) for build in builders]
    if problems:
        raise problems.error()
    return results


def structure(cls: type[T], values: Mapping[str, Any], path: str) -> T:
    """Fill the dataclass `cls` from plain values.

    Args:
        cls: a dataclass; its annotations are the schema, its ``__post_init__`` the rules.
        values: plain dict, as from YAML.
        path: dotted place of `values` in the configuration, for messages.

    Raises:
        ConfigError: unknown keys (with near names), missing keys, wrong types, broken rules: all of them.
    """
    problems = ConfigProblems()
    built = _structure(cls, values, path, problems)
    if problems:
        raise problems.error(_LOOK)
    return typing.cast("T", built)


def _structure(cls: type[Any], values: Any, path: str, problems: ConfigProblems) -> Any:
    prefix = f"{path}." if path else ""
    if not isinstance(values, Mapping):
        problems.append(f"{path}: {values!r} must be a group of keys")
        return _INVALID
    hints = typing.get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls) if item.init}
    for key in values:
        if key not in fields:
            problems.append(f"{prefix}{key}: unknown key; {did_you_mean(str(key), fields)}")
    arguments: dict[str, Any] = {}
    for name, item in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], prefix + name, problems)
        elif _has_no_default(item):
            problems.append(f"{prefix}{name}: is missing")
            arguments[name] = _INVALID
    invalid = [name for name, value in arguments.items() if value is _INVALID]
    if any(_has_no_default(fields[name]) for name in invalid):
        return _INVALID
    try:  # defaults stand in for wrong values, so that broken rules about the others are told, too
        built = cls(**{name: value for name, value in arguments.items() if name not in invalid})
    except ConfigError as error:
        own = [problem for problem in error.problems if not set(re.findall(r"\w+", problem)).intersection(invalid)]
        problems.take(ConfigError(own, error.way_out), prefix)
        return _INVALID
    return _INVALID if invalid else built


def _has_no_default(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, path: str, problems: ConfigProblems) -> Any:
    """`value` as `hint` asks for it; on a mismatch one more problem and `_INVALID`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or getattr(hint, "_is_protocol", False):  # a component that its registry has built
        return value
    if isinstance(value, int) and hint is not float and not -(2**63) <= value < 2**63:
        problems.append(f"{path}: {value} does not fit into 64 bits")
        return _INVALID
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _structure(typing.cast("type[Any]", hint), value, path, problems)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, path, problems)
    if origin is Literal:
        if value in arguments:
            return value
        problems.append(f"{path}: {value!r} is not allowed; {did_you_mean(str(value), map(str, arguments))}")
        return _INVALID
    if origin in (tuple, list) and isinstance(value, Sequence) and not isinstance(value, str):
        return _convert_sequence(origin, arguments, value, path, problems)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        converted = {key: _convert(arguments[1], item, f"{path}.{key}", problems) for key, item in value.items()}
        return _INVALID if any(item is _INVALID for item in converted.values()) else converted
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{path}: {value} must be a finite number")
        return _INVALID
    if isinstance(hint, type) and isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    problems.append(f"{path}: {value!r} must be {_spoken(hint)}")
    return _INVALID


def _convert_union(options: tuple[Any, ...], value: Any, path: str, problems: ConfigProblems) -> Any:
    if value is None and type(None) in options:
        return None
    attempts: list[ConfigProblems] = []
    for option in (option for option in options if option is not type(None)):
        attempt = ConfigProblems()
        converted = _convert(option, value, path, attempt)
        if converted is not _INVALID:
            return converted
        attempts.append(attempt)
    if len(attempts) == 1:
        problems.take(attempts[0].error())
    else:
        problems.append(f"{path}: {value!r} must be {' or '.join(map(_spoken, options))}")
    return _INVALID


def _convert_sequence(
    kind: type, arguments: tuple[Any, ...], value: Sequence[Any], path: str, problems: ConfigProblems
) -> Any:
    uniform = kind is list or (len(arguments) == 2 and arguments[1] is Ellipsis)
    hints = [arguments[0]] * len(value) if uniform else list(arguments)
    if len(hints) != len(value):
        problems.append(f"{path}: {list(value)!r} must hold {len(hints)} values")
        return _INVALID
    items = [
        _convert(hint, item, f"{path}[{i}]", problems) for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    ]
    return _INVALID if any(item is _INVALID for item in items) else kind(items)


def _spoken(hint: Any) -> str:
    """A type as a person says it."""
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if hint in names:
        return names[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_spoken, arguments))
    if origin in (tuple, list):
        items = list(dict.fromkeys(_spoken(item) for item in arguments if item is not Ellipsis))
        return f"a list, each {' or '.join(items)}"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a group of keys"
    return str(hint).replace("typing.", "")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and plain value of everything in a configuration; a list counts as one value, and so does ``{}``."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def describe(value: Any) -> Any:
    """Plain JSON values of a component: dataclasses become their fields and the class they belong to.

    Two components that act differently describe themselves differently, so this is what cache keys are made of.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {item.name: describe(getattr(value, item.name)) for item in dataclasses.fields(value)}
        return {"class": f"{cls.__module__}:{cls.__qualname__}", **fields}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def digest_json(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`; equal values give equal digests on every machine."""
    canonical = json.dumps(describe(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
