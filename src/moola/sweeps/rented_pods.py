"""The rented pods of a sweep: so many at once, each lent to several points, one after the other, then ended.

Each pod is a run of its own (`moola.pods.lending`), followed by a thread as `moola pod run` follows one: what it was
promised, its guards and its end are those of any run. Nothing is remembered in this process: after a kill, pods are
found by the ledger and their lender's list, and points by what the ledger says is on them.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.pods.acquiring import was_started
from moola.pods.attaching import PodLostError
from moola.pods.clock import Clock
from moola.pods.ending import end_run
from moola.pods.guards import Observed, left_s
from moola.pods.keeping import alone_at
from moola.pods.ledger import Ledger
from moola.pods.lending import borrowing, next_pod_run, pod_runs, renting, shared_rent
from moola.pods.lent_provider import LentProvider
from moola.pods.log_records import log_line
from moola.pods.pod_job import guard_limits
from moola.pods.provider import (
    ALIVE,
    LENT,
    BadDrawError,
    NoCapacityError,
    PodError,
    PodRecord,
    Provider,
    SilentPodError,
    alive,
)
from moola.pods.running import PodRun
from moola.pods.settings import PodSettings
from moola.pods.ssh import AccessError, HostKeyError
from moola.pods.wire import ConnectionLostError
from moola.sweeps.interruption import Interruption
from moola.sweeps.pod_budget import SweepBudget
from moola.sweeps.pod_point import NoPlaceError, OpenRun
from moola.sweeps.rented_pod import LOOK_S, RentedPod, Visit, join, one_by_one

RentRun = Callable[[str, PodSettings], OpenRun]
"""What opens the run that rents a pod, by its name and settings."""
_UNREACHABLE = (SilentPodError, AccessError, HostKeyError)
"""What a point says of a pod that it cannot reach: it may be at work there, so the pod has to go first."""


@dataclass
class RentedPods:
    """All pods of a sweep; used by the thread of the sweep, and by those of points through `lent`.

    Attributes:
        sweep: name of the sweep.
        logs: folder that takes what pods say, a file each.
        lender: who lends them.
        ledger: of the project.
        settings: of every pod.
        budget: of the sweep.
        rent: opens the run that rents a pod.
        most: pods that may bill at once.
        jobs: points at a time on each.
        tell: is told what happens to pods.
    """

    sweep: str
    logs: Path
    lender: Provider
    ledger: Ledger
    settings: PodSettings
    budget: SweepBudget
    rent: RentRun
    most: int = 1
    jobs: int = 1
    tell: Callable[[str], None] = print
    _pods: list[RentedPod] = field(default_factory=list[RentedPod])
    _change: threading.Condition = field(default_factory=threading.Condition)
    _places: dict[str, RentedPod] = field(default_factory=dict[str, RentedPod])
    """Run of a point -> the pod on which it has a place."""
    _had: dict[str, RentedPod] = field(default_factory=dict[str, RentedPod])
    """Run of a point -> the pod on which it had one last."""
    _n_over: int = 0

    def adopt(self) -> None:
        """Go on with the pods that an earlier client of this ledger left; what has died since is not rented anew.

        Raises:
            PodError: the lender cannot be asked, or does not end what has died.
        """
        own = [pod for pod in self.lender.find() if pod.owner == self.ledger.owner and pod.status != "TERMINATED"]
        for run in pod_runs(self.sweep, self.ledger):
            listed = [pod for pod in own if pod.run == run]
            known = {pod.pod_id: pod for pod in self.ledger.pods(run, open_only=True)}
            states = {pod_id: self.lender.status(pod_id) for pod_id in known}
            if alive(listed) or self.ledger.open_intents(run) or any(one.status in ALIVE for one in states.values()):
                self._begin(run, self.ledger.budget(run) or math.inf)
                continue
            for pod_id, state in states.items():
                said, is_gone = f"{state.status} {state.detail}".strip(), state.status == "TERMINATED"
                self.ledger.lose_pod(known[pod_id].provider, pod_id, run, said, is_gone=is_gone)
            if listed:
                end_run(self.lender, run, self.ledger, "left over", tell=self.tell)

    def has_room(self, run: str) -> bool:
        """Whether a point may begin, as far as places go."""
        with self._change:
            return self._pod_for(run) is not None or self._n_billing() < self.most

    def take(self, run: str, waiting: int) -> bool:
        """Give a point a place, on a pod that is there or a new one; False where the budget does not reach for that.

        Args:
            run: of the point.
            waiting: points that wait for a place, it among them.

        Raises:
            NoPlaceError: the pod that had room when that was asked has none any more, and there may be no further one.
        """
        with self._change:
            pod = self._pod_for(run)
            if pod is None:
                may_come = self.most - self._n_billing()
                if may_come < 1:
                    raise NoPlaceError(f"no pod has room for {run} any more", "and no further one may be rented")
                others = min(may_come, math.ceil(waiting / self.jobs)) - 1
                name = next_pod_run(self.sweep, self.ledger)
                share = self.budget.share(name, self.shares(), max(others, 0))
                if share is None:
                    return False
                pod = self._begin(name, share)
            pod.users.add(run)
            self._places[run] = self._had[run] = pod
            return True

    @contextlib.contextmanager
    def lent(self, run: PodRun, look: Callable[[], None]) -> Iterator[None]:
        """A point on the pod that `take` gave it, once that is up; whatever becomes of it, its place is free then.

        Args:
            run: of the point; gets its lender.
            look: raises what is to interrupt the wait.

        Raises:
            MoolaError: why there is no pod.
        """
        pod = self._places[run.run]
        try:
            self._wait_for(pod, run.tell, look)
            run.settings = borrowing(run.settings, pod.run, self.jobs)
            run.provider = LentProvider(self.lender, self.ledger, (pod.run,) * self.jobs, clock=run.clock)
            with self._blamed(pod, run), one_by_one(pod, run, look):
                yield
        finally:
            with self._change:
                pod.users.discard(run.run)
                self._places.pop(run.run, None)
                self._change.notify_all()

    def tidy(self, *, wanted: bool) -> None:
        """Have pods end that nobody is on and that take no further point.

        Args:
            wanted: points wait for a place.
        """
        with self._change:
            for pod in self._pods:
                if not pod.users and not (wanted and self._takes_more(pod)):
                    pod.is_closing = True
        for pod in self._pods:
            if pod.is_over and not pod.users and self._may_bill(pod.run) and not self.ledger.is_leased(pod.run):
                with contextlib.suppress(MoolaError):  # it is asked again, and told of at the end
                    end_run(self.lender, pod.run, self.ledger, "nobody follows it", tell=self.tell)

    def had(self, run: str) -> str:
        """Run of the pod on which a point had a place last; empty: it had none."""
        with self._change:
            return self._had[run].run if run in self._had else ""

    def avoid(self, run: str) -> None:
        """Give no further point to the pod that one had last: that has to end."""
        with self._change:
            if run in self._had:
                self._had[run].is_closing = True

    def settle(self) -> bool:
        """End all pods that nobody is on, and wait until they are gone; False where there were none."""
        self.tidy(wanted=False)
        ending = [pod for pod in self._pods if pod.thread is not None and not pod.users and pod.thread.is_alive()]
        for pod in ending:
            join(pod.thread)
        return bool(ending)

    def has_news(self) -> bool:
        """Whether a pod has ended since this was asked last: another may be rented."""
        with self._change:
            before, self._n_over = self._n_over, sum(pod.is_over and pod.record is not None for pod in self._pods)
            return self._n_over > before

    def stay(self) -> None:
        """Ask no pod to end from now on: points are about to leave their places, and to go on there."""
        for pod in self._pods:
            pod.stays = True

    def leave(self) -> None:
        """Leave pods on which points go on, and end all others; points have left their places."""
        for pod in self._pods:
            at_work = pod.record is not None and any(
                one.provider == LENT and one.data_center == pod.record.pod_id
                for one in self.ledger.pods(open_only=True)
            )
            pod.is_closing = True
            if at_work or not pod.is_up:
                pod.asked.set()
            else:
                pod.stays = False
        for pod in self._pods:
            join(pod.thread)
        in_use = {one.data_center for one in self.ledger.pods(open_only=True) if one.provider == LENT}
        self.end_leftover(in_use)

    def end_leftover(self, in_use: Collection[str] = ()) -> None:
        """End what nobody follows any more.

        Args:
            in_use: ids of pods that stay.

        Raises:
            MoolaError: a pod could not be ended.
        """
        for run in self.left_on():
            if not any(pod.pod_id in in_use for pod in self.ledger.pods(run, open_only=True)):
                end_run(self.lender, run, self.ledger, "left without a point", tell=self.tell)

    def left_on(self) -> list[str]:
        """Runs whose pods may bill still."""
        return [run for run in pod_runs(self.sweep, self.ledger) if self._may_bill(run)]

    def shares(self) -> dict[str, float]:
        """US dollars that pods were promised that have not ended, by their runs."""
        return {pod.run: pod.share for pod in self._pods if not pod.is_over}

    def told(self) -> str:
        """What all pods of the sweep cost, and how much of that was no point's; empty where there was none."""
        pods = self.ledger.pods()
        hosts = [pod for run in pod_runs(self.sweep, self.ledger) for pod in self.ledger.pods(run)]
        if not hosts:
            return ""
        rent, idle = sum(pod.cost for pod in hosts), sum(shared_rent(pod, pods).idle for pod in hosts)
        several = "s" if len(hosts) > 1 else ""
        return (
            f"{len(hosts)} rented pod{several}: ${rent:.2f}, of which ${rent - idle:.2f} while points were at work "
            f"and ${idle:.2f} for set-up and waiting"
        )

    def _pod_for(self, run: str) -> RentedPod | None:
        """Where a point has to go, or may."""
        there = [pod.data_center for pod in self.ledger.pods(run, open_only=True) if pod.provider == LENT]
        for pod in self._pods:
            if pod.record is not None and pod.record.pod_id in there and not pod.is_over:
                return pod  # it is at work there: whether there is room is no question
        return next((pod for pod in self._pods if self._takes_more(pod)), None)

    @contextlib.contextmanager
    def _blamed(self, pod: RentedPod, run: PodRun) -> Iterator[None]:
        """Where a pod fails a point in the block, no further one begins there."""
        try:
            yield
        except (PodLostError, BadDrawError):
            pod.is_closing = True
            raise
        except NoCapacityError as error:
            pod.is_closing = True
            raise NoPlaceError(f"{pod.run} has no place for {run.run} any more", error.why) from error
        except _UNREACHABLE as error:
            self._end_now(pod, error)
            raise
        except ConnectionLostError as error:  # before it was followed
            if any(was_started(self.ledger, one) for one in self.ledger.pods(run.run)[-1:]):
                self._end_now(pod, error)
            if self._is_gone(pod) or run.run in pod.lost:
                pod.is_closing = True
            pod.lost.add(run.run)
            raise PodLostError(error.what, error.why, error.way_out) from error

    def _is_gone(self, pod: RentedPod) -> bool:
        """Whether its lender says so; one that does not answer says nothing, and the fault may be at this end."""
        try:
            return pod.record is None or self.lender.status(pod.record.pod_id).status not in ALIVE
        except PodError:
            return False

    def _end_now(self, pod: RentedPod, error: MoolaError) -> None:
        """End a pod that cannot be reached: a point may be at work there, and is to begin elsewhere."""
        pod.is_closing = True
        end_run(self.lender, pod.run, self.ledger, f"given up: {error.what}", tell=self.tell)

    def _takes_more(self, pod: RentedPod) -> bool:
        """Whether a further point may begin on a pod: there is a place, and time and money for what one takes."""
        if pod.is_closing or pod.is_over or len(pod.users) >= self.jobs:
            return False
        known = self.ledger.pods(pod.run)
        if pod.record is None or not known:
            return True  # its share was made for that
        settings = renting(self.settings, None if math.isinf(pod.share) else pod.share)
        limits = guard_limits(settings, pod.record.price_per_h)
        end_s = limits.grace_min * 60 + limits.checkpoint_s
        observed = Observed(sum(one.seconds for one in known), sum(one.cost for one in known))
        needed_s = self.settings.expected_hours * 3600
        return left_s(limits, observed) >= needed_s + min(end_s, 0.1 * needed_s)

    def _n_billing(self) -> int:
        """Pods that bill, or may."""
        at_work = {pod.run for pod in self._pods if not pod.is_over}
        return len(at_work | set(self.left_on()))

    def _may_bill(self, run: str) -> bool:
        return bool(self.ledger.pods(run, open_only=True) or self.ledger.open_intents(run))

    def _begin(self, run: str, share: float) -> RentedPod:
        pod = RentedPod(run, share)
        settings = renting(self.settings, None if math.isinf(share) else share)
        self.ledger.add_run(run, self.sweep, "", settings.guards.budget, settings.guards.max_hours)  # nobody else's
        for one in self.ledger.pods(run, open_only=True):
            pod.record = one.record(self.ledger.owner)
        self._pods.append(pod)
        pod.thread = threading.Thread(target=self._keep, args=(pod, settings), name=run, daemon=True)
        pod.thread.start()
        return pod

    def _keep(self, pod: RentedPod, settings: PodSettings) -> None:
        """Rent a pod and stay with it to its end."""
        log = self.logs / f"{pod.run.rpartition('-')[2]}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:

                def write(line: str) -> None:
                    file.write(line.rstrip("\n") + "\n")
                    file.flush()

                try:
                    self._follow(pod, settings, write)
                except MoolaError as error:
                    pod.error = error
                    write(error.spoken())
        except KeyboardInterrupt:
            pass  # it is left as it is
        except Exception as error:  # a defect here must not leave points waiting for it
            pod.error = MoolaError(f"{pod.run}: {type(error).__name__}", str(error))
        finally:
            with self._change:
                pod.is_over = True
                self._change.notify_all()

    def _follow(self, pod: RentedPod, settings: PodSettings, write: Callable[[str], None]) -> None:
        run = self.rent(pod.run, settings)(write, lambda record: write(log_line(record)))
        interruption, clock = Interruption(pod.asked), run.clock
        run.look, run.clock = interruption.look, Clock(clock.now, interruption.waking(clock.sleep), clock.monotonic)
        visit = Visit(pod, self._change, run.clock, settings.guards)

        def taken(record: PodRecord) -> None:
            pod.record = record
            self.tell(f"{pod.run}: pod {record.pod_id} ({record.gpu}) at ${record.price_per_h:.2f}/h")

        run.taken, run.looked, run.before_end = taken, visit.looked, visit.before_end
        try:
            ended = alone_at(run, lambda: self._gone(run))
        finally:
            pod.is_closing = True
        if ended.why:
            write(f"{pod.run} {ended.outcome}: {ended.why}")

    def _gone(self, run: PodRun) -> Any:
        try:
            return run.go()
        except (SilentPodError, HostKeyError) as error:
            for pod in self.ledger.pods(run.run, open_only=True):
                run.lose(pod.record(self.ledger.owner), f"{error.what}: {error.why}")
            raise

    def _wait_for(self, pod: RentedPod, tell: Callable[[str], None], look: Callable[[], None]) -> None:
        """Wait until points may begin on a pod.

        Raises:
            MoolaError: why there is none.
        """
        if not pod.is_up:
            tell(f"waiting for {pod.run}, the pod of its sweep; what that says: {self.logs}")
        with self._change:
            while not pod.is_up and not pod.is_over:
                self._change.wait(LOOK_S)
                look()
        if pod.is_over:
            raise pod.error or PodLostError(f"the pod of {pod.run} has ended", "its sweep has another for the point")
