"""Pods of RunPod: what moola asks of its API, and what it makes of the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from moola.errors import ConfigError, did_you_mean
from moola.pods import host_keys
from moola.pods.candidates import GpuStock, offers_for
from moola.pods.clock import Clock
from moola.pods.ledger import Ledger
from moola.pods.provider import CloudTier, Offer, PodRecord, PodState, PodStatus, PodWish, pod_name, run_and_owner
from moola.pods.run_keys import RunKeys
from moola.pods.runpod_api import ApiError, RunpodApi
from moola.pods.ssh import SshTarget

VOLUME_PATH = "/workspace"
"""Where a network volume is mounted. It is FUSE: copy to it, never work on it."""
_LOG_LINES = 5000
_USER = re.compile(r"[a-z_][a-z0-9_-]*")


def offers_of(api: RunpodApi, wish: PodWish) -> list[Offer]:
    """Where a pod as wished for could be made, in the order in which to try; errors as of `Provider.offers`."""
    if wish.network_volume:
        wish = replace(wish, data_centers=(_volume_center(api, wish),))
    catalog = [
        stock
        for cloud in wish.cloud
        for entry in api.gpus(cloud, wish.count, wish.cuda_floor)
        if (stock := _stock(entry, cloud)) is not None
    ]
    centers = [str(one["id"]) for one in api.data_centers()] if wish.data_centers else []
    return offers_for(catalog, wish, centers)


def _volume_center(api: RunpodApi, wish: PodWish) -> str:
    """The data centre of the volume: no pod elsewhere can mount it.

    Raises:
        ConfigError: there is no such volume, or the wish names other data centres.
    """
    centers = {str(one["id"]): str(one["dataCenter"]) for one in api.network_volumes()}
    center = centers.get(wish.network_volume)
    if center is None:
        problem = f"pod.network_volume: the account has no '{wish.network_volume}'"
        near = did_you_mean(wish.network_volume, centers) if centers else "it has none at all"
        raise ConfigError([f"{problem}; {near}"], "volumes and their ids: https://console.runpod.io/user/storage")
    if wish.data_centers and center not in wish.data_centers:
        problem = f"pod.network_volume: '{wish.network_volume}' is in {center}, and so must its pod be"
        raise ConfigError([f"{problem}; pod.data_centers names {', '.join(wish.data_centers)}"])
    return center


class RunpodProvider:
    """The pods of one RunPod account that one ledger's clients made.

    Args:
        api: of the account.
        ledger: tells own pods from others' and keeps verified host keys.
        keys: open the pods.
        trust_first_use: take the first host key that is seen where the pod printed none.
        scan: shows host keys of a host and port; for tests.
        clock: for tests.
    """

    name = "runpod"
    root = "/root/moola"
    can_end_itself = True
    makes_machines = True

    def __init__(
        self,
        api: RunpodApi,
        ledger: Ledger,
        keys: RunKeys,
        *,
        trust_first_use: bool = False,
        scan: Callable[[str, int], tuple[str, ...]] = host_keys.scan,
        clock: Clock | None = None,
    ) -> None:
        self._api, self._ledger, self._keys = api, ledger, keys
        self._trust_first_use, self._scan, self._clock = trust_first_use, scan, clock or Clock()

    def offers(self, wish: PodWish) -> list[Offer]:
        """Where a pod as wished for could be made, in the order in which to try."""
        return offers_of(self._api, wish)

    def create(self, wish: PodWish, run: str, offer: Offer, public_key: str) -> PodRecord:
        """Make one pod; the caller has written its intent down."""
        body = _request(wish, pod_name(run, self._ledger.owner), offer, public_key)
        return _record(self._api.create_pod(body), run, self._ledger.owner)

    def find(self, run: str | None = None) -> list[PodRecord]:
        """Pods of the account that carry moola's tag, the oldest first."""
        found = [
            _record(pod, *tag)
            for pod in self._api.pods()
            if (tag := run_and_owner(str(pod.get("name", "")))) is not None and run in (None, tag[0])
        ]
        return sorted(found, key=lambda pod: (pod.created_at, pod.pod_id))

    def status(self, pod_id: str) -> PodState:
        """What a pod is doing now."""
        pod = self._api.pod(pod_id)
        if pod is None:
            return PodState("TERMINATED", detail="RunPod does not know it any more")
        runtime = pod.get("runtime") or {}
        uptime = runtime.get("uptime")
        return PodState(_status(pod), float(pod["cost"]), None if uptime is None else float(uptime))

    def target(self, pod: PodRecord, *, keys_changed: bool = False) -> SshTarget | None:
        """Where its sshd is once it is mapped, its host key verified; None: not yet."""
        seen = self._api.pod(pod.pod_id)
        found = _endpoint(seen) if seen is not None and _status(seen) == "RUNNING" else None
        if found is None:
            return None
        host, port, user = found
        known = self._ledger.host_keys(self.name, pod.pod_id)
        keys = self._checked(pod, host, port, known) if keys_changed or not known else known
        if not keys:
            return None
        return SshTarget(
            host=host, port=port, user=user, identity=self._keys.identity(pod.run), host_keys=keys, alias=pod.pod_id
        )

    def system_log(self, pod_id: str, tail: int) -> list[str]:
        """The last lines that the host wrote about the pod; people read them, so that none is no reason to stop."""
        try:
            return [line.text for line in self._api.log_lines(pod_id, "system", tail)]
        except ApiError as error:
            return [f"(the log is out of reach: {' '.join(error.why.split())})"]

    def end(self, pod_id: str) -> None:
        """End it for good."""
        self._api.delete_pod(pod_id)

    def billed(self, since: datetime) -> Mapping[str, float]:
        """US dollars by pod id; the bill lags behind by up to an hour."""
        totals: dict[str, float] = {}
        for record in self._api.billing(since, datetime.fromtimestamp(self._clock.now(), UTC)):
            totals[record["podId"]] = totals.get(record["podId"], 0.0) + float(record["totalAmount"])
        return totals

    def _checked(self, pod: PodRecord, host: str, port: int, before: tuple[str, ...]) -> tuple[str, ...]:
        """Host keys, checked and written down; none while nobody answers there.

        A container that was started anew has other keys than `before`: those count where it printed them, and are
        never taken on trust.

        Raises:
            HostKeyError: they are not the pod's, or nothing tells.
        """
        shown = self._scan(host, port)
        if not shown:
            return ()
        log = [line.text for line in self._api.log_lines(pod.pod_id, "container", _LOG_LINES)]
        printed = host_keys.printed_fingerprints(log)
        if printed:
            keys = host_keys.verified(shown, printed, pod=pod.pod_id)
            if before and keys != before:
                told = ", ".join(map(host_keys.fingerprint, keys))
                self._ledger.add_event(pod.run, pod.pod_id, "host_key", f"started anew, printed in its log: {told}")
        elif before:
            raise host_keys.unconfirmed(pod.pod_id)
        elif self._trust_first_use:
            keys = shown
            told = ", ".join(map(host_keys.fingerprint, shown))
            self._ledger.add_event(pod.run, pod.pod_id, "host_key", f"taken on trust: {told}")
        else:
            raise host_keys.unprinted(pod.pod_id)
        self._ledger.pin_host_keys(self.name, pod.pod_id, keys)
        return keys


