"""What the machine of a run was rented for: ``pod.json`` in the run folder, which the manifest beside it does not list.

Whoever rents writes it: before the job starts, so that the report can tell what was spent until its page was made, and
again when the run is back and its pods have ended.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.config import structure
from moola.drawing.numbers import duration
from moola.layout import read_json, write_json
from moola.tracking.journal import Journal, read_calls

POD_FILE = "pod.json"


@dataclass(frozen=True)
class Rented:
    """Machines of a run and their cost, all of the run's pods together.

    Attributes:
        provider: who lends.
        pod: the lender's id of the last one.
        gpu: its type; empty: what the host has.
        place: data centre or host.
        price_per_h: US dollars, of the last one.
        pods: how many there were.
        seconds: that they were there, up to `at`.
        cost_usd: of that time: the bill where there was one, else prices times hours.
        at: seconds since 1970, by the clock of the machine that the file is for.
        under_way: the run goes on, so the time since `at` counts, too.
        bundle: id of what was sent.
        git: commit and changes that the bundle was made from; None: it was no repository.
    """

    provider: str
    pod: str
    gpu: str
    place: str
    price_per_h: float
    pods: int
    seconds: float
    cost_usd: float
    at: float
    under_way: bool
    bundle: str
    git: dict[str, Any] | None = None

    def until(self, now: float) -> Rented:
        """The same with what came since, where the run is under way.

        Args:
            now: seconds since 1970.
        """
        more_s = max(now - self.at, 0.0) if self.under_way else 0.0
        cost = self.cost_usd + more_s / 3600 * self.price_per_h
        return dataclasses.replace(self, seconds=self.seconds + more_s, cost_usd=cost, at=now)

    def spoken(self) -> str:
        """In words, for people."""
        who = f"{self.provider}, {', '.join(filter(None, (self.gpu, self.place)))}".rstrip(", ")
        pods = "" if self.pods == 1 else f" on {self.pods} pods together"
        if not self.price_per_h and not self.cost_usd:
            return f"{who}: {duration(self.seconds)}{pods}, which nobody bills by the hour"
        until = " until this page was made" if self.under_way else ""
        return (
            f"{who}: ${self.cost_usd:.2f} for {duration(self.seconds)}{pods}{until}, at ${self.price_per_h:.2f} an hour"
        )


def read_rented(folder: Path) -> Rented | None:
    """What the machine of a run was rented for; None where nobody rented one.

    Args:
        folder: of the run.

    Raises:
        ConfigError: the file is not what moola writes.
    """
    path = folder / POD_FILE
    return structure(Rented, read_json(path), str(path)) if path.exists() else None


def rent_figures(folder: Path) -> dict[str, float]:
    """Cost (US dollars), hours and number of a run's pods, for trackers; empty where nobody rented one.

    Args:
        folder: of the run.

    Raises:
        ConfigError: the file is not what moola writes.
    """
    rented = read_rented(folder)
    if rented is None:
        return {}
    return {"pod/cost_usd": rented.cost_usd, "pod/hours": rented.seconds / 3600, "pod/pods": rented.pods}


def journal_rent(folder: Path) -> None:
    """Add what the pods of a run cost, which no pod knows: its journal goes on where it ended, and ends as it did.

    Nothing is added where nothing was rented, or where the latest figures are told already.

    Args:
        folder: of the run.

    Raises:
        ConfigError: ``pod.json`` is not what moola writes.
        OSError: the journal cannot be written.
    """
    figures, calls = rent_figures(folder), list(read_calls(folder))
    start = next((call for call in reversed(calls) if call.method == "start"), None)
    summaries = (call.arguments["figures"] for call in reversed(calls) if call.method == "log_summary")
    told = next((known for known in summaries if "pod/cost_usd" in known), {})
    if start is None or figures.items() <= told.items():
        return
    status = next((call.arguments["status"] for call in reversed(calls) if call.method == "finish"), "interrupted")
    journal = Journal(folder)
    try:
        journal.append("start", run=start.run(folder))  # trackers let go of a run at its end
        journal.append("log_summary", figures=figures)
        journal.append("finish", status=status)
    finally:
        journal.close()


def write_rented(folder: Path, rented: Rented) -> None:
    """Write it beside the manifest of the run in `folder`."""
    write_json(folder / POD_FILE, dataclasses.asdict(rented))
