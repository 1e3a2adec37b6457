"""Whether decisions that come from outside fit the windows of a run: names, classes, marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from moola.data.sources.problems import Problems, refuse
from moola.errors import did_you_mean
from moola.labels.blacklist import is_of_other_data
from moola.labels.events import LabelEvent
from moola.labels.folding import in_effect

_NEAR = 10_000
"""Names of windows among which a near one is looked for."""


@dataclass(frozen=True)
class RunWindows:
    """What decisions about a run may speak of.

    Attributes:
        window_ids: names of its windows, String [n_windows].
        series: names of its series.
        classes: labels there may be; none: any.
        zone: first and past-the-end bar that marks may name.
    """

    window_ids: pl.Series
    series: Sequence[str]
    classes: Sequence[str]
    zone: tuple[int, int]

    def check(self, what: str, events: Iterable[LabelEvent], *, shared: bool = False) -> None:
        """Refuse decisions that cannot be about this run; those that were taken back are not looked at.

        A blacklisting may name a window that is not there: it stands for its span of time.

        Args:
            what: where they come from, as the error begins.
            events: the decisions.
            shared: whether they come from a log, which may hold decisions of other data, too.

        Raises:
            DataError: windows that do not exist, labels that are no class, marks outside the zone; all in one go.
        """
        problems = Problems()
        told = [event for event in in_effect(events) if event.decision != "undo"]
        if shared:
            told = [event for event in told if not is_of_other_data(event.series, event.window_id, self.series)]
        self._tell_windows([event.window_id for event in told if event.decision != "blacklist"], problems)
        for event in told:
            label = event.verdict
            if label is not None and self.classes and label not in self.classes:
                way_out = f"mend them, or name new classes: --classes {label}"
                near = did_you_mean(label, self.classes)
                problems.count("labels that are no class", f"{event.window_id}: '{label}'; {near}", way_out)
            first, past = self.zone
            if event.start is not None and event.end is not None and not first <= event.start < event.end < past:
                kind, place = f"marks outside the zone [{first}, {past - 1}]", f"{event.start} to {event.end}"
                problems.count(kind, f"{event.window_id}: {place}", "count bars within the window")
        refuse(what, problems)

    def _tell_windows(self, named: Sequence[str], problems: Problems) -> None:
        names = pl.Series(list(dict.fromkeys(named)), dtype=pl.String)
        unknown = names.filter(~names.is_in(self.window_ids.implode())).to_list()
        near = did_you_mean(unknown[0], self.window_ids.head(_NEAR).to_list()) if len(unknown) == 1 else ""
        for name in unknown:
            told = f"{name}{f'; {near}' if near.startswith('did') else ''}"
            problems.count("windows that do not exist", told, "name the run that they are of with --run RUN")
