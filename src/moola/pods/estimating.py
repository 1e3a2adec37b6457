"""What a run will cost at least, held against its deadline and budget before a pod exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moola.errors import ConfigError
from moola.pods.provider import Offer, PodError
from moola.pods.providers import find_key, open_api
from moola.pods.running import PodRun
from moola.pods.settings import PodSettings

SET_UP_H = 0.2
"""Hours from the first billed second to the first step: image, boot, packages, smoke run."""


@dataclass(frozen=True)
class Estimate:
    """What a run costs on the first offer.

    Attributes:
        offer: that one.
        hours: from the first billed second of the next pod to its end.
        spent: US dollars that earlier pods of the run cost.
        billed_h: hours since the first pod of the run began to bill.
    """

    offer: Offer
    hours: float
    spent: float = 0.0
    billed_h: float = 0.0

    @property
    def cost(self) -> float:
        """US dollars, earlier pods included."""
        return self.spent + self.hours * self.offer.price_per_h

    @property
    def sum(self) -> str:
        """How the cost comes about."""
        earlier = f"{self.spent:.2f} spent + " if self.spent else ""
        parts = f"({SET_UP_H:g} h set-up + {self.hours - SET_UP_H:g} h)"
        return f"{earlier}{parts} x ${self.offer.price_per_h:.2f}/h = ${self.cost:.2f}"

    @property
    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"usd": round(self.cost, 4), "hours": self.hours, "spent_usd": self.spent, "offer": asdict(self.offer)}

    def __str__(self) -> str:
        return f"estimate: {self.sum} on {self.offer}"


def estimate_of(settings: PodSettings, offers: Sequence[Offer]) -> Estimate | None:
    """What a run of these settings costs on the first offer; None where nobody bills."""
    return Estimate(offers[0], SET_UP_H + settings.expected_hours) if offers[0].price_per_h else None


def estimate_now(settings: PodSettings) -> tuple[Estimate | None, str]:
    """The estimate by what is offered now, and a line: it, why there is none, or how to get one. Nothing is written.

    Raises:
        ConfigError: a GPU or data centre is unknown; near names are shown.
    """
    if settings.provider != "runpod":
        return None, f"estimate: nothing bills with --provider {settings.provider}"
    if not find_key()[0]:
        return None, "estimate: offers need a RunPod key, export RUNPOD_API_KEY=... (`moola pod doctor`)"
    from moola.pods.runpod_provider import offers_of

    try:
        with open_api() as api:
            estimate = estimate_of(settings, offers_of(api, settings.wish))
    except PodError as error:
        return None, f"estimate: {error.what}; `moola pod offers` shows what there is"
    return estimate, "estimate: nothing bills" if estimate is None else str(estimate)


def check_budget(run: PodRun) -> Estimate | None:
    """Tell the estimate, and refuse a budget or a deadline below it; a run that has a pod goes on there.

    Returns:
        The estimate; None where nobody bills, or where the run has a pod or may have one, whose guards count.

    Raises:
        ConfigError: budget or deadline do not cover it; the sums are shown.
        NoCapacityError: nothing is offered.
    """
    if run.ledger.pods(run.run, open_only=True) or run.ledger.open_intents(run.run):
        return None  # one that was asked for may bill by now: refusing would leave it
    first = estimate_of(run.settings, run.provider.offers(run.settings.wish))
    if first is None:
        return None
    observed, guards = run.observed(), run.settings.guards
    estimate = Estimate(first.offer, first.hours, observed.spent, observed.billed_s / 3600)
    run.tell(str(estimate))
    problems: list[str] = []
    if guards.budget is not None and guards.budget < estimate.cost:
        problems.append(
            f"pod.guards.budget: ${guards.budget:.2f} is below the estimate: {estimate.sum}; raise --budget"
        )
    hours = estimate.billed_h + estimate.hours
    if guards.max_hours is not None and guards.max_hours < hours:
        earlier = f"{estimate.billed_h:.2g} h before + " if estimate.billed_h else ""
        total = f"{earlier}{SET_UP_H:g} h set-up + {run.settings.expected_hours:g} h = {hours:.3g} h"
        problems.append(
            f"pod.guards.max_hours: {guards.max_hours:g} h are below the estimate: {total}; raise --max-hours"
        )
    if problems:
        raise ConfigError(problems, "or tell how long the run takes (pod.expected_hours=H), or lower --max-price")
    return estimate
