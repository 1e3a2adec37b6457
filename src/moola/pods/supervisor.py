"""The process that stays on a pod: runs the steps of a job, keeps their output, and ends what must end.

``python3 -m moola.pods.supervisor RUN_FOLDER`` reads ``job.json`` there. It needs no client: connections may break, and
laptops sleep. What it writes is the only word about the run: ``status.json`` (replaced as a whole) and ``log.jsonl``
(one numbered line for each line of output). Started again, it goes on with the first step that is not done; started
twice, the second one leaves.

Standard library only, Python 3.8 or newer: this file travels to the pod.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moola.pods.clock import Clock
from moola.pods.guards import Observed, PricedLimits, judge, left_s
from moola.pods.pod_end import PodEnd
from moola.pods.run_files import Ballast, read_object, write_object
from moola.pods.run_watch import EventWatch, GpuWatch
from moola.pods.step_process import LineLog, StepProcess, kill_session, now_utc, start_ticks
from moola.pods.volume_copies import VolumeCopies

HEARTBEAT_S = 5.0
"""Between two writings of the status, where nothing changes."""
TICK_S = 0.1
SELF = "supervisor"
"""The step that its own lines in the log belong to."""
_UNKILLABLE_S = 5.0
"""After SIGKILL: a process that waits for a broken disk or driver is not waited for, the pod bills meanwhile."""
_RESTART_LOOK_S = 5.0
_CANNOT_START, _KILLED = 127, -9
_FULL_BYTES = 1 << 20
"""Free on a disk that is full for all that a run writes."""


class Supervisor:
    """Carries out the job of one run folder.

    Args:
        folder: of the run on the pod; holds ``job.json`` and ``project/``.
        clock: for tests.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder, self.job, self.clock = folder, read_object(folder / "job.json"), clock or Clock()
        self.limits = PricedLimits(**self.job.get("guards", {}))
        self.log = LineLog(folder / "log.jsonl")
        self.end = PodEnd(self.job.get("end", {}))
        self.copies = VolumeCopies(self.job.get("volume", {}), folder / "project", self.clock.monotonic)
        self.ballast = Ballast(folder)
        self.signal = 0
        self._is_there: Callable[[], bool] = lambda: True
        before = read_object(folder / "status.json")
        self._started, self._written = self.clock.monotonic(), float("-inf")
        self._billed_before_s = _billed_before(self.job, before, self.clock)
        self.status: dict[str, Any] = {
            "run": self.job["run"],
            "attempt": self.job.get("attempt", 1),
            "phase": "starting",
            "outcome": None,
            "why": "",
            "step": None,
            "pid": None,
            "pid_ticks": None,
            "supervisor_pid": os.getpid(),
            "supervisor_ticks": str(start_ticks(os.getpid())),
            "steps": before.get("steps", {}),
            "armed": None,
            "kept": self.copies.kept,
        }
        _end_leftover(before)

    def run(self) -> str:
        """Everything, to the end of the pod where it is this side's to end; how the job ended."""
        self.ballast.take()
        self.tell(force=True)
        armed = self.end.probe()
        self.status["armed"] = {"armed": armed.armed, "because": armed.because}
        with _held(self.folder / "project") as self._is_there:
            outcome, why = self._steps()
        self._tell_of_copies(self.copies.begin(self.billed_s()))
        self.status.update(phase="waiting", outcome=outcome, why=why, step=None, pid=None, pid_ticks=None)
        self.ballast.drop()  # the client writes here, too
        self.say(f"the job is {outcome}" + (f": {why}" if why else ""))
        if self._wait(outcome):
            self._end()
        self.copies.stop()
        self.status["phase"] = "over"
        self.tell(force=True)
        return outcome

    def _steps(self) -> tuple[str, str]:
        """Run what is not done; how it ended, and why."""
        for step in self.job["steps"]:
            if self._is_done(step):
                continue
            (code, outcome, why), left = self._step(step), int(step.get("restarts", 0))
            while code and not outcome and left and self._is_there():
                self.say(f"step {step['name']} is started anew, {left} times at most")
                (code, outcome, why), left = self._step(step), left - 1
            if outcome:
                return outcome, why
            if code:
                return "failed", f"step {step['name']} ended with exit code {code}"
        return "finished", ""

    def _is_done(self, step: dict[str, Any]) -> bool:
        known = self.status["steps"].get(step["name"], {})
        return known.get("exit_code") == 0 and known.get("digest") == _digest(step)

    def _step(self, step: dict[str, Any]) -> tuple[int, str, str]:
        """Run one step; its exit code, and what ended it from outside and why."""
        record: dict[str, Any] = {"digest": _digest(step), "started": now_utc(), "ended": None, "exit_code": None}
        self.status["steps"][step["name"]] = record
        try:
            process = StepProcess(step, self.folder / "project", self.log)
        except OSError as error:
            self.log.write(step["name"], f"{step['argv'][0]}: {error.strerror}")
            record.update(ended=now_utc(), exit_code=_CANNOT_START)
            return _CANNOT_START, "", ""
        self.status.update(phase="running", step=step["name"], pid=process.pid, pid_ticks=start_ticks(process.pid))
        self.tell(force=True)
        began = self.clock.monotonic()
        code, outcome, why = self._attend(process, step)
        record.update(ended=now_utc(), exit_code=code, seconds=round(self.clock.monotonic() - began, 3))
        self.log.write(SELF, f"step {step['name']} ended with exit code {code} after {record['seconds']:.1f} s")
        if code and not outcome and not self._is_there():
            why = "its folder was deleted while it ran; the same command sends it anew"
            return code, "failed", f"step {step['name']} ended with exit code {code}: {why}"
        if code and not outcome and (process.no_space or self._free_bytes() < _FULL_BYTES):
            way_out = "the same command goes on from its checkpoint on a pod with a larger disk (pod.disk_gb=...)"
            return code, "failed", f"step {step['name']} ended with exit code {code}: its disk is full; {way_out}"
        return code, outcome, why

    def _attend(self, process: StepProcess, step: dict[str, Any]) -> tuple[int, str, str]:
        """Stay with a step until it ends; end it where a guard, a signal or the client says so."""
        events, gpus = EventWatch(self.folder / "project" / "artifacts" / "results"), GpuWatch()
        began = heard = self.clock.monotonic()
        outcome, why, kill_at = "", "", float("inf")
        while True:
            said, code = process.pump(TICK_S)
            if code is not None:
                gpus.stop()
                return code, outcome, why
            at = self.clock.monotonic()
            if events.look() or said:
                heard = at
            if step.get("guarded"):
                gpus.look(at)
                self._tell_of_copies(self.copies.look(self.billed_s()))
            idle_s, silent_s = (gpus.idle_s, at - heard) if step.get("guarded") else (None, None)
            observed = Observed(self.billed_s(), self.spent(), idle_s, silent_s, events.bad_loss)
            self.status["observed"] = vars(observed)
            if not outcome:
                outcome, why = self._reason_to_end(observed, step, at - began)
                if outcome:
                    kill_at = at + self.limits.checkpoint_s
                    self.status.update(phase="stopping", outcome=outcome, why=why)
                    process.kill(signal.SIGTERM)
            elif at >= kill_at + _UNKILLABLE_S:
                process.abandon()
                gpus.stop()
                return _KILLED, outcome, f"{why}; step {step['name']} could not be killed"
            elif at >= kill_at:
                process.kill(signal.SIGKILL)
            self.tell()

    def _stop_why(self) -> str:
        """Why somebody wants the job to end; empty: nobody does."""
        if self.signal:
            return f"the supervisor got {signal.Signals(self.signal).name}"
        request = self.request("stop")
        return str(request.get("why") or "stopped") if request else ""

    def _reason_to_end(self, observed: Observed, step: dict[str, Any], taken_s: float) -> tuple[str, str]:
        if why := self._stop_why():
            return "stopped", why
        verdict = judge(self.limits, observed)
        if verdict:
            return verdict.guard, verdict.why
        limit_s = step.get("limit_s")
        if limit_s is not None and taken_s >= limit_s:
            return "failed", f"step {step['name']} took longer than {limit_s:g} s"
        return "", ""

    def _wait(self, outcome: str) -> bool:
        """Wait for the client to fetch what there is, and for the last copy; whether the pod is this side's to end.

        A job that ended by itself, and did more than keep the pod for others, waits until a guard speaks or somebody
        asks it to stop, then `grace_min` as any other does: neither longer than deadline and budget allow. Only the
        copy may pass those, and that no further than a checkpoint may take. A client that starts the run again on this
        pod has the supervisor leave.
        """
        ends = self.job.get("end", {}).get("kind") == "runpod"
        grace_s = self.limits.grace_min * 60
        until = self.clock.monotonic() + grace_s if ends else float("-inf")
        if ends and outcome in ("finished", "failed") and not self.job.get("keeps"):
            until = float("inf")
        while not self.request("pulled"):
            if self.request("restart"):
                return False
            observed = Observed(self.billed_s(), self.spent())
            verdict, allowed_s = judge(self.limits, observed), left_s(self.limits, observed)
            if until == float("inf") and (verdict or self._stop_why()):
                until = self.clock.monotonic() + grace_s
                why = f"{verdict.guard}: {verdict.why}" if verdict else self._stop_why()
                self.status["why"] = f"{self.status['why']}; {why}".lstrip("; ")
            wait_s = min(until - self.clock.monotonic(), allowed_s)
            if wait_s <= 0 and not (self.copies.is_busy and allowed_s > -self.limits.checkpoint_s):
                break
            self.status["ends_in_s"] = round(max(wait_s, 0.0), 1) if ends and wait_s < float("inf") else None
            was_busy = self.copies.is_busy
            self._tell_of_copies(self.copies.attend())
            self.tell(force=was_busy and not self.copies.is_busy)  # a client may wait for it
            self.clock.sleep(TICK_S)
        return ends

    def _end(self) -> None:
        """End the pod, and ask again where that is not taken; only a client that starts the run again stops that."""
        self.status.update(phase="ending", pulled=bool(self.request("pulled")))
        self.tell(force=True)

        def try_again(because: str, pause_s: float) -> bool:
            self.status["not_ended"] = because
            self.tell(force=True)
            until = self.clock.monotonic() + pause_s
            while self.clock.monotonic() < until and not self.request("restart"):
                self.clock.sleep(min(_RESTART_LOOK_S, pause_s))
            return not self.request("restart")

        self.status["not_ended"] = self.end.insist(try_again)

    def _tell_of_copies(self, news: str) -> None:
        if news:
            self.say(news)

    def _free_bytes(self) -> int:
        room = os.statvfs(str(self.folder))
        return room.f_frsize * room.f_bavail

    def say(self, line: str) -> None:
        """A word of the supervisor's own in the log, after the status: whoever waits for a line then reads both."""
        self.tell(force=True)
        self.log.write(SELF, line)

    def request(self, name: str) -> dict[str, Any] | None:
        """What the client asks for (``stop``, ``pulled``, ``restart``) of this attempt, if anything."""
        request = read_object(self.folder / f"{name}.json")
        return request if request.get("attempt") == self.status["attempt"] else None

    def billed_s(self) -> float:
        """Seconds since the first pod of the run began to bill."""
        return self._billed_before_s + self.clock.monotonic() - self._started

    def spent(self) -> float:
        """What the run has cost up to now."""
        own_s = self.billed_s() - self.job.get("billed_s", 0.0)
        return self.job.get("spent", 0.0) + own_s / 3600 * self.limits.price_per_h

    def tell(self, force: bool = False) -> None:
        """Write the status where it is due; a full disk gets the ballast for it, once.

        The file's time is the heartbeat that `moola.pods.watchdog` looks at, so it goes on where the disk is full.
        """
        at = self.clock.monotonic()
        if not force and at - self._written < HEARTBEAT_S:
            return
        self._written = at
        self.status.update(at=now_utc(), at_s=self.clock.now(), boot=_boot(), boot_s=at)
        self.status.update(billed_s=self.billed_s(), log_lines=self.log.n, lost_lines=self.log.lost)
        self.status["copying"] = self.copies.is_busy
        for _ in range(2):
            try:
                write_object(self.folder / "status.json", self.status)
                return
            except OSError:
                self.ballast.drop()
        with contextlib.suppress(OSError):
            os.utime(str(self.folder / "status.json"))


