"""One pod for one run, whatever happens on the way: written down before it is asked for, found again after a crash.

A creation may fail and still make a pod; a client may die between the request and the answer. So the intent is on
disk first, the pod's name carries run and ledger, and before anything is made, what is there is looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from moola.errors import MoolaError, StorageError
from moola.pods.clock import Clock
from moola.pods.ending import end_pod, end_unused
from moola.pods.leases import is_taken_over
from moola.pods.ledger import Intent, Ledger, LedgerPod
from moola.pods.provider import (
    BadDrawError,
    LocalTarget,
    LostAnswerError,
    NoCapacityError,
    Offer,
    PodError,
    PodRecord,
    PodTakenError,
    PodWish,
    Provider,
    RefusedHereError,
    SilentPodError,
    alive,
)
from moola.pods.ssh import AccessError, SshTarget
from moola.pods.waiting import PhaseLimits, wait_for_session

Session = TypeVar("Session")
STARTED = "started"
"""Kind of the ledger's event that the job was started on a pod: from then on it is never ended as a bad draw."""
LAG_S = 60.0
"""How long a pod may take to appear in the lender's list after it was asked for."""
_LOOKS = 5
_MAX_CANDIDATES = 24
MAX_DRAWS = 4
"""Pods of one run that may turn out bad, before or in their preflight."""
Place = tuple[str, str, str]
"""GPU, data centre and cloud."""


@dataclass(frozen=True)
class Acquired(Generic[Session]):
    """A pod with an open session.

    Attributes:
        pod: it.
        session: what `open_session` gave.
        place: where it was asked for; of an adopted one, where its lender says that it is.
        adopted: it was there before.
    """

    pod: PodRecord
    session: Session
    place: Place
    adopted: bool


