"""The OpenSSH client as a connection: one authenticated master a pod, one session a request, one constant command.

Nothing of the user's own set-up takes part where a key is given: an own configuration file, that key alone, no agent,
no forwarding, and host keys only from where they were verified (ssh_config(5)).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from moola.errors import EXIT_POD, ConfigError, MissingPackageError, MoolaError
from moola.pods.wire import Answer, ConnectionLostError, ask, helper_argv, start

_LEAVING_S = 5.0
_HOST = re.compile(r"[A-Za-z0-9_.:%-]*[A-Za-z0-9_.:-]")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@$-]*")
_PYTHON = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./~+-]*")
_ALIAS = re.compile(r"[A-Za-z0-9_.-]+")
_HOST_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-zA-Z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_SSH_PORT = 22
_SHELL = (
    "import os,pwd,sys;d=bytes.fromhex(sys.argv[1]);os.path.isdir(d) and os.chdir(d);"
    's=pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh";os.execv(s,["-"+os.path.basename(s)])'
)
"""Becomes the user's login shell in a folder; without a quote of the pod's shell in it."""
_PREFIX, _IN_USE = "moola-ssh-", "in-use"
_CONFIG = """\
Host pod
  HostName {host}
  Port {port}
  User {user}
  BatchMode yes
  StrictHostKeyChecking yes
  UpdateHostKeys no
  CheckHostIP no
  ForwardAgent no
  ForwardX11 no
  ClearAllForwardings yes
  PermitLocalCommand no
  EscapeChar none
  RequestTTY no
  Compression no
  TCPKeepAlive yes
  LogLevel ERROR
  ConnectTimeout {connect_timeout_s}
  ServerAliveInterval 5
  ServerAliveCountMax 3
  Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com
  ControlPath {folder}/s
  ControlPersist {idle_s}
