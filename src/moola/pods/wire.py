"""How a client asks a pod for something: one process a request, JSON and bytes in, frames out, over any connection."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.resources
import itertools
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, Self, cast

from moola.errors import EXIT_POD, MoolaError, StorageError
from moola.pods.remote.helper import FRAME, GREETING

MODULES = ("files", "rows", "objects", "results", "processes", "clearing", "helper")
"""Of `moola.pods.remote`, each after those it imports."""
BOOTSTRAP = (
    "import json,sys;f=sys.stdin.buffer;r=json.loads(f.read(int(f.readline())));"
    '[exec(compile(t,n,"exec"),sys.modules.setdefault(n,type(sys)(n)).__dict__) for n,t in r["modules"]];'
    'sys.modules["moola.pods.remote.helper"].main(r)'
)
"""The whole program that a pod is told to run: it makes modules of the text that comes on its stdin, and calls them."""
PYTHON_OPTIONS = ("-I", "-S", "-X", "utf8")
"""Nothing of the pod's own set-up takes part, and file names are UTF-8 whatever its locale says."""
MOST_NOISE = 64 * 1024
"""Bytes that login scripts may print before the answer."""
MOST_ANSWER = 64 * 1024 * 1024
"""Bytes of one frame; a pod that announces more is not believed."""
_BLOCK = 256 * 1024


class ConnectionLostError(MoolaError):
    """The connection broke or fell silent; what a pod was doing by itself goes on, and the request may be repeated."""

    exit_code = EXIT_POD


class RemoteError(StorageError):
    """The pod could not do what it was asked.

    Args:
        kind: "refused", "disk_full", "changed", "missing", "cut" or "broken".
    """

    def __init__(self, kind: str, what: str, why: str = "", way_out: str = "") -> None:
        super().__init__(what, why, way_out)
        self.kind = kind


@dataclass(frozen=True)
class Answer:
    """What a pod said.

    Attributes:
        value: the answer as `moola.pods.remote` describes it.
        sent_at: Unix time at which the request left, seconds.
        took_s: until the whole answer was there.
    """

    value: Mapping[str, Any]
    sent_at: float
    took_s: float

    def __getitem__(self, name: str) -> Any:
        return self.value[name]


class PodConnection(Protocol):
    """A shell on a machine, whatever leads there. Several threads may ask at the same time."""

    def request(
        self,
        action: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float,
        body: Iterable[bytes] = (),
        sink: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Have the pod run one of the actions of `moola.pods.remote`.

        Args:
            action: its name.
            arguments: its arguments.
            timeout_s: the longest silence, in which no byte moved either way; of a request without bytes, all of it.
            body: bytes that the action takes.
            sink: takes the bytes that the action gives, in parts of any size.

        Raises:
            ConnectionLostError: the connection broke or fell silent; the request may be repeated.
            RemoteError: the pod refused, with its reason.
        """
        ...

    def start(
        self, argv: Sequence[str], *, cwd: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a program on the pod: its output and exit code are those of the process given back."""
        ...

    def describe(self) -> str:
        """Where it leads, for people."""
        ...

    def close(self) -> None:
        """End it; what was started on the pod with ``spawn`` goes on."""
        ...


def helper_argv(python: str) -> list[str]:
    """The one command that runs on pods."""
    return [python, *PYTHON_OPTIONS, "-c", BOOTSTRAP]


@functools.cache
def _modules() -> list[tuple[str, str]]:
    package = "moola.pods.remote"
    folder = importlib.resources.files(package)
    package_itself = (package, "")  # `from package import module` asks it, and finds its modules as attributes
    return [package_itself, *((f"{package}.{name}", (folder / f"{name}.py").read_text()) for name in MODULES)]


def encode_request(action: str, arguments: Mapping[str, Any]) -> bytes:
    """What goes to the pod's stdin before the bytes of a body."""
    content = json.dumps({"modules": _modules(), "action": action, "arguments": dict(arguments)}).encode()
    return b"%d\n%s" % (len(content), content)


def ask(
    argv: Sequence[str],
    action: str,
    arguments: Mapping[str, Any],
    *,
    timeout_s: float,
    body: Iterable[bytes] = (),
    sink: Callable[[bytes], None] | None = None,
    cwd: Path | None = None,
) -> Answer:
    """Run `argv`, which leads to `helper_argv` on a pod, and have it answer; see `PodConnection.request`."""
    sent_at, started = time.time(), time.monotonic()
    frames = _Frames(sink)
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd=cwd
    )
    try:
        content = itertools.chain([encode_request(action, arguments)], body)
        complaint = _exchange(process, content, frames, timeout_s)
        if frames.answer is None:
            raise _no_answer(process.wait(timeout_s), complaint + _rest_of(process.stderr), frames.noise)
    except subprocess.TimeoutExpired as error:
        raise _silence(timeout_s) from error
    finally:
        _end(process)
    if frames.refusal is not None:
        raise frames.refusal
    return Answer(frames.answer, sent_at, time.monotonic() - started)


