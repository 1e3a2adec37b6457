"""A host that is simply there, reached as ``user@host:port``: nothing is made, nothing bills, nothing is ended."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from moola.errors import ConfigError
from moola.pods.clock import Clock
from moola.pods.host_keys import checked_host, checked_key
from moola.pods.ledger import Ledger
from moola.pods.provider import Offer, PodRecord, PodState, PodWish, pod_name

if TYPE_CHECKING:
    from moola.pods.ssh import SshTarget

_ADDRESS = re.compile(
    r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>\[[0-9A-Fa-f:]+\]|[^@:\[\]]+)(?::(?P<port>\d+))?"
)
_ROOT = "~/.moola-pods"
_PORTS = range(1, 65536)


class SshProvider:
    """One host as a lender of pods: a pod is one run's folder on it.

    Args:
        address: ``user@host`` or ``user@host:port``.
        ledger: knows the pods, for the host does not.
        identity: private key file; None: as OpenSSH finds it.
        host_key: the host's public key line, pinned; empty: the user's known_hosts must know the host.
        root: the pod root on the host; empty: ``~/.moola-pods``.
        clock: for tests.

    Raises:
        ConfigError: the address, the key or the key file cannot be one; all of it.
    """

    name = "ssh"
    can_end_itself = False

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        *,
        identity: Path | None = None,
        host_key: str = "",
        root: str = "",
        clock: Clock | None = None,
    ) -> None:
        problems: list[str] = []
        self.host, self.port, self.user = _parts(address, problems)
        if identity is not None and not identity.is_file():
            problems.append(f"there is no key file {identity}")
        self._host_keys: tuple[str, ...] | None = None
        if host_key:
            try:
                self._host_keys = (checked_key(host_key),)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems, "--host user@host:port --identity FILE --host-key 'ssh-ed25519 AAAA...'")
        self.root, self._ledger, self._identity, self._clock = root or _ROOT, ledger, identity, clock or Clock()
        self._ended: set[str] = set()

    @property
    def alias(self) -> str:
        """The host's name in a known_hosts file."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def offers(self, wish: PodWish) -> list[Offer]:
        """The host; what GPU it has is seen on it."""
        return [Offer("", "", 0, self.name, self.alias, "HIGH", 0.0, wish.count)]

    def create(self, wish: PodWish, run: str, offer: Offer, public_key: str) -> PodRecord:
        """A name for the run's folder; image, disk and key are the host's own matter."""
        pod_id = f"{self.alias}-{secrets.token_hex(4)}"
        return PodRecord(
            self.name,
            pod_id,
            run,
            self._ledger.owner,
            pod_name(run, self._ledger.owner),
            "RUNNING",
            offer.gpu,
            offer.cloud,
            offer.data_center,
            0.0,
            datetime.fromtimestamp(self._clock.now(), UTC),
        )

    def find(self, run: str | None = None) -> list[PodRecord]:
        """Pods of this host that the ledger knows and that have not ended."""
        owner = self._ledger.owner
        return [
            pod.record(owner)
            for pod in self._ledger.pods(run, open_only=True)
            if pod.provider == self.name and pod.data_center == self.alias and pod.pod_id not in self._ended
        ]

    def status(self, pod_id: str) -> PodState:
        """Running until it is ended here."""
        known = any(pod.pod_id == pod_id for pod in self.find())
        return PodState("RUNNING", uptime_s=0.0) if known else PodState("TERMINATED")

    def target(self, pod: PodRecord) -> SshTarget:
        """The host's sshd."""
        from moola.pods.ssh import SshTarget

        return SshTarget(
            host=self.host,
            port=self.port,
            user=self.user,
            identity=self._identity,
            host_keys=self._host_keys,
            alias=self.alias,
        )

    def system_log(self, pod_id: str, tail: int) -> list[str]:
        """Nobody writes one."""
        return []

    def end(self, pod_id: str) -> None:
        """The host stays, and the supervisor was stopped through its shell: only the name goes."""
        self._ended.add(pod_id)

    def billed(self, since: datetime) -> Mapping[str, float]:
        """Nobody bills."""
        return {}


def _parts(address: str, problems: list[str]) -> tuple[str, int, str]:
    """Host, port and user; what is wrong with them is added to `problems`."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        problems.append(f"'{address}' is no host: it must look like user@host or user@host:port")
        return "", 0, ""
    host, port = found["host"].strip("[]"), int(found["port"] or 22)
    if port not in _PORTS:
        problems.append(f"'{address}': ports go from 1 to 65535")
    try:
        checked_host(host)
    except ConfigError as error:
        problems += error.problems
    return host, port, found["user"]
