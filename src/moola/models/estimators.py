"""Fitted scikit-learn estimators in skops files: numbers and names of classes, of which only those listed here load.

A pickle can run anything when it is loaded. skops builds named classes from a description, and would take every
estimator of scikit-learn; this takes those that moola fits.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moola.layout import write_bytes
from moola.models.arrays import unreadable

TRUSTED = frozenset(
    {
        "builtins.dict",
        "builtins.list",
        "builtins.str",
        "builtins.tuple",
        "numpy.float32",
        "numpy.float64",
        "numpy.int64",
        "numpy.ndarray",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._tree.Tree",
    }
)
"""Every class that may be in such a file."""


def save_estimator(path: Path, estimator: Any) -> None:
    """Write a fitted estimator, whole or not at all.

    Raises:
        ValueError: it holds a class that is not `TRUSTED`, so nobody could load it.
    """
    import skops.io

    content = skops.io.dumps(estimator)
    foreign = _classes(content) - TRUSTED
    if foreign:
        raise ValueError(f"{', '.join(sorted(foreign))}: add to TRUSTED what is safe to load")
    write_bytes(path, content)


def load_estimator(path: Path) -> Any:
    """Read what `save_estimator` wrote.

    Raises:
        StorageError: the file is missing or damaged, or holds a class that is not `TRUSTED`.
    """
    import skops.io

    try:
        content = path.read_bytes()
        foreign = _classes(content) - TRUSTED
        if foreign:
            raise unreadable(path, f"it would load {', '.join(sorted(foreign))}, which moola never writes")
        estimator = skops.io.loads(content, trusted=["sklearn.tree._tree.Tree"])
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise unreadable(path, str(error) or type(error).__name__) from error
    if any(not _is_sound(tree.tree_, tree.n_features_in_) for tree in getattr(estimator, "estimators_", ())):
        raise unreadable(path, "a tree points outside itself")
    return estimator


def _classes(content: bytes) -> set[str]:
    """Names of all classes that a skops file would load."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
    return {f"{node['__module__']}.{node['__class__']}" for node in _nodes(schema)}


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "__module__" in value:
            yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _is_sound(tree: Any, n_features: int) -> bool:
    """Children come after their parent inside the tree, and splits name features there are: nothing checks it later."""
    parents = np.flatnonzero(tree.children_left != -1)
    children = np.stack([tree.children_left[parents], tree.children_right[parents]])
    inside = (children > parents) & (children < tree.node_count)
    features = tree.feature[parents]
    return bool(inside.all() and ((features >= 0) & (features < n_features)).all())