def _exchange(process: subprocess.Popen[bytes], content: Iterator[bytes], frames: _Frames, timeout_s: float) -> str:
    """Write and read at the same time until the answer is whole or the other side has ended; returns its complaints."""
    stdin, stdout, stderr = cast(
        "tuple[IO[bytes], IO[bytes], IO[bytes]]", (process.stdin, process.stdout, process.stderr)
    )
    complaint, rest = bytearray(), memoryview(b"")
    for pipe in (stdin, stdout, stderr):
        os.set_blocking(pipe.fileno(), False)
        _widen(pipe)
    with selectors.DefaultSelector() as watched:
        watched.register(stdin, selectors.EVENT_WRITE)
        watched.register(stdout, selectors.EVENT_READ)
        watched.register(stderr, selectors.EVENT_READ)
        while frames.answer is None and stdout in watched.get_map():
            events = watched.select(timeout_s)
            if not events:
                raise _silence(timeout_s)
            for key, _ in events:
                if key.fileobj is stdin:
                    rest = rest or memoryview(next(content, b""))
                    if not rest or not (sent := _write(stdin, rest)):
                        watched.unregister(stdin)
                        stdin.close()
                    else:
                        rest = rest[sent:]
                    continue
                block = key.fileobj.read(_BLOCK)  # type: ignore[union-attr] - one of the two pipes
                if not block:
                    watched.unregister(key.fileobj)
                elif key.fileobj is stdout:
                    frames.feed(block)
                else:
                    complaint[:] = (complaint + block)[-MOST_NOISE:]
    return complaint.decode(errors="replace")


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more than 64 KiB where the system can: processes then wait for each other less often."""
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _BLOCK * 4)


def _rest_of(pipe: IO[bytes] | None) -> str:
    return ((pipe and pipe.read()) or b"").decode(errors="replace")


def _write(pipe: IO[bytes], content: memoryview) -> int:
    """Bytes that the pipe took; none when nobody reads any more, who then says why."""
    with contextlib.suppress(BrokenPipeError, BlockingIOError):
        return os.write(pipe.fileno(), content)
    return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process and no pipe behind."""
    if process.stdin and not process.stdin.closed:
        process.stdin.close()
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


