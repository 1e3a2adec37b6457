"""An open shell on a pod, and one run there: what it says, what it is asked, and its supervisor."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moola.errors import StorageError
from moola.pods.provider import LocalTarget
from moola.pods.watchdog import SILENCE_S, watchdog_argv
from moola.pods.wire import ConnectionLostError, LocalConnection, PodConnection, RemoteError

if TYPE_CHECKING:
    from moola.pods.ssh import SshTarget

REQUEST_S = 60.0
"""Silence after which a small request counts as lost."""
CLOCK_SKEW_S = 120.0
"""Between the pod's clock and this one, from which on it is told."""


@dataclass(frozen=True)
class PodShell:
    """A machine that answers.

    Attributes:
        connection: to it.
        root: pod root, absolute.
        python: its interpreter.
        facts: of ``hello``: ``python``, ``cores``, ``memory_bytes``, ``free_bytes``, ``time`` and more.
        skew_s: its clock minus this one.
    """

    connection: PodConnection
    root: str
    python: str
    facts: Mapping[str, Any]
    skew_s: float

    def of_run(self, run: str) -> RunOnPod:
        """One run there."""
        return RunOnPod(self, run)


def open_shell(
    target: SshTarget | LocalTarget, *, root: str, python: str, tell: Callable[[str], None] = lambda _: None
) -> PodShell | None:
    """Open a shell and have the machine say what it is; None while it does not answer.

    Args:
        target: where it is.
        root: pod root; a folder that stands for a pod is its own.
        python: the interpreter there, 3.8 or newer.
        tell: takes a line about what happens to the connection.

    Raises:
        HostKeyError: whoever answers is not the pod.
        AccessError: the key is refused.
        RemoteError: it answers and cannot be used, e.g. because it has no such Python.
    """
    if isinstance(target, LocalTarget):
        root, connection = str(target.root), LocalConnection(target.root, python=python)
    else:
        from moola.pods.ssh import SshConnection

        connection = SshConnection(target, python=python, log=tell)
    try:
        answer = connection.request("hello", {"root": root}, timeout_s=REQUEST_S)
    except ConnectionLostError as error:
        tell(error.why or error.what)
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    if wrong := _not_as(_HELLO, answer.value) or [name for name in _HELLO if name not in answer.value]:
        connection.close()
        raise _nonsense("what it says of itself", wrong, answer.value)
    skew_s = answer["time"] - (answer.sent_at + answer.took_s / 2)
    return PodShell(connection, answer["root"], python, answer.value, skew_s)


_NUMBER = (int, float)
_HELLO = {
    "time": _NUMBER,
    "root": str,
    "python": str,
    "cores": (int, type(None)),
    "memory_bytes": _NUMBER,
    "free_bytes": _NUMBER,
}
_STATUS = {"phase": str, "outcome": (str, type(None)), "why": str, "steps": dict, "armed": (dict, type(None))}
_STEP = {"exit_code": (int, type(None)), "seconds": _NUMBER}
_ARMED = {"armed": bool, "because": str}
"""What is read of answers, and its types."""


def _checked_status(status: Any) -> Mapping[str, Any]:
    """A status as far as its readers can rely on it: what it has is of the right kind.

    Raises:
        RemoteError: it is not what a supervisor writes.
    """
    if not isinstance(status, dict):
        raise _nonsense("its word about the run", ["status"], status)
    wrong = _not_as(_STATUS, status)
    if not wrong:
        wrong = [f"steps.{name}" for name, step in status.get("steps", {}).items() if _not_as(_STEP, step)]
        wrong += [f"armed.{name}" for name in _not_as(_ARMED, status.get("armed") or {})]
    if wrong:
        raise _nonsense("its word about the run", wrong, status)
    return status


def _not_as(shape: Mapping[str, Any], value: Any) -> list[str]:
    """Keys whose values are of another kind than the shape says."""
    if not isinstance(value, dict):
        return list(shape)
    return [name for name, kind in shape.items() if name in value and not isinstance(value[name], kind)]


def _nonsense(what: str, wrong: Sequence[str], answer: Any) -> RemoteError:
    why = f"{', '.join(wrong)} in {repr(answer)[:200]}"
    return RemoteError("broken", f"the pod's answer makes no sense: {what}", why, "look at the pod by hand")


