"""What a run will cost at least, held against its budget before a pod exists."""

from __future__ import annotations

from moola.errors import ConfigError
from moola.pods.running import PodRun

SET_UP_H = 0.2
"""Hours from the first billed second to the first step: image, boot, packages, smoke run."""


def check_budget(run: PodRun) -> None:
    """Tell the estimate, and refuse a budget below it; a run that has a pod goes on there, and its guards count.

    Raises:
        ConfigError: the budget does not cover it; the sum is shown.
        NoCapacityError: nothing is offered.
    """
    if run.ledger.pods(run.run, open_only=True):
        return
    offers = run.provider.offers(run.settings.wish)
    price = offers[0].price_per_h
    if not price:
        return
    hours, budget = run.settings.expected_hours, run.settings.guards.budget
    spent = run.observed().spent
    estimate = spent + (SET_UP_H + hours) * price
    earlier = f"{spent:.2f} spent + " if spent else ""
    words = f"{earlier}({SET_UP_H:g} h set-up + {hours:g} h) x ${price:.2f}/h = ${estimate:.2f}"
    run.tell(f"estimate: {words} on {offers[0]}")
    if budget is not None and budget < estimate:
        raise ConfigError(
            [f"pod.guards.budget: ${budget:.2f} is below the estimate: {words}"],
            "raise --budget, lower --max-price, or tell how long the run takes with pod.expected_hours=H",
        )
