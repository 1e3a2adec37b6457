"""How fast files reach a pod, and what a pod costs in time.

200 MB in 2,000 files over ssh on loopback, beside scp -r and rsync -a; and `moola pod run debug=fast --provider local`
beside `moola run debug=fast`.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from measurement import Row, benchmark_main, compare, seconds
from moola.layout import digest_file
from moola.pods.bundle import Bundle, BundledFile
from moola.pods.results import pull
from moola.pods.ssh import SshConnection, SshTarget
from moola.pods.transfer import push

FILES, FILE_BYTES = 2_000, 100_000
FIRST_PUSH, SECOND_PUSH = 1.0, 1.5
"""Of the time that scp -r, and rsync -a when nothing changed, take."""
OVERHEAD_S = 3.0
_ASIDE = ("step environment", "step preflight", "step smoke")
"""Phases of a run on a pod that a run here has not."""
_WORDS = {
    "step environment": "install",
    "step preflight": "preflight",
    "step smoke": "smoke run",
    "pack": "packing, with the start of Python",
    "push": "push",
    "start": "start of the job, with the push",
    "pull": "pull, check and publication",
    "end": "end of the pod",
}
"""Phase -> what it is called in the table."""
_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Both sides work there, so that no figure depends on what else a disk is doing."""
_SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
SetEnv SHLVL=2
"""


def measure(quick: bool) -> list[Row]:
    """Transfers over ssh, and the overhead of a local pod."""
    return [*_transfers(quick), *_overhead(2 if quick else 5)]


def _transfers(quick: bool) -> list[Row]:
    """A first push, an unchanged second one, and a pull; every figure holds the login."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as name, machine(Path(name) / "sshd") as here:
        work = _Work(Path(name), here)
        repeats = 3 if quick else 9
        return [
            compare(
                "first push", "s", work.first_push, work.scp, "scp -r",
                higher_is_better=False, target=FIRST_PUSH, repeats=repeats,
            ),
            compare(
                "first push", "s", work.first_push, work.first_rsync, "rsync -a",
                higher_is_better=False, target=None, repeats=repeats,
            ),
            compare(
                "second push, nothing changed", "s", work.second_push, work.second_rsync, "rsync -a",
                higher_is_better=False, target=SECOND_PUSH, repeats=repeats,
            ),
            compare(
                "second push, nothing changed", "s", work.second_push, work.checksum_rsync, "rsync -a --checksum",
                higher_is_better=False, target=None, repeats=repeats,
            ),
            compare(
                "pull of all", "s", work.pull, work.scp_back, "scp -r",
                higher_is_better=False, target=None, repeats=repeats,
            ),
        ]  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """An sshd of this machine, and the words with which scp and rsync reach it."""

    target: SshTarget
    ssh: list[str]


class _Work:
    """One tree, sent in several ways to places of their own."""

    def __init__(self, folder: Path, here: Machine) -> None:
        self.here, self.there, self.tree = here, folder / "there", folder / "tree"
        noise = random.Random(0)
        files: list[BundledFile] = []
        places: dict[str, Path] = {}
        for number in range(FILES):
            path = self.tree / f"folder{number % 40}" / f"file{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise.randbytes(FILE_BYTES))
            digest = digest_file(path)
            places[digest] = path
            files.append(BundledFile(str(path.relative_to(self.tree)), digest, FILE_BYTES, False, "data"))
        self.bundle = Bundle.of(files, {"rows": {}}, None, places)

    def first_push(self) -> float:
        """Into a root that holds nothing."""
        shutil.rmtree(self.there / "root", ignore_errors=True)
        return self.second_push()

    def second_push(self) -> float:
        """Into a root that holds what the last push brought; the pod knows that nothing changed."""

        def work() -> None:
            with SshConnection(self.here.target, python=os.path.realpath(sys.executable)) as connection:
                push(connection, str(self.there / "root"), self.bundle, "run")

        return seconds(work)

    def pull(self) -> float:
        """Everything back, into an empty folder, hashed, and on disk (fsync) when it ends."""
        shutil.rmtree(self.there / "back", ignore_errors=True)

        def work() -> None:
            with SshConnection(self.here.target, python=os.path.realpath(sys.executable)) as connection:
                pull(connection, str(self.there / "root"), "run", ["**"], self.there / "back")

        return seconds(work)

    def scp(self) -> float:
        """Into an empty folder."""
        return self._copied("scp", lambda: [*self._scp(), str(self.tree), f"pod:{self.there}/scp"])

    def scp_back(self) -> float:
        """Into an empty folder of this side."""
        return self._copied("scp_back", lambda: [*self._scp(), f"pod:{self.tree}", f"{self.there}/scp_back"])

    def first_rsync(self) -> float:
        """Into an empty folder."""
        return self._copied("rsync", self._rsync)

    def second_rsync(self) -> float:
        """Into the folder of the last rsync; sizes and times are compared."""
        return _run(self._rsync())

    def checksum_rsync(self) -> float:
        """The same with contents compared."""
        return _run([*self._rsync()[:-2], "--checksum", *self._rsync()[-2:]])

    def _copied(self, name: str, argv: Callable[[], list[str]]) -> float:
        shutil.rmtree(self.there / name, ignore_errors=True)
        (self.there / name).mkdir(parents=True)
        return _run(argv())

    def _scp(self) -> list[str]:
        return ["scp", "-r", "-q", *self.here.ssh]

    def _rsync(self) -> list[str]:
        return ["rsync", "-a", "-e", " ".join(["ssh", *self.here.ssh]), f"{self.tree}/", f"pod:{self.there}/rsync"]