"""


def fingerprint(key: str) -> str:
    """``SHA256:...`` of a public key line, as OpenSSH writes it."""
    blob = base64.b64decode(key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


class HostKeyError(MoolaError):
    """The machine is not the one it should be, or nobody knows which it should be; never tried again."""

    exit_code = EXIT_POD


class AccessError(MoolaError):
    """The machine does not take the key; never tried again."""

    exit_code = EXIT_POD


@dataclass(frozen=True)
class SshTarget:
    """Where a pod's sshd answers, and how each side knows the other.

    Attributes:
        host: name or address.
        port: of its sshd.
        user: to log in as.
        identity: private key; None takes the user's own keys and agent.
        host_keys: ``"ssh-ed25519 AAAA..."`` lines, one of which it has to show; None asks the user's known_hosts.
        alias: name under which its host keys are known (HostKeyAlias).
    """

    host: str
    port: int
    user: str
    identity: Path | None
    host_keys: tuple[str, ...] | None
    alias: str

    def __post_init__(self) -> None:
        problems = [
            f"{name}: {value!r} {why}"
            for name, value, rule, why in (
                ("host", self.host, _HOST, "is no host name or address"),
                ("user", self.user, _USER, "is no user name"),
                ("alias", self.alias, _ALIAS, "has other signs than letters, digits and . _ -"),
            )
            if not rule.fullmatch(value)
        ]
        if not 0 < self.port < 2**16:
            problems.append(f"host: the port {self.port} of '{self.host}' is not between 1 and 65535")
        if self.host_keys is not None:
            if not self.host_keys:
                problems.append("host_keys: there is none, so no machine could be the right one")
            problems += [
                f"host_key: {line!r} is no line 'ssh-ed25519 AAAA...', as `ssh-keyscan -p PORT HOST` prints it"
                for line in self.host_keys
                if not _HOST_KEY.fullmatch(line)
            ]
        if self.identity is not None and not self.identity.is_file():
            problems.append(f"identity: there is no file {self.identity}; name a private key, or leave --identity out")
        if problems:
            raise ConfigError(problems)


class SshConnection:
    """A master connection and the sessions that share it; a lost master comes back with the next request.

    Args:
        target: where to.
        connect_timeout_s: from the first packet to being let in, seconds.
        idle_s: after which an unused connection ends, seconds; so does one whose client was killed.
        python: the pod's interpreter, 3.8 or newer.
        log: takes a line about what happens, e.g. that a connection is made again.

    Raises:
        ConfigError: the interpreter's name could not stand in a command line.
        MissingPackageError: there is no ``ssh`` here.
    """

    def __init__(
        self,
        target: SshTarget,
        *,
        connect_timeout_s: float = 30.0,
        idle_s: float = 60.0,
        python: str = "python3",
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        if not _PYTHON.fullmatch(python):
            raise ConfigError([f"python: {python!r} is no path that can stand in a command line"])
        ssh = shutil.which("ssh")
        if ssh is None:
            raise MissingPackageError("there is no ssh on this machine", "", "install OpenSSH's client")
        self.target, self.connect_timeout_s, self.idle_s, self._log = target, connect_timeout_s, idle_s, log
        self._folder, self._in_use = _private_folder()
        self._ssh = [ssh, "-F", str(self._folder / "config")]
        self._python = python
        *words, program = helper_argv(python)
        self._lead = [*self._ssh, "pod", f"exec {' '.join(words)} '{program}'"]  # constant, without a quote in it
        self._lock, self._was_in = threading.Lock(), False
        self._write_config()

    def request(
        self,
        action: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float,
        body: Iterable[bytes] = (),
        sink: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """See `moola.pods.wire.PodConnection.request`; a first request, or one after a loss, also connects.

        Raises:
            HostKeyError: the host key is not one of those expected, or none is known.
            AccessError: the key or the user is refused.
            ConnectionLostError: nobody answers in time, or the connection breaks.
        """
        self.connect()
        return ask(self._lead, action, arguments, timeout_s=timeout_s, body=body, sink=sink)

    def start(
        self, argv: Sequence[str], *, cwd: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """See `moola.pods.wire.PodConnection.start`."""
        self.connect()
        return start(self._lead, argv, cwd, environment)

    def shell_argv(self, folder: str) -> list[str]:
        """The command that opens a login shell for people in a folder there, through this connection while it is open.

        The folder goes as hexadecimal digits: no name of it is a word of the pod's shell.
        """
        terminal = ["-o", "RequestTTY=force", "-o", "EscapeChar=~"]
        return [*self._ssh, *terminal, "pod", f"exec {self._python} -I -S -c '{_SHELL}' {os.fsencode(folder).hex()}"]

    def describe(self) -> str:
        """``user@host:port``."""
        return f"{self.target.user}@{self.target.host}:{self.target.port}"

    def connect(self) -> None:
        """Log in unless there is a connection; whether the pod works, only a request tells.

        Raises:
            HostKeyError: the host key is not one of those expected, or none is known.
            AccessError: the key or the user is refused.
            ConnectionLostError: nobody lets in within the time.
        """
        with self._lock:
            if self._socket.exists():  # the master deletes it when it ends
                return
            if self._was_in:
                self._log(f"connecting to {self.describe()} again")
            self._log_in()
            self._was_in = True

    def close(self) -> None:
        """End the connection and delete what was written for it; what runs on the pod goes on."""
        with self._lock:
            if self._socket.exists():
                argv = [*self._ssh, "-O", "exit", "pod"]
                subprocess.run(argv, check=False, capture_output=True, timeout=_LEAVING_S)
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._in_use >= 0:
                os.close(self._in_use)
                self._in_use = -1

    @property
    def _socket(self) -> Path:
        return self._folder / "s"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_config(self) -> None:
        target, folder = self.target, self._folder
        text = _CONFIG.format(
            host=target.host.replace("%", "%%"),
            port=target.port,
            user=target.user,
            folder=folder,
            connect_timeout_s=max(1, round(self.connect_timeout_s)),
            idle_s=max(1, round(self.idle_s)),
        )
        if target.identity is not None:
            (folder / "identity").symlink_to(target.identity.resolve())  # its own name may hold anything
            text += f"  IdentityFile {folder}/identity\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            text += "  PreferredAuthentications publickey\n"
        if target.host_keys is not None:
            known = "".join(f"{target.alias} {line}\n" for line in target.host_keys)
            (folder / "known_hosts").write_text(known)
            text += f"  HostKeyAlias {target.alias}\n  UserKnownHostsFile {folder}/known_hosts\n"
            text += "  GlobalKnownHostsFile /dev/null\n"
        (folder / "config").write_text(text)

    def _log_in(self) -> None:
        """Start the master, which goes into the background, and ends its first process, once it is let in."""
        argv = [*self._ssh, "-o", "ControlMaster=yes", "-N", "pod"]
        with (self._folder / "complaints").open("w+b") as complaints:  # a pipe would be held open by the master
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": complaints}
            try:
                code = subprocess.run(argv, check=False, timeout=self.connect_timeout_s, **quiet).returncode
            except subprocess.TimeoutExpired as error:
                raise self._failure("") from error
            if code:
                complaints.seek(0)
                raise self._failure(complaints.read().decode(errors="replace").strip() or f"ssh ended with code {code}")

    def _failure(self, complaint: str) -> MoolaError:
        why = complaint or f"nobody let us in within {self.connect_timeout_s:g} s"
        if "ost key" in complaint or "HOST IDENTIFICATION" in complaint:
            return _host_key_error(self.target, self.describe(), complaint)
        if "Permission denied" in complaint or "Too many authentication failures" in complaint:
            return AccessError(f"{self.describe()} refuses to let you in", why, "check the user name and the key")
        return ConnectionLostError(f"cannot reach {self.describe()}", why, "check that it runs, its address and port")


def _host_key_error(target: SshTarget, place: str, complaint: str) -> HostKeyError:
    """What ssh's complaint means here: its own advice is about files of moola's that are gone a moment later."""
    shown = _FINGERPRINT.search(complaint)
    seen = f"it shows {shown[0]}" if shown else "it shows a host key"
    keys = ", ".join(map(fingerprint, target.host_keys or ()))
    name = target.host if target.port == _SSH_PORT else f"[{target.host}]:{target.port}"
    if keys:
        why = f"{seen}; the key that counts is {keys}"
    elif shown:
        why = f"{seen}; your known_hosts has another for {name}"
    else:
        why = f"your known_hosts has no key for {name}"
    return HostKeyError(
        f"{place} is not known to be the machine it should be",
        f"{why}. Nothing was sent",
        "if this is a surprise, somebody may stand between. Else pin the key: --host-key 'ssh-ed25519 AAAA...', the "
        "line that `cat /etc/ssh/ssh_host_ed25519_key.pub` prints on the host itself (or `ssh-keyscan -t ed25519 -p "
        f"{target.port} {target.host}` here, on a network that you trust)"
        + (f"; `ssh-keygen -R '{name}'` drops an old one from known_hosts" if shown and not keys else ""),
    )


def _private_folder() -> tuple[Path, int]:
    """A folder for this user alone, and the lock that says that it is in use; those of killed clients are deleted.

    Its path is short, for a socket's may have about a hundred signs, and plain.
    """
    short = "/tmp"  # noqa: S108 - mkdtemp makes a folder of its own there
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=short if os.access(short, os.W_OK) else None))
    _sweep(folder.parent)
    fresh = folder / f"{_IN_USE}.new"
    lock = os.open(fresh, os.O_CREAT | os.O_WRONLY, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # the system gives it back when this process ends, however it ends
    os.rename(fresh, folder / _IN_USE)  # nobody who sweeps sees it without its lock
    return folder, lock


def _sweep(room: Path) -> None:
    """Delete what clients left that were killed: whose lock nobody has."""
    for path in room.glob(f"{_PREFIX}*/{_IN_USE}"):
        with contextlib.suppress(OSError):  # it is in use, another's, or gone meanwhile
            if path.parent.lstat().st_uid == os.geteuid():
                with path.open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path.parent, ignore_errors=True)