def main(words: list[str]) -> int:
    """Supervise the run of one folder; 0 also where another supervisor is at it."""
    folder = Path(words[0])
    with (folder / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another supervisor is at this run")
            return 0
        supervisor = Supervisor(folder)

        def remember(number: int, frame: object) -> None:
            supervisor.signal = number

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, remember)
        return 0 if supervisor.run() == "finished" else 1


def _billed_before(job: dict[str, Any], before: dict[str, Any], clock: Clock) -> float:
    """Seconds billed up to now: as the client said, or as an earlier supervisor of the same job did.

    The time between the two is taken from the clock that nobody can set, unless the machine was started anew.
    """
    said = float(job.get("billed_s", 0.0))
    if before.get("attempt") != job.get("attempt", 1) or "at_s" not in before:
        return said
    same_boot = before.get("boot") == _boot()
    since_s = clock.monotonic() - before["boot_s"] if same_boot else clock.now() - before["at_s"]
    return max(said, before["billed_s"] + max(0.0, since_s))


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[Callable[[], bool]]:
    """Gives whether a folder is the one that it was; a job makes one that was deleted anew as soon as it writes."""
    handle = os.open(str(folder), os.O_RDONLY) if folder.is_dir() else None  # open, its number goes to no other

    def is_there() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return handle is None or os.path.samestat(os.fstat(handle), os.stat(str(folder)))
        return False

    try:
        yield is_there
    finally:
        if handle is not None:
            os.close(handle)


def _boot() -> str:
    """Names the time since the machine was started; empty where nothing tells."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _end_leftover(before: dict[str, Any]) -> None:
    """End the step of a supervisor that was killed: its output goes nowhere, and it would be in the way of the next."""
    pid, ticks = before.get("pid"), before.get("pid_ticks")
    if not pid or ticks is None or start_ticks(pid) != ticks:
        return
    kill_session(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while start_ticks(pid) == ticks and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_session(pid, signal.SIGKILL)


def _digest(step: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(step, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
