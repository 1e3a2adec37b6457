"""One run on a pod, from a bundle to published results: every phase may be cut off, and the same command goes on.

Nothing is remembered in this process. What was asked for is in the ledger, what was sent and what came of it is on the
pod, and what came back is in the results folder; so a client that was killed anywhere is followed by one that looks.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.layout import Layout, write_json
from moola.pods.acquiring import MAX_DRAWS, Acquired, Acquisition, Place
from moola.pods.attaching import PodLostError
from moola.pods.attending import Ended, attend
from moola.pods.bundle import Bundle
from moola.pods.checkpoints import kept_checkpoint
from moola.pods.clock import Clock
from moola.pods.ending import end_pod
from moola.pods.fetching import fetch_results, fetch_state
from moola.pods.guards import Observed, judge
from moola.pods.leases import Lease
from moola.pods.ledger import Ledger
from moola.pods.losing import what_became
from moola.pods.pod_job import guard_limits
from moola.pods.provider import LENT, BadDrawError, LocalTarget, PodError, PodRecord, Provider
from moola.pods.providers import run_keys
from moola.pods.publishing import Published, find_published, result_folder
from moola.pods.session import PodShell, RunOnPod, open_shell
from moola.pods.settings import PodSettings
from moola.pods.ssh import HostKeyError
from moola.pods.staged_results import REPLAYED
from moola.pods.starting import start
from moola.pods.telling import tell_trackers

if TYPE_CHECKING:
    from moola.pods.ssh import SshTarget

ORDER = "order.json"
"""In the folder of what came back of a run: its bundle and settings, for any later client."""


@dataclass
class PodRun:
    """A run and everything that takes part in it. Whoever changes anything holds the run's lease.

    Attributes:
        bundle: what travels; its facts name the run.
        settings: of the pod.
        layout: of the project here.
        provider: who lends.
        ledger: who remembers.
        tell: is told what happens.
        show: is given each line of the log.
        clock: for tests.
        lease: of the run, while this client has it.
        replays: the run was done before, and what comes back is kept apart from that (`moola.pods.replaying`).
        look: is called between two things that are done; whatever it raises interrupts the run there.
        taken: is given each pod that the run gets; where it raises, a pod on which nothing was started is ended.
        sharing: runs that compute on the machine of its pod at once, it among them.
        looked: is given its pod and status at each look at the job.
        before_end: is called before its pod is ended, and waits for whoever works there, too.
    """

    bundle: Bundle
    settings: PodSettings
    layout: Layout
    provider: Provider
    ledger: Ledger
    tell: Callable[[str], None]
    show: Callable[[Mapping[str, Any]], None]
    clock: Clock = field(default_factory=Clock)
    lease: Lease | None = None
    replays: bool = False
    look: Callable[[], None] = lambda: None
    taken: Callable[[PodRecord], None] = lambda _: None
    sharing: int = 1
    looked: Callable[[RunOnPod, Mapping[str, Any]], None] = lambda pod, status: None
    before_end: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.run: str = self.bundle.facts["run_id"] + (REPLAYED if self.replays else "")
        self.folder = result_folder(self.layout, self.run)
        self.shelf = Layout(self.layout.data, self.folder / "artifacts") if self.replays else self.layout
        self.moola_path: str = self.bundle.facts["moola"]["path"]
        self.seconds: dict[str, float] = {}
        self._shells: list[PodShell] = []
        self._bad: list[Place] = []

    def order(self) -> None:
        """Write down what is ordered, so that the run's id is all that later commands need."""
        guards = self.settings.guards
        experiment = str(self.bundle.facts["run_id"]).rpartition("-")[0]
        self.ledger.add_run(self.run, experiment, self.bundle.bundle_id, guards.budget, guards.max_hours)
        write_json(self.folder / ORDER, {"bundle": self.bundle.bundle_id, "settings": asdict(self.settings)})

    @property
    def is_forced(self) -> bool:
        """Whether stages are to be built again though they are there: the overrides say so."""
        return any(re.fullmatch(r"\+{0,2}force=(?!\[\]$|null$).+", word) for word in self.bundle.facts["overrides"])

    def back(self) -> Ended | None:
        """The run as it is here, told: finished, every file as it was published, and no pod of it left; else None."""
        if self.ledger.pods(self.run, open_only=True) or self.ledger.open_intents(self.run):
            return None
        folder = self._results()
        if folder is None:
            return None
        self.tell(f"{self.run} is finished, its results are here: {folder}")
        return Ended(self.run, "finished", published=Published(folder), pod_ended=True)

    def _results(self) -> Path | None:
        return find_published(self.run, self.bundle.bundle_id, self.shelf)

    def go(self, *, detach: bool = False, again: bool = False) -> Ended:
        """Bring the run to its end, on as many pods as the settings allow; or to its start, where it is detached.

        Args:
            detach: leave when it has started.
            again: rent for it though its results are here; a replay always does.

        Raises:
            PodLostError: the last pod died, too.
            PodTakenError: another client has the run, or took it over.
            PodError: no pod could be had, or one could not be ended.
            StorageError: a transfer was refused or came out wrong.
        """
        self.order()
        retries_left = self.settings.retries
        if not (again or self.replays) and (here := self.back()) is not None:
            self.tell("nothing is rented; `force=[all]` among the overrides runs it again")
            return here
        while True:
            acquired = self.timed("pod", self._acquire)
            try:
                pod = self.timed("start", lambda acquired=acquired: start(self, acquired))
                if detach:
                    return Ended(self.run, "detached", seconds=self.seconds)
                return attend(self, acquired.pod, pod, began_here=True)
            except BadDrawError as error:
                self._bad.append(acquired.place)
                if self.provider.name == LENT:  # which other one, the sweep decides
                    raise
                if len(self._bad) >= MAX_DRAWS:
                    raise BadDrawError(f"{len(self._bad)} pods in a row were bad", error.spoken()) from error
                self.tell(f"{error.what}: {error.why}\nanother one is drawn")
            except PodLostError as error:
                if self.ledger.was_given_up(self.run, acquired.pod.pod_id):
                    why = "another command ended its pod"
                    return Ended(self.run, "stopped", why, pod_ended=True, seconds=self.seconds, exit_code=1)
                verdict = judge(guard_limits(self.settings, acquired.pod.price_per_h), self.observed())
                if verdict is not None:  # ended by its own guard, while this client slept; so would another be
                    return Ended(
                        self.run, verdict.guard, verdict.why, pod_ended=True, seconds=self.seconds, exit_code=1
                    )
                if error.may_be_its_guard:
                    why = f"{error.why}\nnobody looked for a while: a guard on the pod may have ended it"
                    raise PodLostError(error.what, why, error.way_out) from error
                if not retries_left:
                    raise
                retries_left -= 1
                self.tell(f"{error.spoken()}\nanother pod goes on from the last checkpoint")

    @property
    def bad_places(self) -> list[Place]:
        """Where pods of it did not come up, or failed their preflight."""
        return list(self._bad)

    def hold(self) -> None:
        """See that the run is still this client's, and that nobody asked it to leave.

        Raises:
            PodTakenError: another one took it over.
        """
        self.look()
        self.keep_lease()

    def keep_lease(self) -> None:
        """See that the run is still this client's, also while it leaves: a pod is ended before.

        Raises:
            PodTakenError: another one took it over.
        """
        if self.lease is not None:
            self.lease.renew()

    def stays_on(self, record: PodRecord) -> str:
        """That a pod is not ended, what that costs, and how to end it."""
        bills = f" and bills ${record.price_per_h:.2f}/h" if record.price_per_h else ""
        return f"pod {record.pod_id} stays on{bills}; `moola pod down {self.run}` ends it"

    def find(self) -> tuple[PodRecord, RunOnPod] | None:
        """The pod that the run has now, connected; None where it has none."""
        alive = [pod for pod in self.provider.find(self.run) if pod.owner == self.ledger.owner]
        for record in alive:
            pod = self.connect(record)
            if pod is not None:
                return record, pod
        return None

    def found(self) -> tuple[PodRecord, RunOnPod]:
        """The pod that the run has now, connected.

        Raises:
            PodError: it has none, or that does not answer: what became of it, and what of its work is here.
        """
        found = self.find()
        if found is None:
            raise self.what_became()
        return found

    def what_became(self) -> PodError:
        """Why there is no pod that answers; one that is gone is written down where nobody else works on the run."""
        alone = self.lease is not None or not self.ledger.is_leased(self.run)
        return what_became(self.run, self.provider, self.ledger, self.folder, results=self._results(), may_write=alone)

    def pull(self, record: PodRecord, pod: RunOnPod) -> Ended:
        """Bring here what there is now; the pod stays as it is."""
        status = pod.status()
        outcome, published = str(status.get("outcome") or "detached"), None
        if outcome == "finished":
            published = self.timed("pull", lambda: fetch_results(self, record, pod))
            if published.came and not self.replays:
                tell_trackers(self.bundle, published.folder, self.layout.artifacts, self.tell)
        else:
            self.timed("pull", lambda: fetch_state(self, pod))
        self.tell(self.stays_on(record))
        return Ended(self.run, outcome, str(status.get("why", "")), published, seconds=self.seconds)

    def _acquire(self) -> Acquired[PodShell]:
        key = run_keys(self.layout).public_key(self.run) if self.provider.name == "runpod" else ""
        acquisition = Acquisition(
            self.provider,
            self.ledger,
            self.settings.wish,
            self.run,
            key,
            self._open,
            limits=self.settings.limits,
            tell=self.tell,
            clock=self.clock,
            bad=self._bad,
            hold=self.keep_lease,
            look=self.look,
        )
        return acquisition.acquire()

    def _open(self, target: SshTarget | LocalTarget) -> PodShell | None:
        python = self.settings.pod_python
        shell = open_shell(target, root=self.provider.root, python=python, tell=self.tell)
        if shell is not None:
            self._shells.append(shell)
        return shell

    def close(self) -> None:
        """Close every connection that was opened; what runs on pods goes on."""
        while self._shells:
            with contextlib.suppress(subprocess.SubprocessError, OSError):  # a pod that is gone need not take leave
                self._shells.pop().connection.close()

    def connect(self, record: PodRecord) -> RunOnPod | None:
        """The run on its pod over a new connection, in place of those before; None while the pod does not answer.

        Raises:
            HostKeyError: whoever answers has other keys, and the lender does not say that they are the pod's.
        """
        self.close()  # a pod that is connected to again and again keeps no client process for each time
        try:
            shell = self._opened(self.provider.target(record))
        except HostKeyError as error:
            shell = self._opened(self.provider.target(record, keys_changed=True))
            if shell is not None:
                self.tell(f"{error.what}: its lender's log has the new key, so it was started anew")
        return None if shell is None else shell.of_run(self.run)

    def _opened(self, target: SshTarget | LocalTarget | None) -> PodShell | None:
        return None if target is None else self._open(target)

    def death(self, record: PodRecord) -> str | None:
        """What the lender says of a pod that is gone; empty while it runs, None where the lender does not answer."""
        try:
            state = self.provider.status(record.pod_id)
        except PodError:
            return None
        self.ledger.add_state(record.provider, record.pod_id, state)
        return f"{state.status} {state.detail}".strip() if state.status in ("EXITED", "ERROR", "TERMINATED") else ""

    def lose(self, record: PodRecord, said: str) -> None:
        """Write down a pod that died and see to it that it does not bill, unless another command ended it."""
        self.keep_lease()
        if self.ledger.was_given_up(self.run, record.pod_id):
            return
        kept = kept_checkpoint(self.folder / "checkpoint")
        what = f"{said}; its checkpoint is here: {kept}" if kept else f"{said}; no checkpoint of it is here"
        if place := self.settings.volume_place:
            what += f"; the next pod takes what is newer in {place}/moola/{self.run}"
        is_gone = said.startswith("TERMINATED")
        self.ledger.lose_pod(record.provider, record.pod_id, self.run, what, is_gone=is_gone)
        end_pod(self.provider, record, self.ledger, "lost", clock=self.clock)

    def observed(self) -> Observed:
        """What the ledger knows of time and money."""
        pods = self.ledger.pods(self.run)
        return Observed(sum(pod.seconds for pod in pods), sum(pod.cost for pod in pods))

    def timed(self, phase: str, work: Callable[[], Any]) -> Any:
        """What `work` gives; how long it took is added to the phase's seconds."""
        began = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - began
