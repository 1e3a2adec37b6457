"""A sweep on pods: several of its points at once, each a run as `moola pod run` makes it, under one budget.

Nothing is remembered in this process. What runs where is in the ledger, so after a kill the same sweep first goes on
with the points that have a pod, and no point gets two.
"""

from __future__ import annotations

import contextlib
import math
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moola.errors import EXIT_POD, MoolaError
from moola.pipelines.held_signals import HeldSignals, held
from moola.pipelines.sweep_record import Point, PointState, told_points, write_state
from moola.pods.lending import CALLED_OFF, borrowing
from moola.pods.settings import PodSettings
from moola.pods.ssh_provider import place_of_host
from moola.sweeps.launching import LeftPointError
from moola.sweeps.pod_budget import SweepBudget
from moola.sweeps.pod_point import NoPlaceError, OpenRun, PodPoint, PointEnd
from moola.sweeps.rented_pods import RentedPods

OrderRun = Callable[[Point, PodSettings], OpenRun]
"""Packs a point; what opens its run, with these settings."""

_LOOK_S = 0.5


class SweepStoppedError(LeftPointError):
    """A point was not begun: no machine is left for it, or no budget."""

    exit_code = EXIT_POD


@dataclass
class PodSweep:
    """The points of a sweep that are to be run on pods.

    Attributes:
        points: those that are missing, in order.
        folder: of the sweep.
        log_of: a point's number -> the file that takes what it says.
        settings: of every pod; `jobs_per_pod` and lost hosts change its list of hosts.
        budget: of the whole sweep.
        order: packs a point.
        pods: at once; None: every host that is named, or one rented pod.
        jobs_per_pod: points at a time on a host or a rented pod.
        point_retries: further pods of a point, where one fails it.
        tell: is told what concerns more than one point.
        rented: pods that the sweep rents and lends to its points; None: each point finds its own.
    """

    points: Sequence[Point]
    folder: Path
    log_of: Callable[[int], Path]
    settings: PodSettings
    budget: SweepBudget
    order: OrderRun
    pods: int | None = None
    jobs_per_pod: int = 1
    point_retries: int = 1
    tell: Callable[[str], None] = print
    rented: RentedPods | None = None
    _asked: threading.Event = field(default_factory=threading.Event)
    _ends: queue.SimpleQueue[PointEnd] = field(default_factory=queue.SimpleQueue[PointEnd])
    _working: dict[str, float] = field(default_factory=dict[str, float])
    """Run -> its share of the budget."""
    _failed: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    """Number of a point -> rented pods that failed it."""
    _bad_hosts: set[str] = field(default_factory=set[str])
    _signals: HeldSignals = field(default_factory=HeldSignals)

    def run(self) -> dict[int, PointEnd]:
        """Bring every point to its end, as far as machines and budget reach; ends by the number of the point.

        Raises:
            KeyboardInterrupt: the user wants to leave; what was begun goes on on its pods.
        """
        ends: dict[int, PointEnd] = {}
        waiting = sorted(self.points, key=lambda point: (not self.budget.is_open(point.run_id), point.number))
        before = self._times_called_off()
        shortage: MoolaError | None = None  # after which nothing begins until something has ended
        with held(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as self._signals:
            try:
                if self.rented is not None:
                    self.rented.adopt()
                while waiting or self._working:
                    if waiting and self._times_called_off() > before:
                        self._stop(waiting, _called_off(), ends)
                    while waiting and shortage is None and self._has_room(waiting[0]):
                        shortage = self._begin(waiting, ends)
                    if self.rented is not None and not waiting:
                        self.rented.tidy(wanted=False)  # an earlier client may have left more than are needed
                    if not self._working and not self._may_yet_begin():
                        if waiting:
                            self._stop(waiting, shortage or self._no_host(), ends)
                        break
                    shortage = self._ended(self._next_end(), waiting, ends) if self._working else None
                self._settle()
            except KeyboardInterrupt:
                self._signals.seen()
                self._leave()
                raise
            except Exception:
                self._leave()
                raise
        return ends

    def _ended(self, end: PointEnd | None, waiting: list[Point], ends: dict[int, PointEnd]) -> MoolaError | None:
        """Take note of the end of a point (None: only a pod has ended); why nothing more may begin for now."""
        if end is None:
            return None
        del self._working[end.point.run_id]
        self._bad_hosts.update(place for _, place, _ in end.bad_places if self.settings.provider == "ssh")
        if end.status in ("waiting", "again"):
            waiting.insert(0, end.point)
            self._blame(end)
        else:
            ends[end.point.number] = end
        if self.rented is not None:
            if end.status == "again" and end.error is None:
                self.rented.avoid(end.point.run_id)
            self.rented.tidy(wanted=bool(waiting) and end.status != "waiting")
        return end.error if end.status == "waiting" else None

    def _blame(self, end: PointEnd) -> None:
        """Remember the rented pod that failed a point."""
        failed = self._failed.setdefault(end.point.number, [])
        if self.rented is None or end.status != "again" or end.error is None:
            return
        if (pod := self.rented.had(end.point.run_id)) not in failed:
            failed.append(pod)

    def _may_yet_begin(self) -> bool:
        """Whether rented pods have ended, here or just before: their places and what they were promised is free."""
        return self.rented is not None and (self.rented.settle() or self.rented.has_news())

    def _settle(self) -> None:
        """See that no rented pod is left, and tell what they cost."""
        if self.rented is None:
            return
        while self.rented.settle():
            pass
        with contextlib.suppress(MoolaError):  # what is left is told
            self.rented.end_leftover()
        if told := self.rented.told():
            self.tell(told)
        for run in self.rented.left_on():
            self.tell(f"the pod of {run} may still bill: `moola pod down {run}`")

    @property
    def on_one_machine(self) -> int:
        """Points that compute on the same machine at once."""
        at_once = min(self.room, len(self.points))
        if self.settings.provider != "ssh":
            return at_once if self.settings.provider == "local" else min(self.jobs_per_pod, len(self.points))
        return min(self.jobs_per_pod, math.ceil(at_once / max(len(self._left()), 1)))

    @property
    def room(self) -> int:
        """Points that may be under way at once."""
        if self.settings.provider != "ssh":
            return (self.pods or 1) * self.jobs_per_pod
        left = len(self._left())
        return min(self.pods or left, left) * self.jobs_per_pod

    def _has_room(self, point: Point) -> bool:
        """Whether a point may begin now; one whose pod is there bills already."""
        if self.rented is not None:
            return self.rented.has_room(point.run_id)
        return len(self._working) < self.room or self.budget.is_open(point.run_id)

    def _begin(self, waiting: list[Point], ends: dict[int, PointEnd]) -> MoolaError | None:
        """Start the first point that waits; why not, where the budget does not reach."""
        point = waiting[0]
        share = self._share(point, waiting)
        if share is None:
            return self._no_budget(waiting)
        del waiting[0]
        try:
            open_run = self.order(point, self._settings(share))
            if self.rented is not None and not self.rented.take(point.run_id, len(waiting) + 1):
                waiting.insert(0, point)
                return self._no_budget(waiting)
        except NoPlaceError:  # while it was packed
            waiting.insert(0, point)
            return None
        except MoolaError as error:  # of this point alone: what is wrong with all was found before
            write_state(self.folder, PointState(point.number, "failed", why=f"{error.what}: {error.why}"))
            ends[point.number] = PointEnd(point, "failed", error=error)
            return None
        self._working[point.run_id] = share
        log, sharing = self.log_of(point.number), self.on_one_machine
        retries, lend = self.point_retries, None
        if self.rented is not None:
            failed = [pod for pod in self._failed.get(point.number, []) if pod != self.rented.had(point.run_id)]
            retries, lend = self.settings.retries + retries - len(failed), self.rented.lent
        work = PodPoint(point, self.folder, log, open_run, retries, self._asked, sharing, lend)
        threading.Thread(target=lambda: self._ends.put(work.go()), name=point.run_id, daemon=True).start()
        return None

    def _share(self, point: Point, waiting: Sequence[Point]) -> float | None:
        """What the pods of a point may cost; None: it does not fit. On a pod of the sweep that is the pod's affair."""
        if self.rented is not None:
            return 0.0
        others = min(self.room - len(self._working), len(waiting)) - 1
        return self.budget.share(point.run_id, self._working, max(others, 0))

    def _settings(self, share: float) -> PodSettings:
        """Of one point: the hosts that are left, as often as each takes one, and its share of the budget."""
        guards = self.settings.guards
        if self.rented is not None:
            return borrowing(self.settings, "", self.jobs_per_pod)
        changed = replace(self.settings, guards=replace(guards, budget=None if math.isinf(share) else share))
        if self.settings.provider != "ssh":
            return changed
        reached = self.settings.provider_options
        left = self._left() or range(len(reached.hosts))  # a run that is on a host is asked for there
        hosts = tuple(reached.hosts[one] for one in left)
        keys = tuple(reached.host_keys[one] for one in left) if reached.host_keys else ()
        return replace(changed, host=hosts * self.jobs_per_pod, host_key=keys * self.jobs_per_pod)

    def _left(self) -> Sequence[int]:
        """Hosts on which nothing failed, by their place in the list."""
        hosts = self.settings.provider_options.hosts
        return [one for one, host in enumerate(hosts) if place_of_host(host) not in self._bad_hosts]

    def _no_host(self) -> MoolaError:
        return SweepStoppedError(
            "no host is left for the sweep",
            f"nothing came of {', '.join(sorted(self._bad_hosts))}",
            "see what is wrong there; the same command asks them again and goes on",
        )

    def _no_budget(self, waiting: Sequence[Point]) -> MoolaError:
        budget, promised = self.budget, {**self._working, **(self.rented.shares() if self.rented else {})}
        spent, free = budget.spent(), budget.free(promised)
        return SweepStoppedError(
            f"the budget of the sweep does not reach for {len(waiting)} of its points",
            f"${spent:.2f} of ${budget.limit:.2f} are spent; one point takes about ${budget.of_one:.2f}, "
            f"${max(free, 0.0):.2f} are free, ${max(budget.of_one - free, 0.0):.2f} are missing",
            f"all of them take about ${spent + len(waiting) * budget.of_one:.2f}: the same command with a higher "
            "pod.guards.budget (--budget) goes on",
        )

    def _times_called_off(self) -> int:
        return sum(one["kind"] == CALLED_OFF for one in self.budget.ledger.events(self.folder.name))

    def _stop(self, waiting: list[Point], why: MoolaError, ends: dict[int, PointEnd]) -> None:
        """Begin no more; each point that is left says why."""
        self.tell(why.spoken())
        for point in waiting:
            state = PointState(point.number, "interrupted", why=f"not begun: {why.what}")
            write_state(self.folder, state)
            ends[point.number] = PointEnd(point, "left", error=why)
        waiting.clear()

    def _next_end(self) -> PointEnd | None:
        """What became of the next point that ends; None: a pod has ended, or no further point is to begin."""
        while True:  # no wait without an end: a handler of polars has the system resume it, and Ctrl-C would wait, too
            self._signals.look()
            with contextlib.suppress(queue.Empty):
                return self._ends.get(timeout=_LOOK_S)
            if self.rented is not None and self.rented.has_news():
                return None

    def _leave(self) -> None:
        """Have every point under way left in good order; a second interruption leaves at once."""
        if self.rented is not None:
            self.rented.stay()
        self._asked.set()
        self.tell(
            f"leaving {told_points(len(self._working))}: what has begun goes on on its pod, and the same command goes "
            f"on with it; `moola pod stop --sweep {self.folder.name}` ends all of it with checkpoints, "
            f"`moola pod down --sweep {self.folder.name} --yes` at once, and what is not here is lost"
        )
        while self._working:
            if (end := self._next_end()) is not None:
                self._working.pop(end.point.run_id)
        if self.rented is not None:
            self.rented.leave()


def _called_off() -> MoolaError:
    return SweepStoppedError(
        "the sweep was called off", "another command ended its points or its pods", "the same command goes on"
    )
