"""How fast files reach a pod: 200 MB in 2,000 files over ssh on loopback, beside scp -r and rsync -a."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import socket
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
        """Everything back, into an empty folder, each file on disk (fsync) before it has its name."""
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
