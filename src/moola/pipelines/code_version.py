"""Which code a stage depends on: a digest over the source files that its imports reach."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def code_version(stage: Any) -> str:
    """Digest of a stage's own source, its components' and everything of their packages that they import.

    Imports inside functions count; other packages do not (their versions stand in the manifest). So a change of the
    report leaves a pretrained encoder valid, and a change of the loop does not.
    """
    return _digest(tuple(sorted(_modules_of(stage))))


@functools.cache
def _digest(modules: tuple[str, ...]) -> str:
    packages = {module.partition(".")[0] for module in modules}
    total = hashlib.sha256()
    for module in sorted(_closure(modules, packages | {"moola"})):
        path = _source(module)
        if path is not None:
            total.update(f"{module}\0".encode())
            total.update(_meaning(path))
            for beside in sorted(path.parent.glob(f"{path.stem}.*")):
                if beside.suffix != ".py":  # a template or table that the module reads
                    total.update(beside.read_bytes())
    return total.hexdigest()


def _modules_of(value: Any) -> set[str]:
    """Modules of a dataclass and of the dataclasses in its fields."""
    if isinstance(value, dict):
        return set().union(*(_modules_of(item) for item in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_modules_of(item) for item in value))
    if not dataclasses.is_dataclass(value):
        return set()
    fields = (getattr(value, item.name) for item in dataclasses.fields(value))
    return {type(value).__module__}.union(*(_modules_of(item) for item in fields))


def _closure(modules: Iterable[str], packages: set[str]) -> set[str]:
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in reached or module.partition(".")[0] not in packages:
            continue
        path = _source(module)
        if path is None:
            continue
        reached.add(module)
        parents = module.split(".")
        waiting += [".".join(parents[:depth]) for depth in range(1, len(parents))]
        waiting += _imports(path, module)
    return reached


@functools.cache
def _imports(path: Path, module: str) -> tuple[str, ...]:
    """Absolute names that a module's file imports; of ``from a import b`` both ``a`` and ``a.b``, perhaps a module."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            names += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _origin(node: ast.ImportFrom, package: str) -> str:
    """What stands after ``from``, made absolute where it starts with dots."""
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    above = parents[: len(parents) - (node.level - 1)]
    return ".".join([*above, node.module] if node.module else above)


@functools.cache
def _meaning(path: Path) -> bytes:
    """A file's syntax tree, so that comments and formatting invalidate nothing."""
    return ast.dump(ast.parse(path.read_text())).encode()


@functools.cache
def _source(module: str) -> Path | None:
    """The file of a module, found without importing it: `find_spec` of a dotted name imports what is above it."""
    top, _, rest = module.partition(".")
    try:
        found = importlib.util.find_spec(top)
    except ValueError:  # a script's __main__
        return None
    if found is None or found.origin is None:
        return None
    if not rest:
        return Path(found.origin) if found.origin.endswith(".py") else None
    for folder in found.submodule_search_locations or ():
        place = Path(folder, *rest.split("."))
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                return file
    return None
