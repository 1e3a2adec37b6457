"""Following a run on a pod: its lines from the exact byte on, its status, and what to do when it falls silent.

What was read is kept in a file that is, byte for byte, the beginning of the pod's log: its length is where the next
request goes on, whichever client asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.pods.clock import Clock
from moola.pods.log_records import read_record
from moola.pods.provider import PodError, SilentPodError
from moola.pods.session import RunOnPod
from moola.pods.ssh import HostKeyError
from moola.pods.supervisor import SELF
from moola.pods.wire import ConnectionLostError

POLL_S = 5.0
"""The longest that a request waits for a line."""
SILENT_HEART_S = 60.0
"""After which a supervisor that says nothing is looked for, and started anew where it is gone."""
FINAL_PHASES = ("waiting", "ending", "over")
"""Phases in which the job has ended."""


class PodLostError(PodError):
    """The pod died under the run: its lender says so.

    Args:
        what: as of every error.
        why: what the lender said.
        way_out: as of every error.
        may_be_its_guard: nobody looked for longer than a guard on the pod needs to end it.
    """

    def __init__(self, what: str, why: str = "", way_out: str = "", *, may_be_its_guard: bool = False) -> None:
        super().__init__(what, why, way_out)
        self.may_be_its_guard = may_be_its_guard


def log_copies(folder: Path) -> list[Path]:
    """Copies of the logs of a run's pods, the oldest first; `folder` is where what came back of the run is kept."""
    return sorted((folder / "logs").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)