@dataclass(frozen=True)
class RunOnPod:
    """A run's folder on a pod, whether or not anything is there yet.

    Attributes:
        shell: of the pod.
        run: its id.
    """

    shell: PodShell
    run: str

    @property
    def folder(self) -> str:
        """The run folder on the pod."""
        return f"{self.shell.root}/runs/{self.run}"

    @property
    def project(self) -> str:
        """In which the job works."""
        return f"{self.folder}/project"

    def status(self) -> Mapping[str, Any]:
        """What the supervisor said last; empty where none has started."""
        return _checked_status(self.read("status.json") or {})

    def job(self) -> Mapping[str, Any]:
        """What the supervisor is to do; empty where nothing was sent."""
        job = self.read("job.json") or {}
        if not isinstance(job, dict):
            raise _nonsense("what its supervisor is to do", ["job"], job)
        return job

    def read(self, name: str) -> Any:
        """A JSON file of the run folder; None where there is none."""
        path = f"runs/{self.run}/{name}"
        return self._ask("read_json", {"root": self.shell.root, "path": path})["value"]

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file into the run folder, whole or not at all."""
        self.write_all({name: value})

    def write_all(self, values: Mapping[str, Any]) -> None:
        """Write JSON files into the run folder, by name and in this order; each whole or not at all."""
        files = {f"runs/{self.run}/{name}": value for name, value in values.items()}
        self._ask("write_json", {"root": self.shell.root, "values": files})

    def tail(self, offset: int, wait_s: float) -> tuple[list[str], int]:
        """Whole lines of the log from a byte on, and the byte after them; waits so long for the first."""
        answer = self._tail(offset, wait_s)
        return answer["lines"], answer["offset"]

    def said(self, offset: int = 0) -> Iterator[tuple[str, int]]:
        """Each line that is in the log now, from a byte on, and the byte after its portion; a busy job ends it, too."""
        size = None
        while size is None or offset < size:
            answer = self._tail(offset, 0.0)
            if answer["offset"] == offset:
                return  # the rest is half a line
            size, offset = size or answer["size"], answer["offset"]
            for line in answer["lines"]:
                yield line, offset

    def _tail(self, offset: int, wait_s: float) -> Mapping[str, Any]:
        path = f"runs/{self.run}/log.jsonl"
        arguments = {"root": self.shell.root, "path": path, "offset": offset, "wait_s": wait_s}
        answer = self.shell.connection.request("tail", arguments, timeout_s=REQUEST_S + wait_s).value
        match answer:
            case {"lines": list(lines), "offset": int(), "size": int()} if all(isinstance(one, str) for one in lines):
                return answer
            case _:
                raise _nonsense("its log", ["lines, offset or size"], answer)

    def supervise(self, moola_path: str) -> None:
        """Start a supervisor, which leaves where one is at it already.

        Args:
            moola_path: folder to import moola from, relative to the project.
        """
        self._ask(
            "spawn",
            {
                "argv": [self.shell.python, "-m", "moola.pods.supervisor", self.folder],
                "cwd": self.folder,
                "environment": {"PYTHONPATH": f"{self.project}/{moola_path}"},
                "output": f"{self.folder}/supervisor.log",
            },
        )

    def watch(self, attempt: int, end: Mapping[str, Any]) -> None:
        """Have the pod end itself should this client fall silent before a supervisor is at work, or that be gone.

        Args:
            attempt: that is to be started.
            end: how the pod ends itself (`moola.pods.pod_end.PodEnd`).
        """
        wish = {"root": self.shell.root, "run": self.run, "attempt": attempt, "silence_s": SILENCE_S, "end": dict(end)}
        self._ask("spawn", {"argv": watchdog_argv(self.shell.python, wish), "cwd": self.shell.root})

    def is_supervised(self, status: Mapping[str, Any]) -> bool:
        """Whether the supervisor that wrote a status lives."""
        pid = status.get("supervisor_pid")
        started = status.get("supervisor_ticks")
        return bool(pid) and self._ask("stat_pid", {"pid": pid, "started": started})["alive"]

    def remove(self, *, keep_cache: bool) -> None:
        """Delete its folder there; without `keep_cache` also objects and environments, unless another run is there.

        Raises:
            StorageError: something could not be deleted.
        """
        arguments = {"root": self.shell.root, "run": self.run, "keep_cache": keep_cache}
        left = self._ask("remove_run", arguments)["left"]
        if left:
            why = ", ".join(left)
            raise StorageError(
                f"not all of {self.run} could be deleted on the host", why, "delete the rest there by hand"
            )

    def spoken(self) -> str:
        """Where it is, for people."""
        return f"{self.shell.connection.describe()}:{shlex.quote(self.folder)}"

    def _ask(self, action: str, arguments: Mapping[str, Any]) -> Any:
        return self.shell.connection.request(action, arguments, timeout_s=REQUEST_S).value
