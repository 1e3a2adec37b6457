"""Pods without a cloud: sshd of this machine on a loopback port, and a proxy that breaks connections."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_runpod import FakeRunpod, PodPlan, QuietSshd, Spec

from moola.pods.bundle import Bundle, BundledFile
from moola.pods.ssh import SshConnection, SshTarget
from moola.pods.wire import LocalConnection

_SPEC = Path(__file__).parents[2] / "../shared/data/runpod-openapi-v2.json"
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
SetEnv SHLVL=2
{more}
"""


class Sshd:
    """One machine with an sshd: its own port, host key, client key and pod root.

    SHLVL keeps bash from reading .bashrc, which may hold anything and take any time.

    Attributes:
        root: its pod root.
        key: the private key that it takes.
        port: it listens there from `start` on, the same one after `stop`.
    """

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder, self.root, self.key = folder, folder / "root", folder / "client_key"
        folder.mkdir(parents=True)
        self.port, self._more = free_port(), more
        self._process: subprocess.Popen[bytes] | None = None
        make_key(self.key)
        self.new_host_key()

    def new_host_key(self) -> None:
        """Become a machine that nobody knows, from the next `start` on."""
        (self.folder / "host_key").unlink(missing_ok=True)
        make_key(self.folder / "host_key")

    @property
    def host_key(self) -> str:
        """``ssh-ed25519 AAAA...``."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def start(self) -> None:
        """Listen, and return when it does."""
        binary = find_sshd()
        config = self.folder / "sshd_config"
        config.write_text(_CONFIG.format(port=self.port, folder=self.folder, more=self._more))
        argv = [binary, "-D", "-f", str(config), "-E", str(self.folder / "log")]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.01)
        raise AssertionError("sshd does not listen")

    def stop(self) -> None:
        """Vanish, with every connection and whatever these run."""
        import psutil

        if self._process is None:
            return
        processes = [psutil.Process(self._process.pid)]
        with contextlib.suppress(psutil.NoSuchProcess):
            processes += processes[0].children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._process = None

    def target(self, **changed: Any) -> SshTarget:
        """How to reach it."""
        user = os.environ.get("USER") or subprocess.check_output(["id", "-un"], text=True).strip()
        keys = (self.host_key,)
        values = {"host": "127.0.0.1", "port": self.port, "user": user, "identity": self.key, "host_keys": keys}
        return SshTarget(**{**values, "alias": "pod-of-a-test", **changed})


def find_sshd() -> str:
    """The server's program; where there is none a test is skipped, but in CI it fails."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        words = "there is no sshd: apt-get install openssh-server"
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privileges are separated there
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_key(path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True)


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Makes machines that are not started yet; `more` is text of sshd_config."""
    made: list[Sshd] = []

    def make(more: str = "") -> Sshd:
        find_sshd()
        made.append(Sshd(tmp_path / f"machine{len(made)}", more))
        return made[-1]

    yield make
    for machine in made:
        machine.stop()


@pytest.fixture
def sshd(make_sshd: Callable[..., Sshd]) -> Sshd:
    """A machine that can be logged in to."""
    machine = make_sshd()
    machine.start()
    return machine


@pytest.fixture
def connect() -> Iterator[Callable[..., SshConnection]]:
    """Opens connections that are closed after the test."""
    opened: list[SshConnection] = []

    def open_one(target: SshTarget, **options: Any) -> SshConnection:
        opened.append(
            SshConnection(target, **{"connect_timeout_s": 10, "python": os.path.realpath(sys.executable), **options})
        )
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def local(tmp_path: Path) -> LocalConnection:
    """A folder as a pod."""
    return LocalConnection(tmp_path / "pod", python=os.path.realpath(sys.executable))


@dataclass
class Fault:
    """What happens to connections.

    Attributes:
        what: "cut" (an orderly end), "reset", "stall" (silence from then on), "flip" (a bit of one byte), "delay".
        up: whether it is done to what the client sends, or to what it gets.
        after: bytes that go through untouched.
        connections: how many it is done to, the next ones.
        seconds: of a delay of each block.
    """

    what: str
    up: bool = True
    after: int = 0
    connections: int = 1
    seconds: float = 0.0


class FaultyProxy:
    """Passes TCP connections on to a port of this machine and breaks them as told.

    Attributes:
        port: it listens there.
        fault: done to the next connections; None lets them through.
        seen: connections so far.
    """

    def __init__(self, to_port: int) -> None:
        self.to_port, self.fault, self.seen, self.port = to_port, None, 0, 0
        self.fault: Fault | None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def fail(self, what: str, **how: Any) -> None:
        """Do this to the next connections; see `Fault`."""
        self.fault = Fault(what, **how)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._done.set)
            self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._done, self._tasks = asyncio.Event(), set[asyncio.Task[None]]()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.seen += 1
        fault = self.fault
        if fault is not None:
            fault.connections -= 1
            self.fault = fault if fault.connections > 0 else None
        writers = [writer]
        pumps: list[asyncio.Task[None]] = []
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
            writers.append(far_writer)
            pumps.append(asyncio.create_task(_pump(reader, far_writer, fault if fault and fault.up else None)))
            pumps.append(asyncio.create_task(_pump(far_reader, writer, fault if fault and not fault.up else None)))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # nobody listens there: this connection ends too
        finally:
            for pump in pumps:
                pump.cancel()
            for one in writers:
                one.transport.abort() if fault is not None and fault.what == "reset" else one.close()
            await asyncio.gather(*pumps, *(one.wait_closed() for one in writers), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
    """Carry bytes one way until their end, or until the fault."""
    left = fault.after if fault else 0
    with contextlib.suppress(OSError):
        while block := await reader.read(65536):
            if fault is not None and fault.what == "delay":
                await asyncio.sleep(fault.seconds)
            elif fault is not None and len(block) > left >= 0:
                if fault.what != "flip":
                    writer.write(block[:left])
                    await writer.drain()
                    if fault.what == "stall":
                        await asyncio.sleep(3600)
                    return
                block = block[:left] + bytes([block[left] ^ 1]) + block[left + 1 :]
                left = -1
            left -= len(block) if left >= 0 else 0
            writer.write(block)
            await writer.drain()


@pytest.fixture
def faulty_proxy(sshd: Sshd) -> Iterator[FaultyProxy]:
    """Stands before `sshd`."""
    proxy = FaultyProxy(sshd.port)
    yield proxy
    proxy.close()


@pytest.fixture
def bundle_of(tmp_path: Path) -> Callable[..., Bundle]:
    """Makes a bundle of contents by path; those whose path begins with ``data/`` are data."""

    def make(
        contents: Mapping[str, bytes], *, executable: Iterable[str] = (), facts: Mapping[str, Any] | None = None
    ) -> Bundle:
        files: list[BundledFile] = []
        places: dict[str, Path] = {}
        for path, content in contents.items():
            sha256 = hashlib.sha256(content).hexdigest()
            kind = "data" if path.startswith("data/") else "code"
            files.append(BundledFile(path, sha256, len(content), path in executable, kind))
            places[sha256] = tmp_path / "packed" / sha256
            places[sha256].parent.mkdir(exist_ok=True)
            places[sha256].write_bytes(content)
        return Bundle.of(files, facts or {"rows": {}}, None, places)

    return make


@pytest.fixture
def tree_of() -> Callable[[Path], dict[str, bytes]]:
    """Reads a folder: content by relative path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read


