"""What every lender of machines can do, and what it is asked with; one file each answers for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, Self

from moola.errors import EXIT_POD, ConfigError, MoolaError, did_you_mean
from moola.pods.ssh import SshTarget

CloudTier = Literal["SECURE", "COMMUNITY"]
Stock = Literal["NONE", "LOW", "MEDIUM", "HIGH"]
PodStatus = Literal["PROVISIONING", "STARTING", "RUNNING", "EXITED", "ERROR", "TERMINATED"]

CLOUD_TIERS: tuple[CloudTier, ...] = ("SECURE", "COMMUNITY")
BILLING: frozenset[PodStatus] = frozenset({"PROVISIONING", "STARTING", "RUNNING", "EXITED", "ERROR"})
"""States in which a pod costs something: a stopped one still pays for its disk."""
ALIVE: frozenset[PodStatus] = frozenset({"PROVISIONING", "STARTING", "RUNNING"})
LENT = "lent"
"""Lender of the pods that a sweep rents, to its points: see `moola.pods.lent_provider`."""
STAYING = frozenset({"ssh", LENT})
"""Lenders whose machine stays when a run on it is over: what runs there has to go, and the run's folder with it."""
_NAME = re.compile(r"moola-(?P<run>[a-z0-9._-]+)-(?P<owner>[0-9a-f]{8})", re.IGNORECASE)
_CUDA_TAG = re.compile(r"-cu(\d{2})(\d)\d?-")


class PodError(MoolaError):
    """A machine could not be had, reached or ended."""

    exit_code = EXIT_POD


class NoCapacityError(PodError):
    """Nobody lends a machine as wished for now."""


class RefusedHereError(PodError):
    """No machine at this place; another place may have one.

    Args:
        what: as of every error.
        why: what the lender said.
        way_out: as of every error.
        may_be_the_request: the lender does not tell a full place from a request that breaks a rule.
    """

    def __init__(self, what: str, why: str = "", way_out: str = "", *, may_be_the_request: bool = False) -> None:
        super().__init__(what, why, way_out)
        self.may_be_the_request = may_be_the_request


class LostAnswerError(PodError):
    """A machine was asked for and the answer was lost: it may be there, and bill."""


class BadDrawError(PodError):
    """A machine was lent and does not come up; another draw may."""


class SilentPodError(PodError):
    """A pod runs as far as its lender knows, and has not answered for so long that it is left alone."""


class PodTakenError(PodError):
    """Another client works on this run."""


@dataclass(frozen=True)
class PodWish:
    """The machine a run asks for.

    Attributes:
        gpus: names as people say them (``RTX 4090``); empty: any.
        min_vram_gb: memory of one GPU.
        max_price_per_h: US dollars an hour for the whole pod; None: any.
        cloud: tiers that will do.
        data_centers: ids that will do; empty: any.
        disk_gb: container disk.
        image: the container image; its torch is kept.
        count: GPUs in the pod.
        network_volume: id of a volume that outlives the pod, mounted at ``/workspace``; it binds the pod to its data
            centre. Empty: none.
        min_cuda: lowest CUDA version of the driver, ``12.8``; empty: what the image's name says.
    """

    gpus: tuple[str, ...] = ()
    min_vram_gb: int = 0
    max_price_per_h: float | None = None
    cloud: tuple[CloudTier, ...] = CLOUD_TIERS
    data_centers: tuple[str, ...] = ()
    disk_gb: int = 40
    image: str = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
    count: int = 1
    network_volume: str = ""
    min_cuda: str = ""

    def __post_init__(self) -> None:
        problems = [
            f"{name}: {value} must be at least {least}"
            for name, value, least in (
                ("min_vram_gb", self.min_vram_gb, 0),
                ("disk_gb", self.disk_gb, 1),
                ("count", self.count, 1),
            )
            if value < least
        ]
        if self.max_price_per_h is not None and not self.max_price_per_h > 0:
            problems.append(f"max_price_per_h: {self.max_price_per_h:g} must be above 0")
        problems += [f"cloud: '{one}'; {did_you_mean(one, CLOUD_TIERS)}" for one in self._strange_clouds()]
        if not self.cloud:
            problems.append(f"cloud is empty; {did_you_mean('', CLOUD_TIERS)}")
        if not self.image:
            problems.append("image is empty")
        if self.min_cuda and not re.fullmatch(r"\d+\.\d+", self.min_cuda):
            problems.append(f"min_cuda: '{self.min_cuda}' must look like 12.8")
        if problems:
            raise ConfigError(problems)

    def _strange_clouds(self) -> list[str]:
        return [one for one in self.cloud if one not in CLOUD_TIERS]

    @property
    def cuda_floor(self) -> str:
        """The driver's lowest CUDA version: a wheel for a newer CUDA than the driver's fails at the first kernel."""
        found = _CUDA_TAG.search(self.image)
        return self.min_cuda or (f"{found[1]}.{found[2]}" if found else "")


