"""One budget for all runs of a sweep, which several pods spend at once: what is held back for each, by the ledger.

Each pod has guards of its own, which work without a client. So the budget is divided before a point starts: no two
points are promised the same dollar, and together their guards never allow more than the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moola.pods.estimating import Estimate
from moola.pods.ledger import Ledger
from moola.pods.lending import pod_runs
from moola.pods.provider import LENT


@dataclass(frozen=True)
class SweepBudget:
    """What the runs of a sweep may cost together.

    Attributes:
        limit: US dollars; infinite where there is none.
        estimate: of one point that had no pod yet; None where nobody bills.
        runs: of all points of the sweep, also those that are finished.
        ledger: knows what each cost.
        sweep: its name, by which the runs are called that rent pods for it; empty: each point rents its own.
    """

    limit: float
    estimate: Estimate | None
    runs: Sequence[str]
    ledger: Ledger
    sweep: str = ""

    @property
    def of_one(self) -> float:
        """US dollars that a point takes."""
        return 0.0 if self.estimate is None else self.estimate.cost

    def spent(self) -> float:
        """US dollars that all of them cost so far."""
        return sum(map(self._cost, self._all_runs()))

    def free(self, working: Mapping[str, float]) -> float:
        """US dollars that nothing has spent and nobody was promised; `working` as of `share`."""
        return self.limit - sum(self._held(run, working) for run in self._all_runs())

    def share(self, run: str, working: Mapping[str, float], others: int) -> float | None:
        """What all pods of a point may cost, those that it had before included; None: it does not fit.

        A point whose pod is there keeps what that was promised.

        Args:
            run: of the point.
            working: run -> share, of the points that are under way here.
            others: points that could start besides it, each of which gets as much of what is free.
        """
        if math.isinf(self.limit):
            return self.limit
        if self._may_bill(run):
            return self._held(run, working)
        free = self.free(working)
        if free < self.of_one or free <= 0:
            return None
        return self._cost(run) + max(self.of_one, free / (1 + others))

    def is_open(self, run: str) -> bool:
        """Whether the run has a pod, or may have one."""
        return bool(self.ledger.pods(run, open_only=True) or self.ledger.open_intents(run))

    def _all_runs(self) -> list[str]:
        return [*self.runs, *(pod_runs(self.sweep, self.ledger) if self.sweep else ())]

    def _may_bill(self, run: str) -> bool:
        """As `is_open`, of what somebody bills: a point on a pod of its sweep costs nothing itself."""
        found = [*self.ledger.pods(run, open_only=True), *self.ledger.open_intents(run)]
        return any(one.provider != LENT for one in found)

    def _held(self, run: str, working: Mapping[str, float]) -> float:
        """What a run has cost, or may yet cost by what it was promised."""
        cost = self._cost(run)
        if run in working:
            return max(cost, working[run])
        if self._may_bill(run):
            return max(cost, self.ledger.budget(run) or cost + self.of_one)
        return cost

    def _cost(self, run: str) -> float:
        return sum(pod.cost for pod in self.ledger.pods(run))
