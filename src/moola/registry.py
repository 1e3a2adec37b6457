"""Named components: built in by a table, added by decorator or by another package's entry point."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from moola.config import structure
from moola.errors import ConfigError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of component, each a dataclass whose fields are its configuration.

    Nothing is imported before it is asked for, so a registry costs nothing at import.

    Args:
        kind: what the components are, singular, for messages (``"encoder"``).
        built_in: name -> ``"module:attribute"``.
        group: entry-point group in which other packages announce theirs; default ``moola.<kind>s``.
    """

    def __init__(self, kind: str, built_in: Mapping[str, str], group: str | None = None) -> None:
        self.kind = kind
        self.group = group or f"moola.{kind}s"
        self._references = dict(built_in)
        self._registered: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that adds a component under `name`.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._references or name in self._registered:
            raise ValueError(f"there is already a {self.kind} named '{name}'")

        def add(cls: type[T]) -> type[T]:
            self._registered[name] = cls
            return cls

        return add

    @property
    def built_in(self) -> frozenset[str]:
        """Names that moola itself brings."""
        return frozenset(self._references)

    def names(self) -> list[str]:
        """Every known name, sorted."""
        return sorted({*self._references, *self._registered, *self._announced})

    def get(self, name: str) -> type[T]:
        """The class behind a name.

        Raises:
            ConfigError: unknown name (near names are given), two packages announce the same one, or the package that
                announces it cannot be imported.
        """
        announced = self._announced
        if name in announced and (name in self._references or name in self._registered):
            raise ConfigError(
                [f"package '{_package(announced[name])}' announces a {self.kind} named '{name}', which is taken"],
                "rename it in the package's entry points",
            )
        if name in self._registered:
            return self._registered[name]
        if name in self._references:
            module, _, attribute = self._references[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name in announced:
            return self._loaded(announced[name])
        raise ConfigError([f"there is no {self.kind} named '{name}'; {did_you_mean(name, self.names())}"])

    def name_of(self, component: object) -> str | None:
        """The name that a component's class is registered under; None where it has none."""
        cls = type(component)
        place = f"{cls.__module__}:{cls.__qualname__}"
        known = [name for name, reference in self._references.items() if reference == place]
        others = (name for name in self.names() if name not in self._references and self._leads_to(name, cls))
        return known[0] if known else next(others, None)

    def section_of(
        self, component: object, key: str = "name", parts: Sequence[Registry[Any]] | None = None
    ) -> dict[str, Any]:
        """A component as `build_section` takes it: its name under `key` and its fields, as JSON values.

        Args:
            component: a dataclass of this registry.
            key: of its name.
            parts: registries of components inside it, which become sections with a ``name``; default this one. Other
                dataclasses become their fields.

        Raises:
            ConfigError: its class is not in the registry, so nobody could build it again.
        """
        name = self.name_of(component)
        if name is None:
            raise ConfigError(
                [f"the {self.kind} {type(component).__name__} has no name, so it cannot be kept"],
                f"register its class, or announce it as an entry point of the group {self.group}",
            )
        return {key: name, **_fields(component, (self,) if parts is None else parts)}

    def build(self, name: str, params: Mapping[str, Any], path: str) -> T:
        """Build a component from its configuration values.

        Raises:
            ConfigError: unknown name or wrong parameters, all in one go; `path` says where they stand.
        """
        try:
            cls = self.get(name)
        except ConfigError as error:
            raise ConfigError([f"{path}: {problem}" for problem in error.problems], error.way_out) from error
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            told = (
                f"the {self.kind} '{name}' cannot be configured: {getattr(cls, '__name__', repr(cls))} is no dataclass"
            )
            raise ConfigError(
                [f"{path}: {told}"], "its fields are its configuration: decorate the class with @dataclass(frozen=True)"
            )
        return structure(cls, params, path)

    def build_section(self, section: Mapping[str, Any], path: str, key: str = "name") -> T:
        """Build a component from a section whose `key` is the name and whose rest are the parameters.

        Raises:
            ConfigError: as `build`, or the name is missing.
        """
        if not isinstance(section, Mapping):
            raise ConfigError([f"{path}: {section!r} must be a group of keys, {key} among them"])
        if not isinstance(section.get(key), str):
            raise ConfigError([f"{path}.{key}: names the {self.kind} and is missing; known: {', '.join(self.names())}"])
        return self.build(section[key], {k: v for k, v in section.items() if k != key}, path)

    def _leads_to(self, name: str, cls: type) -> bool:
        """Whether a name stands for this class; one that leads nowhere does not."""
        try:
            return self.get(name) is cls
        except ConfigError:
            return False

    def _loaded(self, entry: EntryPoint) -> Any:
        """What another package announces."""
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                [f"the {self.kind} '{entry.name}' of package '{_package(entry)}' cannot be imported: {error}"],
                f"mend the package's entry point '{entry.name} = {entry.value}' ({self.group}) and install it anew",
            ) from error

    @functools.cached_property
    def _announced(self) -> Mapping[str, EntryPoint]:
        """Name -> what other packages announce; asked once, for it reads the records of every installed package."""
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            if entry.name in found and found[entry.name].value != entry.value:
                raise ConfigError(
                    [
                        f"packages '{_package(found[entry.name])}' and '{_package(entry)}' both announce "
                        f"a {self.kind} named '{entry.name}'"
                    ],
                    "uninstall one of them",
                )
            found[entry.name] = entry
        return found


def _fields(component: Any, parts: Sequence[Registry[Any]]) -> dict[str, Any]:
    return {item.name: _plain(getattr(component, item.name), parts) for item in dataclasses.fields(component)}


def _plain(value: Any, parts: Sequence[Registry[Any]]) -> Any:
    if dataclasses.is_dataclass(value):
        name = next((name for registry in parts if (name := registry.name_of(value))), None)
        return _fields(value, parts) if name is None else {"name": name, **_fields(value, parts)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, parts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, parts) for item in value]
    return str(value) if isinstance(value, Path) else value


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
