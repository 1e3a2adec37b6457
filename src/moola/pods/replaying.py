"""A run done once more from the very bundle that was packed for it, and its figures held against those recorded.

The bundle names every byte by its digest: code, data, configuration, pins. If the same comes of it again, the recorded
figures can be traced to it. The replay has an id of its own (``RUN-replay``) and a folder of its own, so that nothing
of the run that was done is touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.errors import ConfigError, DataError, StorageError
from moola.layout import Layout, digest_file, read_json
from moola.pipelines.rented import read_rented
from moola.pods.resuming import open_run, read_order
from moola.pods.running import PodRun
from moola.pods.settings import load_settings

FIGURES = "metrics.json"


@dataclass(frozen=True)
class Difference:
    """One figure that came out otherwise.

    Attributes:
        figure: its place in the file, e.g. ``models.logistic.accuracy``.
        recorded: as it was; None where there was none.
        replayed: as it is now; None where there is none.
        relative: |difference| by the larger of the two; infinite where they are not both numbers.
    """

    figure: str
    recorded: Any
    replayed: Any
    relative: float


@dataclass(frozen=True)
class Comparison:
    """Recorded figures beside replayed ones.

    Attributes:
        recorded_sha256: of the file with the recorded figures.
        replayed_sha256: of the other.
        n_figures: in either.
        differences: the largest first.
    """

    recorded_sha256: str
    replayed_sha256: str
    n_figures: int
    differences: tuple[Difference, ...]

    def within(self, tolerance: float) -> bool:
        """Whether no figure differs by more than this, relatively."""
        return all(one.relative <= tolerance for one in self.differences)


def open_replay(
    run: str,
    layout: Layout,
    words: Sequence[str],
    flags: Mapping[str, Any],
    *,
    tell: Callable[[str], None],
    show: Callable[[Mapping[str, Any]], None],
) -> tuple[PodRun, Path]:
    """The replay of a run, and the folder with what is recorded of it.

    Args:
        run: its id.
        layout: of the project here.
        words, flags: what is other about the pod, see `load_settings`.
        tell: is told what happens.
        show: is given each line of the log.

    Raises:
        DataError: the run was never ordered here, or has left no figures.
        StorageError: its bundle is not here any more.
        ConfigError: what is said of the pod makes no sense.
    """
    bundle, before = read_order(run, layout)
    recorded = _recorded(bundle.bundle_id, run, layout)
    settings = load_settings(words, flags, before)
    return open_run(bundle, settings, layout, tell=tell, show=show, replays=True), recorded


def compare_figures(recorded: Path, replayed: Path) -> Comparison:
    """Hold the figures of two run folders against each other."""
    then, now = (dict(_leaves(read_json(folder / FIGURES), "")) for folder in (recorded, replayed))
    names = list({**then, **now})
    found = [
        Difference(name, then.get(name), now.get(name), _relative(then.get(name), now.get(name)))
        for name in names
        if not _same(then.get(name), now.get(name))
    ]
    found.sort(key=lambda one: -one.relative)
    digests = [digest_file(folder / FIGURES) for folder in (recorded, replayed)]
    return Comparison(digests[0], digests[1], len(names), tuple(found))


def _recorded(bundle_id: str, run: str, layout: Layout) -> Path:
    for manifest in sorted(layout.results.glob("*/manifest.json")):
        try:
            rented = read_rented(manifest.parent)
        except (StorageError, ConfigError):
            continue
        if rented and rented.bundle == bundle_id and (manifest.parent / FIGURES).is_file():
            return manifest.parent
    what = f"nothing is recorded of {run} that a replay could be held against"
    raise DataError(
        what, f"no run in {layout.results} is of its bundle {bundle_id}", f"finish it: moola pod resume {run}"
    )


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))


def _same(then: Any, now: Any) -> bool:
    both_nan = isinstance(then, float) and isinstance(now, float) and math.isnan(then) and math.isnan(now)
    return then == now or both_nan


def _relative(then: Any, now: Any) -> float:
    numbers = [value for value in (then, now) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return math.inf
    return abs(then - now) / max(abs(then), abs(now))