@dataclass
class Acquisition(Generic[Session]):
    """What it takes to get a run's pod. Its caller holds the run's lease (`Ledger.lease`).

    Attributes:
        provider: who lends.
        ledger: who remembers.
        wish: what is wanted.
        run: for what.
        public_key: what opens the pod.
        open_session: opens a session on a target; None: it does not answer yet.
        limits: of each phase.
        tell: is told what happens.
        clock: for tests.
        bad: places of draws that were bad; more come.
        hold: raises `PodTakenError` where another client took the run over; asked before pods are made or ended.
        look: is called before a pod is made; whatever it raises leaves there.
    """

    provider: Provider
    ledger: Ledger
    wish: PodWish
    run: str
    public_key: str
    open_session: Callable[[SshTarget | LocalTarget], Session | None]
    limits: PhaseLimits = field(default_factory=PhaseLimits)
    tell: Callable[[str], None] = print
    clock: Clock = field(default_factory=Clock)
    bad: list[Place] = field(default_factory=list[Place])
    hold: Callable[[], None] = lambda: None
    look: Callable[[], None] = lambda: None
    _shut: dict[Place, AccessError] = field(default_factory=dict[Place, AccessError])
    """Places that refused the key: it is no other one the next time."""

    def acquire(self) -> Acquired[Session]:
        """The run's pod: the one there is, else a new one that came up.

        A pod that does not come up is ended and another is drawn elsewhere, a few times. A pod on which nothing was
        started is ended too when this is interrupted.

        Raises:
            PodTakenError: another ledger's client has a pod for this run.
            NoCapacityError: nobody has a machine as wished for.
            BadDrawError: several machines in a row did not come up.
            HostKeyError: whoever answers is not the pod; it is ended.
            AccessError: none of the places lets us in.
            PodError: the lender refuses the request, another command ended the pod, or it does not answer.
        """
        while True:
            found = self._found()
            pod, place = (found, place_of(found)) if found else self._made()
            started = found is not None and was_started(self.ledger, pod)
            try:
                return Acquired(pod, self._wait(pod), place, adopted=found is not None)
            except BadDrawError as error:
                if started and self.provider.status(pod.pod_id).status == "RUNNING":
                    raise silent(pod.pod_id, self.run, error.why) from error
                self.hold()
                self.tell(error.spoken())
                end_pod(self.provider, pod, self.ledger, "did not come up", clock=self.clock)
                if self.ledger.was_given_up(self.run, pod.pod_id):
                    raise _given_up(pod) from error
                self.bad += [] if found else [place]
                if len(self.bad) >= MAX_DRAWS:
                    raise BadDrawError(f"{len(self.bad)} pods in a row did not come up", error.spoken()) from error
            except AccessError as error:
                if started:
                    raise
                self.hold()
                self.tell(f"{error.what}: {error.why}")
                end_pod(self.provider, pod, self.ledger, "refused the key", clock=self.clock)
                self._shut[place] = error
                if len(self._shut) >= MAX_DRAWS:
                    raise
            except BaseException as error:
                if not started:
                    self._give_up(error)
                raise

    def adopt(self) -> PodRecord | None:
        """The pod that is there for this run; None: there is none. What is left over of it is ended.

        Raises:
            PodTakenError: another ledger's client made one.
        """
        own = self._settled()
        self.hold()
        known = {pod.pod_id for pod in self.ledger.pods(self.run)}
        running = sorted(alive(own), key=lambda pod: (not was_started(self.ledger, pod), pod.pod_id not in known))
        for pod in own:
            self.ledger.add_pod(pod)
            if pod not in running[:1]:
                self.tell(f"pod {pod.pod_id} is left over ({pod.status}): it is ended")
                if pod not in running and was_started(self.ledger, pod):
                    self.ledger.lose_pod(pod.provider, pod.pod_id, self.run, pod.status, is_gone=False)
                end_pod(self.provider, pod, self.ledger, "left over", clock=self.clock)
        return running[0] if running else None

    def _settled(self) -> list[PodRecord]:
        """Own pods, once it is known what came of every request whose answer was lost."""
        own = self._own_pods()
        for intent in self._open_intents():
            for look in range(_LOOKS):
                if alive(own) or self.clock.now() > intent.at + LAG_S:
                    break
                self.tell(f"a pod was asked for and the answer was lost; looking for it ({look + 1} of {_LOOKS})")
                self.clock.sleep(LAG_S / _LOOKS)
                own = self._own_pods()
            self.ledger.settle(intent.number, "adopted" if own else "nothing")
        return own

    def _found(self) -> PodRecord | None:
        """See `adopt`; where that fails, what an earlier request made is ended, unless a job was started on it."""
        try:
            return self.adopt()
        except BaseException as error:
            with contextlib.suppress(StorageError):  # without the ledger nobody knows on which pod a job was started
                used = any(was_started(self.ledger, pod) for pod in self.ledger.pods(self.run, open_only=True))
                if not used and self._may_have_made_one():
                    self._give_up(error)
            raise

    def _made(self) -> tuple[PodRecord, Place]:
        """See `_create`; where that fails half-way, what came of it is ended."""
        try:
            return self._create()
        except BaseException as error:
            if self._may_have_made_one():
                self._give_up(error)
            raise

    def _may_have_made_one(self) -> bool:
        try:
            return bool(self._open_intents() or self.ledger.pods(self.run, open_only=True))
        except StorageError:
            return True

    def _open_intents(self) -> list[Intent]:
        return [one for one in self.ledger.open_intents(self.run) if one.provider == self.provider.name]

    def _give_up(self, error: BaseException) -> None:
        """End what nothing was started on, unless it is another client's by now.

        Raises:
            PodError: it cannot be ended; the error that led here is told with it.
        """
        if is_taken_over(self.hold):
            return
        told = error.what if isinstance(error, MoolaError) else type(error).__name__
        interrupted = "interrupted before it was used"
        why = interrupted if isinstance(error, KeyboardInterrupt) else f"not used: {told}"
        try:
            with contextlib.suppress(StorageError, PodError):  # what cannot be looked for is ended as far as it is seen
                self._settled()
        except KeyboardInterrupt:
            self.tell("interrupted again: a pod that shows up later is not looked for")
        end_unused(self.provider, self.run, self.ledger, why, error, tell=self.tell, clock=self.clock, hold=self.hold)

    def _own_pods(self) -> list[PodRecord]:
        """Pods of this run and this ledger that are not gone; those that are gone unasked are written down as lost.

        Raises:
            PodTakenError: one of another ledger is alive.
        """
        pods = [pod for pod in self.provider.find(self.run) if pod.status != "TERMINATED"]
        others = alive([pod for pod in pods if pod.owner != self.ledger.owner])
        if others:
            raise PodTakenError(
                f"{self.run} has a pod that was made elsewhere",
                "\n".join(f"- {pod.pod_id} since {pod.created_at:%Y-%m-%d %H:%M} UTC" for pod in others),
                f"go on where it was started, or end it with `moola pod down {self.run} --any-ledger`",
            )
        own = [pod for pod in pods if pod.owner == self.ledger.owner]
        return own + self._unlisted({pod.pod_id for pod in own})

    def _unlisted(self, listed: set[str]) -> list[PodRecord]:
        """Pods that the ledger takes for running and the lender's list lacks: a new one may not be in it yet."""
        found: list[PodRecord] = []
        for pod in self.ledger.pods(self.run, open_only=True):
            if pod.provider != self.provider.name or pod.pod_id in listed:
                continue
            state = self.provider.status(pod.pod_id)
            if state.status == "TERMINATED":
                self.tell(f"pod {pod.pod_id} is gone: {state.detail or state.status}")
                self.ledger.lose_pod(pod.provider, pod.pod_id, self.run, f"{state.status} {state.detail}".strip())
            else:
                found.append(replace(pod.record(self.ledger.owner), status=state.status))
        return found

    def _create(self) -> tuple[PodRecord, Place]:
        """Walk the offers until one places; places where a pod did not come up are passed over while others are left.

        Raises:
            NoCapacityError: none did.
            PodError: all were refused alike, so that it is the request.
        """
        offers = self.provider.offers(self.wish)
        there = [one for one in offers if place_of(one) not in self._shut]
        if not there and self._shut:
            raise list(self._shut.values())[-1]
        offers = there
        fresh = [one for one in offers if place_of(one) not in self.bad]
        refusals: list[RefusedHereError] = []
        for offer in (fresh or offers)[:_MAX_CANDIDATES]:
            self.tell(f"asking {self.provider.name} for {offer}")
            try:
                return self._ask(offer), place_of(offer)
            except RefusedHereError as error:
                refusals.append(error)
                self.tell(f"  refused: {error.why.splitlines()[0]}")
        last = refusals[-1].why
        if all(refusal.may_be_the_request for refusal in refusals) and len({one.why for one in refusals}) == 1:
            raise PodError(
                f"all {len(refusals)} places refused the pod alike, so it may be the request",
                last,
                "look at pod.image, pod.disk_gb and pod.network_volume; if it is capacity, ask again later",
            )
        raise NoCapacityError(
            f"none of {len(refusals)} places had a machine",
            "\n".join(f"- {told}" for told in dict.fromkeys(one.why.splitlines()[0] for one in refusals)),
            refusals[-1].way_out or "name more GPUs, raise the price, or ask again later",
        )

    def _ask(self, offer: Offer) -> PodRecord:
        """Ask for a pod at one place; after a lost answer look for it, then ask once more."""
        for attempt in range(2):
            self.look()
            self.hold()
            intent = self.ledger.intend(self.provider.name, self.run, offer)
            try:
                pod = self.provider.create(self.wish, self.run, offer, self.public_key)
            except LostAnswerError as error:
                self.tell(f"  {error.why.splitlines()[0]}; looking whether a pod came of it")
                found = self.adopt()
                if found is not None:
                    return found
                if attempt:
                    raise RefusedHereError(error.what, error.why) from error
            except PodError as error:
                self.ledger.settle(intent, "refused", error.why)
                raise
            else:
                self.ledger.add_pod(pod)
                self.ledger.settle(intent, "created", pod.pod_id)
                return self._at_the_price(self._only(pod))
        raise AssertionError("unreachable")

    def _only(self, pod: PodRecord) -> PodRecord:
        """The pod, unless another client made one at the same time: the older one stays, each ends only its own.

        Raises:
            PodTakenError: another ledger's is older.
        """
        others = [one for one in alive(self.provider.find(self.run)) if one.pod_id != pod.pod_id]
        for late in (one for one in others if one.owner == self.ledger.owner):
            self.tell(f"pod {late.pod_id} came of a request whose answer was lost: it is ended")
            self.ledger.add_pod(late)
            end_pod(self.provider, late, self.ledger, "one too many", clock=self.clock)
        rivals = [one for one in others if one.owner != self.ledger.owner]
        older = [one for one in rivals if (one.created_at, one.pod_id) < (pod.created_at, pod.pod_id)]
        if older:
            end_pod(self.provider, pod, self.ledger, "another client was first", clock=self.clock)
            raise PodTakenError(f"another client made pod {older[0].pod_id} for {self.run} first")
        return pod

    def _at_the_price(self, pod: PodRecord) -> PodRecord:
        """The pod, unless its price rose between offer and creation to more than is allowed: then it is ended.

        Raises:
            RefusedHereError: it did.
        """
        most = self.wish.max_price_per_h
        if most is None or pod.price_per_h <= most:
            return pod
        end_pod(self.provider, pod, self.ledger, "dearer than allowed", clock=self.clock)
        raise RefusedHereError("no pod here", f"it came at ${pod.price_per_h:.2f}/h, ${most:.2f}/h are allowed")

    def _wait(self, pod: PodRecord) -> Session:
        return wait_for_session(
            self.provider,
            pod,
            self.ledger,
            self.open_session,
            limits=self.limits,
            tell=self.tell,
            clock=self.clock,
        )


def place_of(one: Offer | PodRecord) -> Place:
    """Where a pod is, or would be."""
    return one.gpu, one.data_center, one.cloud


def _given_up(pod: PodRecord) -> PodError:
    return PodError(
        f"another command ended pod {pod.pod_id} while it came up",
        f"whoever ends the pod of {pod.run} wants no other",
        "the same command rents one",
    )


def silent(pod_id: str, run: str, why: str) -> SilentPodError:
    """A pod that its lender has and that does not answer."""
    return SilentPodError(
        f"pod {pod_id} runs {run} and does not answer",
        why,
        f"the run goes on there: try again, or give it up with `moola pod down {run}`",
    )


def was_started(ledger: Ledger, pod: PodRecord | LedgerPod) -> bool:
    """Whether a job was ever started on a pod."""
    return any(one["kind"] == STARTED and one["pod_id"] == pod.pod_id for one in ledger.events(pod.run))
