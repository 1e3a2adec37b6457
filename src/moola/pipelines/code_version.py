"""Which code a stage depends on: a digest over the source files that its imports reach."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from moola.errors import ConfigError

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "xgboost": "xgboost-cpu", "yaml": "pyyaml"}
"""Modules whose package has another name."""
_COMPUTES_WITH = {"aeon": "numba", "sklearn": "scipy"}
"""Modules whose figures are made by another one, which moola itself may not import."""
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_version(stage: Any) -> str:
    """Digest of a stage's own source, its components' and everything of their packages that they import.

    Imports inside functions count. Other packages count with their version, where the code reached imports them. So a
    change of the report leaves a pretrained encoder valid, and a change of the loop or another torch does not.

    Raises:
        ConfigError: a component was defined where its source cannot be read, as in an interpreter.
    """
    return _digest(tuple(sorted(_modules_of(stage))))


@functools.cache
def _digest(modules: tuple[str, ...]) -> str:
    unread = [module for module in modules if _source(module) is None]
    if unread:
        raise ConfigError(
            [f"the source of {module} cannot be read, so a change of it could not be noticed" for module in unread],
            "put the component into a module file",
        )
    packages = {module.partition(".")[0] for module in modules} | {"moola"}
    reached = _closure(modules, packages)
    total = hashlib.sha256()
    for module, path in sorted(reached.items()):
        total.update(f"{module}\0".encode())
        total.update(_parsed(path)[0])
        for beside in sorted(path.parent.glob(f"{path.stem}.*")):
            if beside.suffix != ".py":  # a template or table that the module reads
                total.update(beside.read_bytes())
    imported = {name.partition(".")[0] for module, path in reached.items() for name in _imports(path, module)}
    imported |= {beneath for name, beneath in _COMPUTES_WITH.items() if name in imported}
    for name in sorted(imported - packages - sys.stdlib_module_names):
        total.update(f"{name}={_version(name)}\0".encode())
    return total.hexdigest()


@functools.cache
def _version(module: str) -> str:
    """Version of the package that a module comes from; empty where it is not installed."""
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return ""


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


def _closure(modules: Iterable[str], packages: set[str]) -> dict[str, Path]:
    """Every module of `packages` that `modules` import, directly or not, with its file."""
    reached: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in reached or module.partition(".")[0] not in packages:
            continue
        path = _source(module)
        if path is None:
            continue
        reached[module] = path
        parents = module.split(".")
        waiting += [".".join(parents[:depth]) for depth in range(1, len(parents))]
        waiting += _imports(path, module)
    return reached


@functools.cache
def _imports(path: Path, module: str) -> tuple[str, ...]:
    """Absolute names that a module's file imports; of ``from a import b`` both ``a`` and ``a.b``, perhaps a module."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in _parsed(path)[1]:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        else:
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
def _parsed(path: Path) -> tuple[bytes, tuple[ast.Import | ast.ImportFrom, ...]]:
    """A file's meaning and its imports.

    The meaning is its syntax tree without docstrings, so that comments, formatting and words invalidate nothing.
    """
    tree = ast.parse(path.read_text())
    imports: list[ast.Import | ast.ImportFrom] = []
    for node in _statements(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(node)
        elif isinstance(node, _DOCUMENTED) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree).encode(), tuple(imports)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement, however deep: a fifth of the nodes, and neither imports nor docstrings are among the others."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "handlers", "finalbody", "cases"):
            waiting += getattr(node, part, ())


@functools.cache
def _source(module: str) -> Path | None:
    """The file of a module, found without importing it: `find_spec` of a dotted name imports what is above it."""
    top, _, rest = module.partition(".")
    if top == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        return Path(file) if file else None
    found = importlib.util.find_spec(top)
    if found is None:
        return None
    if not rest:
        return Path(found.origin) if found.origin and found.origin.endswith(".py") else None
    for folder in found.submodule_search_locations or ():
        place = Path(folder, *rest.split("."))
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                return file
    return None