class LogCopy:
    """What of a pod's log is here.

    Args:
        path: the file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes that are here, all of them whole lines."""
        return self.path.stat().st_size if self.path.exists() else 0

    def add(self, lines: list[str], before: int, after: int) -> list[Mapping[str, Any]]:
        """Append lines that came from the byte `before` on; what they say.

        Raises:
            PodError: they are not those bytes: the log is another one, or another client writes this copy.
        """
        content = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        if len(content) != after - before or before != self.size:
            raise PodError(
                "the log of the run does not go on where it was; the run itself does",
                f"byte {before:,} of {self.path}",
                "move that file away: `moola pod attach RUN` then reads the log from its beginning",
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as handle:
            handle.write(content)
        return [read_record(line) for line in lines]

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Everything that is here: n, at, step, text."""
        if self.path.exists():
            with self.path.open(errors="replace") as handle:
                for line in handle:
                    if line.endswith("\n"):  # else a client was killed while it wrote
                        yield read_record(line.removesuffix("\n"))

    def mend(self) -> None:
        """Cut off a line that a kill tore."""
        if self.size:
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with self.path.open("r+b") as handle:
                    handle.truncate(whole)


@dataclass
class Following:
    """Follows one attempt of a run to the end of its job.

    Attributes:
        reconnect: gives the run on its pod, over a new connection where the old one broke; None while it cannot.
        moola_path: folder to import moola from on the pod.
        log: takes the lines.
        show: is given each line.
        tell: is told what happens beside them.
        every: is called between two looks, with the status.
        is_dead: asks the lender whether the pod is gone for good; what it said, or an empty text. None: the lender
            does not answer either, so that nothing is known of the pod and the fault may be at this end.
        patience_s: how long the pod alone may not answer before it is left alone; sleep of this machine aside.
        grace_s: that a guard on the pod gives its client before it ends the pod.
        clock: for tests.
    """

    reconnect: Callable[[], RunOnPod | None]
    moola_path: str
    log: LogCopy
    show: Callable[[Mapping[str, Any]], None]
    tell: Callable[[str], None]
    every: Callable[[RunOnPod, Mapping[str, Any]], None] = lambda pod, status: None
    is_dead: Callable[[], str | None] = lambda: ""
    patience_s: float = 900.0
    grace_s: float = float("inf")
    clock: Clock = field(default_factory=Clock)
    _told: bool = field(default=False, init=False)
    _is_armed: bool = field(default=False, init=False)
    _seen_at: float = field(default=0.0, init=False)

    def follow(self, pod: RunOnPod) -> tuple[RunOnPod, Mapping[str, Any]]:
        """Stay until the job has ended; the pod as it is connected then, and its last status.

        Raises:
            PodLostError: the pod is gone, or the run on it.
            HostKeyError: somebody else answered for `patience_s`.
            SilentPodError: it did not answer for `patience_s`, though its lender has it.
        """
        self.log.mend()
        self._seen_at = self.clock.now()
        heart, looked = _Heart(self.clock), self.clock.monotonic()
        while True:
            try:
                if self._read(pod, POLL_S) and not self._told and self.clock.monotonic() - looked < POLL_S:
                    continue  # there may be more
                looked = self.clock.monotonic()
                status = pod.status()
                if not status:
                    why = "its disk is new: its container was started anew, or its folder was deleted"
                    raise PodLostError("the run is not on its pod any more", why)
                self._is_armed, self._seen_at = bool((status.get("armed") or {}).get("armed")), self.clock.now()
                if status.get("phase") in FINAL_PHASES:
                    _check_final(status)
                    self._read_rest(pod)
                    return pod, status
                if heart.is_silent(status):
                    self._revive(pod, status)
                self.every(pod, status)
            except (ConnectionLostError, HostKeyError) as error:
                pod = self.wait_for(error)

    def _read(self, pod: RunOnPod, wait_s: float) -> bool:
        before = self.log.size
        lines, after = pod.tail(before, wait_s)
        records = self.log.add(lines, before, after)
        for record in records:
            self.show(record)
        self._told = any(record["step"] == SELF for record in records)
        return after > before

    def _read_rest(self, pod: RunOnPod) -> None:
        while self._read(pod, 0.0):
            pass

    def _revive(self, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        if not pod.is_supervised(status):
            self.tell("the supervisor on the pod is gone; starting another")
            pod.supervise(self.moola_path)

    def wait_for(self, error: MoolaError) -> RunOnPod:
        """The run over a connection that works again.

        Raises:
            PodLostError: the pod is gone.
            HostKeyError: somebody else answered for `patience_s`.
            SilentPodError: it did not answer for `patience_s`, though its lender has it.
        """
        waited_s, pause_s, cut_off = 0.0, 1.0, False
        refusal: HostKeyError | None = None
        self.tell(f"{error.what} ({error.why}); the run goes on, connecting again")
        while waited_s < self.patience_s:
            began, said = self.clock.monotonic(), self.is_dead()
            if said:
                unseen_s = self.clock.now() - self._seen_at
                by_guard = self._is_armed and unseen_s > self.grace_s
                raise PodLostError("the pod is gone", said, may_be_its_guard=by_guard)
            if said is None and not cut_off:
                self.tell("its lender does not answer either: this machine may be off the network; waiting for it")
            cut_off = said is None
            try:
                pod = self.reconnect()
                if pod is not None:
                    self.tell("connected again")
                    return pod
                refusal = None
            except HostKeyError as stranger:  # an old port may lead to another pod for a while
                if refusal is None:
                    self.tell(f"{stranger.what}; nothing is sent to it")
                refusal = stranger
            except (ConnectionLostError, PodError):  # its lender may not say where it is
                refusal = None
            self.clock.sleep(pause_s)
            pause_s = min(2 * pause_s, 30.0)
            waited_s += 0.0 if cut_off else self.clock.monotonic() - began
        if refusal is not None:
            raise refusal
        raise SilentPodError(
            "the pod does not answer", f"not for {waited_s:.0f} s: {error.why}", "its lender still has it"
        )


def _check_final(status: Mapping[str, Any]) -> None:
    """See that a job that has ended says how.

    Raises:
        PodError: it does not.
    """
    missing = [name for name in ("outcome", "why") if not isinstance(status.get(name), str)]
    if missing:
        why = f"it has ended ({status['phase']}) without {' and '.join(missing)}"
        raise PodError("the pod's last word about the run makes no sense", why, "look at the pod by hand")


class _Heart:
    """Whether a status has not changed for too long while this machine was awake to see it."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._seen, self._since = clock, "", clock.monotonic()

    def is_silent(self, status: Mapping[str, Any]) -> bool:
        now, beat = self._clock.monotonic(), str(status.get("at"))
        if beat != self._seen:
            self._seen, self._since = beat, now
        if now - self._since < SILENT_HEART_S:
            return False
        self._since = now
        return True