@pytest.fixture(scope="session")
def stand_in() -> ModuleType:
    """Runs with a stand-in for training, see the module."""
    return importlib.import_module("stand_in")


@pytest.fixture
def account(make_sshd: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRunpod]:
    """A RunPod account whose pods are real sshd that take the key of the run."""
    if os.geteuid():
        pytest.skip("RunPod's pods are logged in to as root")

    def lend(pod: Any) -> QuietSshd:
        machine = make_sshd()
        (machine.folder / "client_key.pub").write_text(pod.body["env"]["PUBLIC_KEY"] + "\n")
        machine.start()
        told = subprocess.check_output(["ssh-keygen", "-lf", str(machine.folder / "host_key.pub")], text=True).strip()
        lent = QuietSshd("127.0.0.1", machine.port, [told])
        lent.close = machine.stop
        return lent

    spec = Spec(_SPEC.read_text()) if _SPEC.is_file() else None
    with FakeRunpod(make_sshd=lend, spec=spec) as account:
        account.plan = PodPlan(provisioning_s=0.0, pulling_s=0.0, starting_s=0.0, mapped_s=0.0)
        monkeypatch.setenv("RUNPOD_API_URL", account.url)
        monkeypatch.setenv("RUNPOD_API_KEY", account.key)
        yield account
        assert account.violations == []