def _overhead(repeats: int) -> list[Row]:
    """One run here and one on a local pod in turns, each in a fresh folder on disk, after one here to warm up."""
    here: list[float] = []
    pods: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as project:
        _moola(project, "run", "debug=fast")
    for number in range(repeats):
        for side in sorted(("here", "pod"), reverse=bool(number % 2)):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as project:
                if side == "here":
                    here.append(seconds(lambda project=project: _moola(project, "run", "debug=fast")))
                else:
                    pods.append(_run_on_pod(project))
    beside = [pod["whole"] - sum(pod[name] for name in _ASIDE) for pod in pods]
    over = [ours - reference for ours, reference in zip(beside, here, strict=True)]
    rest = [(words, [pod[name] for pod in pods]) for name, words in _WORDS.items()]
    ours, reference = statistics.median(beside), statistics.median(here)
    spread = {"ours": (min(beside), max(beside)), "reference": (min(here), max(here))}
    work = "run on a local pod, install, preflight and smoke run aside"
    return [
        Row(work, "s", ours, reference, "moola run", False, ours / reference, None, spread),
        _alone("overhead of --provider local: the difference of the two", over, OVERHEAD_S),
        *(_alone(f"of the run on a local pod: {words}", figures, None) for words, figures in rest),
    ]


def _alone(work: str, figures: list[float], target: float | None) -> Row:
    """A row in seconds with nothing beside it."""
    spread = {"ours": (min(figures), max(figures))}
    return Row(work, "s", statistics.median(figures), None, None, False, None, target, spread)


def _run_on_pod(project: str) -> dict[str, float]:
    """Seconds of each phase, of packing and of the whole."""
    argv = [sys.executable, "-m", "moola", "pod", "run", "debug=fast", "--provider", "local", "--json"]
    began = time.perf_counter()
    with subprocess.Popen(argv, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()  # the first word comes when the bundle is stored
        packed = time.perf_counter() - began
        said = process.stderr.read()
        answer = process.stdout.read()
    whole = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"moola pod run ended with code {process.returncode}:\n{said.decode()}")
    return {**json.loads(answer)["seconds"], "pack": packed, "whole": whole}


def _moola(project: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "moola", *words], cwd=project, check=True, capture_output=True)


def _run(argv: list[str]) -> float:
    return seconds(lambda: subprocess.run(argv, check=True, capture_output=True))


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """An sshd that lives as long as the block; SHLVL keeps bash from reading .bashrc, which may hold anything."""
    folder.mkdir()
    for name in ("host", "client"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(argv, check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "config").write_text(_SSHD.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    binary = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        sys.exit("there is no sshd: apt-get install openssh-server")
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known").write_text(f"pod {host_key}\n")
    user = getpass.getuser()
    (folder / "client_config").write_text(
        f"Host pod\n HostName 127.0.0.1\n Port {port}\n User {user}\n HostKeyAlias pod\n IdentityFile {folder}/client\n"
        f" UserKnownHostsFile {folder}/known\n IdentitiesOnly yes\n IdentityAgent none\n"
    )
    target = SshTarget("127.0.0.1", port, user, folder / "client", (host_key,), "pod")
    server = subprocess.Popen([binary, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield Machine(target, ["-F", str(folder / "client_config")])
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    sys.exit("sshd does not listen")


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__ or "", measure))