@dataclass(frozen=True)
class Offer:
    """One place where a pod could be made.

    Attributes:
        gpu: the lender's id of the GPU type; empty for hosts that are simply there.
        gpu_name: as people say it.
        vram_gb: memory of one GPU.
        cloud: the tier, or the provider's name.
        data_center: its id; empty: the lender chooses.
        stock: how much of it there is.
        price_per_h: US dollars an hour for the whole pod.
        count: GPUs in the pod.
    """

    gpu: str
    gpu_name: str
    vram_gb: int
    cloud: str
    data_center: str
    stock: Stock
    price_per_h: float
    count: int = 1

    def __str__(self) -> str:
        if not self.gpu:
            return self.data_center or "a folder here"
        where = ", ".join(part for part in (self.data_center, self.cloud.lower()) if part)
        times = f"{self.count} x " if self.count > 1 else ""
        return f"{times}{self.gpu_name} ({where}) at ${self.price_per_h:.2f}/h"


@dataclass(frozen=True)
class PodRecord:
    """A pod as its lender knows it.

    Attributes:
        provider: who lends it.
        pod_id: the lender's id.
        run: the run it was made for.
        owner: id of the ledger whose client made it.
        name: its name at the lender; carries run and owner.
        status: when the lender was asked.
        gpu: id of the GPU type.
        cloud: the tier.
        data_center: where it stands; empty while nobody knows.
        price_per_h: US dollars an hour, now.
        created_at: in UTC.
    """

    provider: str
    pod_id: str
    run: str
    owner: str
    name: str
    status: PodStatus
    gpu: str
    cloud: str
    data_center: str
    price_per_h: float
    created_at: datetime

    @classmethod
    def unbilled(cls, provider: str, pod_id: str, run: str, owner: str, offer: Offer, now_s: float) -> Self:
        """A folder on a machine that nobody bills, made at `now_s` (seconds since 1970): it is there at once."""
        made = datetime.fromtimestamp(now_s, UTC)
        name, place = pod_name(run, owner), (offer.gpu, offer.cloud, offer.data_center)
        return cls(provider, pod_id, run, owner, name, "RUNNING", *place, 0.0, made)


@dataclass(frozen=True)
class PodState:
    """What a pod is doing.

    Attributes:
        status: ``TERMINATED`` also for a pod that the lender knows no more.
        price_per_h: US dollars an hour, now.
        uptime_s: seconds since its container started; None: it has not.
        detail: a word more, for people.
    """

    status: PodStatus
    price_per_h: float = 0.0
    uptime_s: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class LocalTarget:
    """A folder of this machine that stands for a pod.

    Attributes:
        root: the pod root.
    """

    root: Path


class Provider(Protocol):
    """A lender of machines."""

    @property
    def name(self) -> str:
        """``runpod``, ``ssh``, ``local`` or ``lent``."""
        ...

    @property
    def root(self) -> str:
        """The pod root on its machines; ``~`` is the home folder there."""
        ...

    @property
    def can_end_itself(self) -> bool:
        """Whether a pod may be able to end itself, so that its own guard can stop the bill."""
        ...

    @property
    def makes_machines(self) -> bool:
        """Whether a machine is made for each pod, so that its address, port and host keys may yet change."""
        ...

    def offers(self, wish: PodWish) -> list[Offer]:
        """Where a pod as wished for could be made, in the order in which to try.

        Raises:
            ConfigError: a GPU or data centre is unknown; near names are shown.
            NoCapacityError: nothing fits; the nearest miss is shown.
        """
        ...

    def create(self, wish: PodWish, run: str, offer: Offer, public_key: str) -> PodRecord:
        """Make one pod.

        Args:
            wish: image and disk.
            run: the run it is for.
            offer: where.
            public_key: OpenSSH line that opens it.

        Raises:
            RefusedHereError: not here; try the next offer.
            LostAnswerError: nobody knows whether it was made; look with `find`.
            PodError: no offer will do, so stop: the request, the balance or the key is refused.
        """
        ...

    def find(self, run: str | None = None) -> list[PodRecord]:
        """Pods of the account that carry moola's tag, the oldest first: of one run, or of all."""
        ...

    def status(self, pod_id: str) -> PodState:
        """What a pod is doing now."""
        ...

    def target(self, pod: PodRecord, *, keys_changed: bool = False) -> SshTarget | LocalTarget | None:
        """Where its shell is, its host key verified; None: not reachable yet.

        Args:
            pod: which.
            keys_changed: whoever answers has other keys than were verified once: see whether they are the pod's now.

        Raises:
            HostKeyError: whoever answers there is not the pod.
        """
        ...

    def system_log(self, pod_id: str, tail: int) -> list[str]:
        """The last lines that the lender wrote about the pod, the oldest first."""
        ...

    def end(self, pod_id: str) -> None:
        """End it for good; a pod that is gone already is fine."""
        ...

    def billed(self, since: datetime) -> Mapping[str, float]:
        """US dollars on the lender's bill by pod id, from the day of `since` on; empty where nobody bills."""
        ...


def pod_name(run: str, owner: str) -> str:
    """The name of a run's pod at its lender: ``moola-RUN-OWNER``.

    It is how a pod is found again when the answer to its creation was lost.
    """
    return f"moola-{run}-{owner}"


def run_and_owner(name: str) -> tuple[str, str] | None:
    """The run and the ledger that a pod's name tells; None: not moola's."""
    found = _NAME.fullmatch(name)
    return (found["run"], found["owner"]) if found else None


def alive(pods: Sequence[PodRecord]) -> list[PodRecord]:
    """Those that run or are about to."""
    return [pod for pod in pods if pod.status in ALIVE]