def _request(wish: PodWish, name: str, offer: Offer, public_key: str) -> dict[str, Any]:
    """The body of a creation.

    No ``args``: they would replace the image's start script, and with it sshd. No secret in ``env``: every read key
    of the account sees it.
    """
    body: dict[str, Any] = {
        "name": name,
        "image": wish.image,
        "gpu": {"id": offer.gpu, "count": offer.count},
        "cloud": offer.cloud,
        "disk": wish.disk_gb,
        "ports": ["22/tcp"],
        "env": {"PUBLIC_KEY": public_key},
        "startSsh": True,
    }
    if wish.cuda_floor:
        body["gpu"]["minCudaVersion"] = wish.cuda_floor
    if offer.data_center:
        body["dataCenterIds"] = [offer.data_center]
    if wish.network_volume:
        body["mounts"] = {"network": [{"volumeId": wish.network_volume, "path": VOLUME_PATH}]}
    return body


def _stock(entry: Mapping[str, Any], cloud: CloudTier) -> GpuStock | None:
    """A GPU type of the catalogue in a tier; None: that tier has none."""
    tier = cloud.lower()
    if not entry[tier]:
        return None
    return GpuStock(
        gpu=entry["id"],
        name=entry["name"],
        vram_gb=entry["memory"],
        cloud=cloud,
        price_per_h=float(entry["price"][tier]),
        max_count=entry["maxCount"][tier],
        stock=entry.get("availability", "NONE"),
        data_centers={one["id"]: one["availability"] for one in entry.get("dataCenters") or []},
    )


def _record(pod: Mapping[str, Any], run: str, owner: str) -> PodRecord:
    return PodRecord(
        provider=RunpodProvider.name,
        pod_id=pod["id"],
        run=run,
        owner=owner,
        name=pod["name"],
        status=_status(pod),
        gpu=(pod.get("gpu") or {}).get("id", ""),
        cloud=pod["cloud"],
        data_center=pod.get("dataCenterId") or "",
        price_per_h=float(pod["cost"]),
        created_at=datetime.fromisoformat(pod["createdAt"]),
    )


def _status(pod: Mapping[str, Any]) -> PodStatus:
    return pod["status"]


def _endpoint(pod: Mapping[str, Any]) -> tuple[str, int, str] | None:
    """Host, port and user of the mapped sshd; None where the two places that tell it disagree.

    After a restart one of them may still show the old port, behind which another customer's pod may answer.
    """
    direct = (pod.get("ssh") or {}).get("direct")
    runtime = pod.get("runtime") or {}
    mapped = {
        (port.get("ip"), port.get("public"))
        for port in runtime.get("ports") or []
        if port.get("private") == 22 and port.get("type") == "tcp"
    }
    if not direct or (mapped and (direct["host"], direct["port"]) not in mapped):
        return None
    user = direct["username"]
    if not _USER.fullmatch(user):
        return None
    return host_keys.checked_host(direct["host"]), int(direct["port"]), user
