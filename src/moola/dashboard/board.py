"""What all pages of the dashboard share: the index of runs, the logs that are followed, the templates."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from moola.dashboard.live_run import LiveRun
from moola.dashboard.run_folder import RunEntry
from moola.dashboard.run_index import INDEX_PLACE, RunIndex
from moola.dashboard.run_listing import IN_UTC, cell, shortened
from moola.drawing.numbers import duration, figure
from moola.errors import DataError, did_you_mean
from moola.pipelines.scores import CHOICE

MOST_CURVES = 12
"""Runs on the same axes."""
_MOST_LOGS = 128
_LOOK_S = 0.5
_SHARE = 0.05
"""Of the time that looking for new runs may take, however many there are."""


class Board:
    """Runs of an artifacts folder and what is known of them; to be used from one thread.

    Args:
        artifacts: the folder.
    """

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts
        self.results = artifacts / "results"
        self.index = RunIndex(self.results, artifacts / INDEX_PLACE)
        self._logs: OrderedDict[str, LiveRun] = OrderedDict()
        self._look_at = 0.0
        self._templates = jinja2.Environment(
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=jinja2.PackageLoader("moola.dashboard", "pages"),
        )
        self._templates.filters |= {"figure": figure, "duration": duration, "shortened": shortened}
        self._templates.globals |= {"cell": cell, "choice": CHOICE, "in_utc": IN_UTC, "most_curves": MOST_CURVES}

    def look(self) -> None:
        """Find what is new among the runs, unless that was done a moment ago."""
        began = time.monotonic()
        if began < self._look_at:
            return
        self.index.refresh()
        ended = time.monotonic()
        self._look_at = ended + max(_LOOK_S, (ended - began) / _SHARE)

    def entry(self, name: str) -> RunEntry:
        """The run of a folder.

        Raises:
            DataError: there is none; near names are given.
        """
        self.look()
        found = self.index.entries.get(name)
        if found is None:
            raise DataError(f"there is no run '{name}'", did_you_mean(name, self.index.entries), "see the list of runs")
        return found

    def log(self, name: str) -> LiveRun:
        """What the log of a run tells up to now."""
        live = self._logs.pop(name, None) or LiveRun(self.results / name)
        self._logs[name] = live
        while len(self._logs) > _MOST_LOGS:
            self._logs.popitem(last=False)
        live.follow()
        return live

    def logs(self, names: Iterable[str]) -> dict[str, LiveRun]:
        """The same of several."""
        return {name: self.log(name) for name in names}

    def render(self, template: str, **values: Any) -> str:
        """A template of the dashboard, filled."""
        return self._templates.get_template(template).render(**values)
