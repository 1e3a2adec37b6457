"""Hosts that are simply there, reached as ``user@host:port``: nothing is made and nothing bills.

Each takes one run at a time, or as many as it is named times. What a run left on a host is deleted through its shell
(`moola.pods.session.RunOnPod.remove`), for only who pulled the results knows that they are safe.
"""

from __future__ import annotations

import re
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from moola.errors import ConfigError
from moola.pods.clock import Clock
from moola.pods.ledger import Ledger
from moola.pods.provider import NoCapacityError, Offer, PodRecord, PodState, PodWish, RefusedHereError
from moola.pods.ssh import SshTarget

_ADDRESS = re.compile(
    r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>\[[0-9A-Fa-f:]+\]|[^@:\[\]]+)(?::(?P<port>\d+))?"
)
_ROOT = "~/.moola-pods"
_KNOCK_S = 5.0
"""How long a host may take to take a connection before the next one is asked."""
_WAY_OUT = "wait, end a run with `moola pod stop RUN`, or name another host; one that is named twice takes two runs"


def unreachable(target: SshTarget) -> str:
    """Why nobody takes a connection there; empty: somebody does."""
    try:
        socket.create_connection((target.host, target.port), _KNOCK_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


class SshProvider:
    """Hosts as a lender of pods: a pod is one run's folder on one of them.

    Args:
        addresses: ``user@host`` or ``user@host:port``, the one to draw first in front.
        ledger: knows the pods, for the hosts do not.
        identity: private key file; None: as OpenSSH finds it.
        host_keys: public key line of each host, pinned, in their order; empty: the user's known_hosts must know them.
        root: the pod root on the hosts; empty: ``~/.moola-pods``.
        knock: why a host cannot be reached; empty: it can.
        clock: for tests.

    Attributes:
        targets: by place, ``host:port``.

    Raises:
        ConfigError: an address, a key or the key file cannot be one; all of it.
    """

    name = "ssh"
    can_end_itself = False
    makes_machines = False

    def __init__(
        self,
        addresses: Sequence[str],
        ledger: Ledger,
        *,
        identity: Path | None = None,
        host_keys: Sequence[str] = (),
        root: str = "",
        knock: Callable[[SshTarget], str] = unreachable,
        clock: Clock | None = None,
    ) -> None:
        self.targets: Mapping[str, SshTarget] = host_targets(addresses, identity, host_keys)
        self._slots = Counter(map(place_of_host, addresses))
        self.root, self._ledger, self._knock, self._clock = root or _ROOT, ledger, knock, clock or Clock()
        self._ended: set[str] = set()

    def offers(self, wish: PodWish) -> list[Offer]:
        """The hosts that are free; what GPU they have is seen on them."""
        at_work: dict[str, list[str]] = {place: [] for place in self.targets}
        for pod in self.find():
            at_work[pod.data_center].append(pod.run)
        free = [place for place, runs in at_work.items() if len(runs) < self._slots[place]]
        if not free:
            busy = "\n".join(f"- {place} has {', '.join(runs)}" for place, runs in at_work.items())
            raise NoCapacityError("no host is free", busy, _WAY_OUT)
        return [Offer("", "", 0, self.name, place, "HIGH", 0.0, wish.count) for place in free]

    def create(self, wish: PodWish, run: str, offer: Offer, public_key: str) -> PodRecord:
        """A name for the run's folder, where the host is up and free; image, disk and key are its own matter."""
        target = self.targets[offer.data_center]
        if why := self._knock(target):
            told = f"{offer.data_center} does not answer: {why}"
            raise RefusedHereError(told, told, "see whether it runs, and its address and port; or name another host")
        pod_id = f"{target.alias}-{secrets.token_hex(4)}"
        pod = PodRecord.unbilled(self.name, pod_id, run, self._ledger.owner, offer, self._clock.now())
        if not self._ledger.claim(pod, self._slots[offer.data_center]):
            told = f"{offer.data_center} was given to another run just now"
            raise RefusedHereError(told, told, _WAY_OUT)
        return pod

    def find(self, run: str | None = None) -> list[PodRecord]:
        """Pods of these hosts that the ledger knows and that have not ended."""
        owner = self._ledger.owner
        return [
            pod.record(owner)
            for pod in self._ledger.pods(run, open_only=True)
            if pod.provider == self.name and pod.data_center in self.targets and pod.pod_id not in self._ended
        ]

    def status(self, pod_id: str) -> PodState:
        """Running until it is ended here."""
        known = any(pod.pod_id == pod_id for pod in self.find())
        return PodState("RUNNING", uptime_s=0.0) if known else PodState("TERMINATED")

    def target(self, pod: PodRecord, *, keys_changed: bool = False) -> SshTarget:
        """The host's sshd; its keys are the user's to change."""
        return self.targets[pod.data_center]

    def system_log(self, pod_id: str, tail: int) -> list[str]:
        """Nobody writes one."""
        return []

    def end(self, pod_id: str) -> None:
        """The host stays, and the supervisor was stopped through its shell: only the name goes."""
        self._ended.add(pod_id)

    def billed(self, since: datetime) -> Mapping[str, float]:
        """Nobody bills."""
        return {}


def host_targets(addresses: Sequence[str], identity: Path | None, host_keys: Sequence[str]) -> dict[str, SshTarget]:
    """Targets by place (``host:port``); arguments as of `SshProvider`.

    Raises:
        ConfigError: everything that is wrong with them.
    """
    problems = [] if addresses else ["host: ssh needs one; --host user@host:port, once for each host"]
    if host_keys and len(host_keys) != len(addresses):
        problems.append(f"host_key: there are {len(host_keys)} for {len(addresses)} hosts; give each its own, or none")
        host_keys = ()
    targets: dict[str, SshTarget] = {}
    for number, address in enumerate(addresses):
        try:
            place = place_of_host(address)
            target = _target(address, place, identity, host_keys[number] if host_keys else "")
            if targets.setdefault(place, target) != target:
                problems.append(f"host: '{address}': {place} is there twice, with another user or key")
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(problems)
    return targets


def _parts(address: str) -> re.Match[str]:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError([f"host: '{address}' is no host: it must look like user@host or user@host:port (--host)"])
    return found


def place_of_host(address: str) -> str:
    """``host:port`` of an address.

    Raises:
        ConfigError: it is none.
    """
    parts = _parts(address)
    return f"{parts['host'].strip('[]')}:{int(parts['port'] or 22)}"


def _target(address: str, place: str, identity: Path | None, host_key: str) -> SshTarget:
    host, _, port = place.rpartition(":")
    return SshTarget(
        host=host,
        port=int(port),
        user=_parts(address)["user"],
        identity=identity,
        host_keys=(_key_of(host_key),) if host_key else None,
        alias=re.sub(r"[^A-Za-z0-9_.-]", "-", place),
    )


def _key_of(line: str) -> str:
    """Type and key of a line as the host's ``.pub`` file has it, or ``ssh-keyscan`` and known_hosts, name in front."""
    words = line.split()
    return " ".join(words[1:3] if len(words) > 2 and words[2].startswith("AAAA") else words[:2])
