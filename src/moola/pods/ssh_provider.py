"""A host that is simply there, reached as ``user@host:port``: nothing is made, nothing bills, nothing is ended."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from moola.errors import ConfigError
from moola.pods.clock import Clock
from moola.pods.ledger import Ledger
from moola.pods.provider import Offer, PodRecord, PodState, PodWish
from moola.pods.ssh import SshTarget

_ADDRESS = re.compile(
    r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>\[[0-9A-Fa-f:]+\]|[^@:\[\]]+)(?::(?P<port>\d+))?"
)
_ROOT = "~/.moola-pods"


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
        found = _ADDRESS.fullmatch(address)
        if found is None:
            problem = f"'{address}' is no host: it must look like user@host or user@host:port"
            raise ConfigError([problem], "--host user@host:port")
        host, port = found["host"].strip("[]"), int(found["port"] or 22)
        self._place = f"{host}:{port}"
        self._target = SshTarget(
            host=host,
            port=port,
            user=found["user"],
            identity=identity,
            host_keys=(" ".join(host_key.split()[:2]),) if host_key else None,
            alias=re.sub(r"[^A-Za-z0-9_.-]", "-", self._place),
        )
        self.root, self._ledger, self._clock = root or _ROOT, ledger, clock or Clock()
        self._ended: set[str] = set()

    def offers(self, wish: PodWish) -> list[Offer]:
        """The host; what GPU it has is seen on it."""
        return [Offer("", "", 0, self.name, self._place, "HIGH", 0.0, wish.count)]

    def create(self, wish: PodWish, run: str, offer: Offer, public_key: str) -> PodRecord:
        """A name for the run's folder; image, disk and key are the host's own matter."""
        pod_id = f"{self._target.alias}-{secrets.token_hex(4)}"
        return PodRecord.unbilled(self.name, pod_id, run, self._ledger.owner, offer, self._clock.now())

    def find(self, run: str | None = None) -> list[PodRecord]:
        """Pods of this host that the ledger knows and that have not ended."""
        owner = self._ledger.owner
        return [
            pod.record(owner)
            for pod in self._ledger.pods(run, open_only=True)
            if pod.provider == self.name and pod.data_center == self._place and pod.pod_id not in self._ended
        ]

    def status(self, pod_id: str) -> PodState:
        """Running until it is ended here."""
        known = any(pod.pod_id == pod_id for pod in self.find())
        return PodState("RUNNING", uptime_s=0.0) if known else PodState("TERMINATED")

    def target(self, pod: PodRecord) -> SshTarget:
        """The host's sshd."""
        return self._target

    def system_log(self, pod_id: str, tail: int) -> list[str]:
        """Nobody writes one."""
        return []

    def end(self, pod_id: str) -> None:
        """The host stays, and the supervisor was stopped through its shell: only the name goes."""
        self._ended.add(pod_id)

    def billed(self, since: datetime) -> Mapping[str, float]:
        """Nobody bills."""
        return {}