class _Frames:
    """Puts an answer together as its bytes arrive."""

    def __init__(self, sink: Callable[[bytes], None] | None) -> None:
        self.sink = sink
        self.answer: Mapping[str, Any] | None = None
        self.refusal: RemoteError | None = None
        self.noise = b""
        self._buffer, self._greeted, self._left = bytearray(), False, 0

    def feed(self, block: bytes) -> None:
        """Take the next bytes."""
        self._buffer += block
        if not self._greeted:
            self._greet()
        while self._greeted and self._frame():
            pass

    def _greet(self) -> None:
        noise, self._greeted = bytes(self._buffer).partition(GREETING)[0], GREETING in self._buffer
        self.noise = noise[:MOST_NOISE]
        if self._greeted:
            del self._buffer[: len(noise) + len(GREETING)]
        elif len(self._buffer) > MOST_NOISE:
            raise RemoteError("broken", "the pod talks but does not answer", repr(noise[:200]), _QUIET)

    def _frame(self) -> bool:
        if self._left:
            part = bytes(self._buffer[: self._left])
            self._left -= len(part)
            del self._buffer[: len(part)]
            self._take(part)
            return bool(part)
        if len(self._buffer) < FRAME.size or self.answer is not None:
            return False
        kind, length = FRAME.unpack_from(self._buffer)
        if length > MOST_ANSWER or kind not in (b"D", b"A", b"E"):
            raise RemoteError("broken", "the pod's answer makes no sense", repr(bytes(self._buffer[:40])))
        if kind == b"D":
            del self._buffer[: FRAME.size]
            self._left = length
            return True
        if len(self._buffer) < FRAME.size + length:
            return False
        self._end(kind, bytes(self._buffer[FRAME.size : FRAME.size + length]))
        return False

    def _take(self, part: bytes) -> None:
        if self.sink is None:
            raise RemoteError("broken", "the pod sends bytes that nobody asked for")
        self.sink(part)

    def _end(self, kind: bytes, content: bytes) -> None:
        try:
            self.answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RemoteError("broken", "the pod's answer is not JSON", str(error)) from error
        if not isinstance(self.answer, dict):
            raise RemoteError("broken", "the pod's answer is not a JSON object", repr(content[:200]))
        if kind == b"E":
            told = {name: str(self.answer.get(name, "")) for name in ("kind", "what", "why")}
            self.refusal = RemoteError(**told, way_out=_WAYS_OUT.get(told["kind"], ""))


_QUIET = "log in by hand and see what it prints; its start-up files must be silent where there is no terminal"
_WAYS_OUT = {
    "disk_full": "ask for a pod with a larger disk, or delete old runs below its root",
    "cut": "the same command sends the rest",
}


def _silence(timeout_s: float) -> ConnectionLostError:
    return ConnectionLostError("the pod fell silent", f"not a byte in {timeout_s:g} s", "try again; the run goes on")


def _no_answer(code: int, complaint: str, noise: bytes) -> MoolaError:
    """What it means when the other side ended without an answer."""
    why = (complaint.strip() or noise.decode(errors="replace").strip() or "it said nothing").splitlines()[-1]
    if code == _SSH_FAILED or code < 0:
        return ConnectionLostError("the connection to the pod broke", why, "try again; the run goes on")
    if code in (126, 127):
        return RemoteError(
            "broken",
            "the pod has no Python that can be run",
            why,
            "name its interpreter, 3.8 or newer, with --python PATH",
        )
    return RemoteError("broken", f"the pod ended with code {code} instead of an answer", why)


_SSH_FAILED = 255


class LocalConnection:
    """A folder of this machine as a pod: the same helper over the same wire, by a subprocess in a folder.

    Args:
        folder: in which the processes work; it is made.
        python: the interpreter, 3.8 or newer.
    """

    def __init__(self, folder: Path, *, python: str = sys.executable) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.python = folder, python

    def request(
        self,
        action: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float,
        body: Iterable[bytes] = (),
        sink: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """See `PodConnection.request`."""
        argv = helper_argv(self.python)
        if not self.folder.is_dir():
            raise ConnectionLostError("the folder that stands for a pod is gone", str(self.folder))
        return ask(argv, action, arguments, timeout_s=timeout_s, body=body, sink=sink, cwd=self.folder)

    def start(
        self, argv: Sequence[str], *, cwd: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """See `PodConnection.start`."""
        return start(helper_argv(self.python), argv, cwd, environment)

    def describe(self) -> str:
        """See `PodConnection.describe`."""
        return str(self.folder)

    def close(self) -> None:
        """See `PodConnection.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start(
    lead: Sequence[str], argv: Sequence[str], cwd: str, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    """Run a program on the pod to which `lead` leads; see `PodConnection.start`."""
    process = subprocess.Popen(lead, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    arguments = {"argv": list(argv), "cwd": cwd, "environment": dict(environment or {})}
    with contextlib.suppress(BrokenPipeError):  # its exit code and stderr say why
        assert process.stdin is not None
        process.stdin.write(encode_request("execute", arguments))
        process.stdin.close()
    process.stdin = None  # so that `communicate` works
    return process
