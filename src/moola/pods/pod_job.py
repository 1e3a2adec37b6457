"""The job that a supervisor gets: environment, preflight, smoke run and the run itself, with their limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from moola.pods.bundle import Bundle
from moola.pods.guards import PricedLimits
from moola.pods.session import RunOnPod
from moola.pods.settings import PodSettings
from moola.tracking.delivery import JOURNAL_ONLY

MIN_PYTHON = (3, 11)
"""Of moola itself."""
SPARE_DISK_GB = 2.0
"""For packages, checkpoints and results."""
KEEPS = "keeps"
"""Fact of a bundle whose run keeps a pod for the points of a sweep."""
_KEEPERS = 5
"""Started anew where one is killed; without any, the pod waits `guards.grace_min` and ends."""
PREFLIGHT_S = 300.0
RESTORE_S = 900.0
COPY_S = 900.0
"""For one copy of the state to a volume, which may hang."""


@dataclass(frozen=True)
class Spent:
    """What earlier pods of a run took.

    Attributes:
        seconds: billed.
        money: in the currency of the prices.
    """

    seconds: float = 0.0
    money: float = 0.0


@dataclass(frozen=True)
class PodJob:
    """A job and the files that its steps read.

    Attributes:
        value: for ``job.json``.
        specs: name of a file in the run folder -> content.
    """

    value: Mapping[str, Any]
    specs: Mapping[str, Any]

    def send(self, pod: RunOnPod, beside: Mapping[str, Any]) -> None:
        """Write all of it to the pod, the job itself last.

        Args:
            pod: where the bundle is.
            beside: more files of the run folder, by name.
        """
        pod.write_all({**self.specs, **beside, "job.json": self.value})


def make_job(
    pod: RunOnPod,
    bundle: Bundle,
    settings: PodSettings,
    *,
    price_per_h: float,
    spent: Spent,
    attempt: int,
    end: Mapping[str, Any],
    newer_than_s: float = 0.0,
    threads: int | None = None,
) -> PodJob:
    """The job of a bundle on a pod.

    Args:
        pod: where the bundle is.
        bundle: what is there.
        settings: of the pod.
        price_per_h: of the pod.
        spent: by this run so far.
        attempt: number of this job among those of the run; requests of the client name it.
        end: how the pod ends itself (`moola.pods.pod_end.PodEnd`).
        newer_than_s: billed seconds of the run at which the state was taken that is on the pod; a volume may have a
            newer one.
        threads: that the run computes with; None: what it finds on the pod.
    """
    environment, keeps = _environment(pod, bundle, settings), bool(bundle.facts.get(KEEPS))
    python = f"{environment['folder']}/bin/python"
    name = f"environment-{environment['folder'].rpartition('/')[2]}.json"
    preflight = {
        "device": _device(bundle),
        "gpus": settings.gpu_count,
        "min_disk_gb": SPARE_DISK_GB,
        "min_ram_gb": settings.min_ram_gb,
        "folder": pod.folder,
        "report": f"{pod.folder}/preflight-report.json",
    }
    value = {
        "run": pod.run,
        "bundle": bundle.bundle_id,
        "moola_path": bundle.facts["moola"]["path"],
        "attempt": attempt,
        "steps": [keeper_step(pod)]
        if keeps
        else _steps(pod, bundle, settings, f"{pod.folder}/{name}", python, newer_than_s, threads),
        "guards": asdict(guard_limits(settings, price_per_h)),
        "billed_s": spent.seconds,
        "spent": spent.money,
        "end": dict(end),
        "keeps": keeps,
        "volume": {} if keeps else _volume(pod, settings),
    }
    return PodJob(value, {name: environment, "preflight.json": preflight})


def _steps(
    pod: RunOnPod,
    bundle: Bundle,
    settings: PodSettings,
    environment: str,
    python: str,
    newer_than_s: float,
    threads: int | None,
) -> list[dict[str, Any]]:
    """What the supervisor runs, in order; `environment` is the file that describes the one that `python` is of."""
    words = list(bundle.facts["overrides"])
    paths = [word for word in words if word.startswith("paths.")]
    words += ["paths.data=data", "paths.artifacts=artifacts"] if paths else []
    own = {name: str(value) for name, value in settings.env.items()}
    # Trackers are told at home: neither their packages nor their keys travel.
    path = {
        "PYTHONPATH": f"{pod.project}/{bundle.facts['moola']['path']}",
        "WANDB_MODE": "offline",
        **JOURNAL_ONLY,
        **({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
        **own,
    }
    limits = settings.limits
    steps: list[dict[str, Any]] = []
    if settings.volume_place:
        steps.append(_restore(pod, settings, path, newer_than_s))
    steps += [
        _step(
            "environment",
            [pod.shell.python, "-m", "moola.pods.environment", environment],
            path,
            limits.env_s,
        ),
        _step("preflight", [python, "-m", "moola.pods.preflight", f"{pod.folder}/preflight.json"], path, PREFLIGHT_S),
    ]
    if settings.smoke:
        smoke = [python, "-m", "moola.pods.smoke", f"{pod.folder}/smoke", *words]
        steps.append(_step("smoke", smoke, path, limits.smoke_s))
    job = [python, "-m", "moola", "run", *words]
    steps.append({**_step("job", job, path, None), "guarded": True})
    return steps


def keeper_step(pod: RunOnPod) -> dict[str, Any]:
    """The only step on a pod that a sweep lends to its points (`moola.pods.keeper`)."""
    argv = [pod.shell.python, "-m", "moola.pods.keeper", pod.folder]
    return {**_step("job", argv, {"PYTHONPATH": f"{pod.project}/"}, None), "restarts": _KEEPERS}


def guard_limits(settings: PodSettings, price_per_h: float) -> PricedLimits:
    """The guards of the settings, with the price that was agreed."""
    return PricedLimits(**asdict(settings.guards), price_per_h=price_per_h)


def _volume(pod: RunOnPod, settings: PodSettings) -> dict[str, Any]:
    """Where the supervisor keeps the run's state beyond the pod (`moola.pods.volume_copies`); empty: nowhere."""
    if not settings.volume_place:
        return {}
    place = {"mount": settings.volume_place, "run": pod.run, "mounted": bool(settings.network_volume)}
    return {**place, "every_s": settings.checkpoint_every_min * 60, "limit_s": COPY_S}


def _restore(pod: RunOnPod, settings: PodSettings, path: Mapping[str, str], newer_than_s: float) -> dict[str, Any]:
    """The step that sees whether the volume is there, and takes from it what is newer than what was sent."""
    told = {**_volume(pod, settings), "project": pod.project, "newer_than_s": newer_than_s}
    return _step("volume", [pod.shell.python, "-m", "moola.pods.volume", "restore", json.dumps(told)], path, RESTORE_S)


def _environment(pod: RunOnPod, bundle: Bundle, settings: PodSettings) -> dict[str, Any]:
    pins = list(bundle.facts["requirements"])
    key = json.dumps([pins, settings.pod_python])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return {
        "python": settings.pod_python,
        "folder": f"{pod.shell.root}/env/{digest}",
        "requirements": pins,
        "constraints": pins,
        "min_python": list(MIN_PYTHON),
        "report": f"{pod.folder}/environment-report.json",
    }


def _device(bundle: Bundle) -> str:
    """The device that the configuration asks for."""
    import yaml

    return str(yaml.safe_load(bundle.facts["config"])["device"])


def _step(name: str, argv: list[str], env: Mapping[str, str], limit_s: float | None) -> dict[str, Any]:
    return {"name": name, "argv": argv, "env": dict(env), "limit_s": limit_s}
