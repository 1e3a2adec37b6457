"""What a run on a pod asks for: the group ``pod`` of the configuration, which stays on this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.config import ConfigProblems, config_folder, shipped_options, structure
from moola.errors import ConfigError, did_you_mean
from moola.pods.guards import GuardLimits
from moola.pods.provider import LENT, CloudTier, PodWish
from moola.pods.providers import PROVIDERS, ProviderOptions
from moola.pods.runpod_provider import VOLUME_PATH
from moola.pods.secret_scan import scan_text
from moola.pods.ssh_provider import host_targets
from moola.pods.waiting import PhaseLimits

_GROUP = "pod"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_RENT = {
    **{"gpus": "--gpu", "min_vram_gb": "--min-vram", "max_price_per_h": "--max-price"},
    "guards.budget": "--budget",
}
_IGNORED = {
    "runpod": {"host": "--host", "identity": "--identity", "host_key": "--host-key"},
    "ssh": _OF_RENT,
    "local": {"host": "--host", "identity": "--identity", "host_key": "--host-key"} | _OF_RENT,
}
"""Provider -> keys that mean nothing to it, and the flag of each."""
_SECRET_NAME = re.compile(r"(?i)key|token|secret|password|credential")


@dataclass(frozen=True)
class PodSettings:
    """The section ``pod``.

    Attributes:
        provider: ``runpod``, ``ssh`` or ``local``; ``lent`` for points on a pod that their sweep rented.
        gpus, min_vram_gb, max_price_per_h, cloud, data_centers, count, disk_gb, image, network_volume,
            min_cuda: see `PodWish`.
        mount: folder of the host, absolute, in which a run's state outlives the pod; for ``ssh`` and ``local``.
        host: ``user@host:port`` for ssh, or several: each run draws the first that is free; one that is named twice
            takes two runs at a time. For ``lent`` the run of the rented pod, so often.
        host_key: the public key line of the host, or of each of several, in their order; empty: known_hosts has them.
        identity, root: see `ProviderOptions`.
        keep_cache: leave objects and environments on a host for the next run; its own folder goes in any case.
        trust_first_use: take a host key that nothing confirms.
        python: the pod's interpreter that has torch; empty: ``python3``, or this one for ``local``.
        env: environment of the run.
        min_ram_gb: memory that the pod must have.
        smoke: try the configuration on the pod before the long run.
        keep: leave the pod on when the results are here.
        checkpoint_every_min: between two pulls while training.
        retries: further pods, where one dies under the run.
        expected_hours: of the run.
        guards: see `GuardLimits`.
        limits: see `PhaseLimits`.
    """

    provider: str = "runpod"
    gpus: tuple[str, ...] = ()
    min_vram_gb: int = 0
    max_price_per_h: float | None = None
    cloud: tuple[CloudTier, ...] = ("SECURE", "COMMUNITY")
    data_centers: tuple[str, ...] = ()
    count: int = 1
    disk_gb: int = 40
    image: str = PodWish.image
    network_volume: str = ""
    min_cuda: str | float = ""
    mount: str = ""
    host: str | tuple[str, ...] = ""
    identity: str = ""
    host_key: str | tuple[str, ...] = ""
    root: str = ""
    trust_first_use: bool = False
    python: str = ""
    env: dict[str, str | int | float] = field(default_factory=dict[str, str | int | float])
    min_ram_gb: float = 2.0
    smoke: bool = True
    keep: bool = False
    keep_cache: bool = True
    checkpoint_every_min: float = 10.0
    retries: int = 2
    expected_hours: float = 1.0
    guards: GuardLimits = field(default_factory=GuardLimits)
    limits: PhaseLimits = field(default_factory=PhaseLimits)

    def __post_init__(self) -> None:
        secret = [name for name in self.env if _SECRET_NAME.search(name)]
        told = [(name, one.rule) for name, value in self.env.items() for one in scan_text("pod.env", str(value))]
        odd = [name for name in self.env if not _ENV_NAME.fullmatch(name)]
        unbounded = self.provider == "runpod" and self.guards.max_hours is None and self.guards.budget is None
        rules = (
            (
                self.provider not in (*PROVIDERS, LENT),
                f"provider: '{self.provider}'; {did_you_mean(self.provider, PROVIDERS)}",
            ),
            (self.provider == "ssh" and not self.host, "host: ssh needs one, user@host:port"),
            (self.checkpoint_every_min <= 0, f"checkpoint_every_min: {self.checkpoint_every_min:g} must be above 0"),
            (self.retries < 0, f"retries: {self.retries} must not be negative"),
            (self.expected_hours <= 0, f"expected_hours: {self.expected_hours:g} must be above 0"),
            (
                bool(self.network_volume) and self.provider not in ("runpod", LENT),
                "network_volume: only runpod has them; see mount",
            ),
            (bool(self.mount) and self.provider == "runpod", "mount: a rented pod keeps nothing; see network_volume"),
            (bool(self.mount) and not self.mount.startswith("/"), f"mount: '{self.mount}' must begin with /"),
            (unbounded, "guards: max_hours and budget are both null, so nothing would end a forgotten pod"),
            *((True, f"guards.{problem}") for problem in self.guards.problems()),
            *((True, f"env: '{name}' is no name of a variable") for name in odd),
            *((True, f"env.{name}: no secrets on a pod: whoever has it can read them") for name in secret),
            *((True, f"env.{name}: a secret ({rule}), and whoever has the pod reads it") for name, rule in told),
        )
        problems = ConfigProblems()
        problems.extend(problem for broken, problem in rules if broken)
        problems.attempt(lambda: self.wish)
        reached = self.provider_options
        if self.provider == "ssh" and reached.hosts:
            problems.attempt(lambda: host_targets(reached.hosts, reached.identity, reached.host_keys))
        if problems:
            raise problems.error()

    @property
    def wish(self) -> PodWish:
        """The machine."""
        return PodWish(
            gpus=self.gpus,
            min_vram_gb=self.min_vram_gb,
            max_price_per_h=self.max_price_per_h,
            cloud=self.cloud,
            data_centers=self.data_centers,
            disk_gb=self.disk_gb,
            image=self.image,
            count=self.count,
            network_volume=self.network_volume,
            min_cuda=str(self.min_cuda),
        )

    @property
    def provider_options(self) -> ProviderOptions:
        """What its lender is reached with."""
        return ProviderOptions(
            hosts=_each(self.host),
            identity=Path(self.identity).expanduser() if self.identity else None,
            host_keys=_each(self.host_key),
            root=self.root,
            trust_first_use=self.trust_first_use,
        )

    @property
    def volume_place(self) -> str:
        """Where on the pod the folder is that outlives it; empty: there is none."""
        return VOLUME_PATH if self.network_volume else self.mount

    @property
    def pod_python(self) -> str:
        """The interpreter that has torch."""
        return self.python or (sys.executable if self.provider == "local" else "python3")

    @property
    def gpu_count(self) -> int:
        """GPUs that a pod must show; a host of one's own has what it has."""
        return self.count if self.provider in ("runpod", LENT) else 0


def _each(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One or several, as several."""
    return ((value,) if value else ()) if isinstance(value, str) else value


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words about the pod, ``pod=NAME`` and ``pod.KEY=VALUE``, and those of the run."""
    of_pod = [word for word in words if re.match(rf"\+*{_GROUP}[.=]", word)]
    return of_pod, [word for word in words if word not in of_pod]


def load_settings(
    words: Sequence[str], flags: Mapping[str, Any] | None = None, before: Mapping[str, Any] | None = None
) -> PodSettings:
    """The settings that words and flags give, over the group's default.

    Args:
        words: ``pod=NAME`` and ``pod.KEY=VALUE``, as Hydra reads them.
        flags: dotted key below ``pod`` -> value; they win. A host alone means ``ssh``.
        before: values that both change; None: the group's default.

    Raises:
        ConfigError: unknown names, wrong values, flags that the provider would not heed: all of them.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    options = shipped_options(_GROUP)
    names = [word.partition("=")[2] for word in words if word.lstrip("+").startswith(f"{_GROUP}=")]
    unknown = [name for name in names if name not in options]
    if unknown:
        place = config_folder() / _GROUP
        raise ConfigError([f"pod={name}: there is none; {did_you_mean(name, options)}" for name in unknown], str(place))
    keys = [word.lstrip("+").removeprefix(f"{_GROUP}.") for word in words if "." in word.partition("=")[0]]
    flags = dict(flags or {})
    if "host" in flags and not names and not any(key.partition("=")[0] == "provider" for key in keys):
        flags.setdefault("provider", "ssh")
    try:
        parts = [options["default"] if before is None else dict(before), *(options[name] for name in names)]
        merged = OmegaConf.merge(*map(OmegaConf.create, parts), _parsed(keys))
        for key, value in flags.items():
            OmegaConf.update(merged, key, value, force_add=True)
        plain = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"pod: {str(error).splitlines()[0]}"]) from error
    assert isinstance(plain, dict)
    problems = ConfigProblems()
    provider = str(plain.get("provider"))
    said = [*flags, *(key for key in (word.partition("=")[0] for word in keys) if key == "guards.budget")]
    problems.extend(_unheeded(provider, dict.fromkeys(said)))
    problems.extend([f"pod.provider: '{LENT}' is for the points of a sweep alone"] if provider == LENT else [])
    settings = problems.attempt(lambda: structure(PodSettings, {str(key): plain[key] for key in plain}, _GROUP))
    if settings is None or problems:
        raise ConfigError(dict.fromkeys(problems), f"all keys: {config_folder() / _GROUP / 'default.yaml'}")
    return settings


def _unheeded(provider: str, flags: Iterable[str]) -> list[str]:
    """Flags that mean nothing to the provider: whoever gave them expects another one."""
    ignored = _IGNORED.get(provider, {})
    return [f"{ignored[key]}: --provider {provider} does not heed it; leave it out" for key in flags if key in ignored]


def _parsed(keys: Sequence[str]) -> Any:
    """``KEY=VALUE`` words by Hydra's own grammar, so that quotes and lists mean what they mean elsewhere."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    found = OmegaConf.create()
    try:
        for override in OverridesParser.create().parse_overrides(list(keys)):
            if override.is_sweep_override():
                key, _, value = str(override.input_line).partition("=")
                raise ConfigError([f"pod.{key}: {value} are several values; write a list as '[{value}]'"])
            OmegaConf.update(found, override.key_or_group, override.value(), force_add=True)
    except HydraException as error:
        raise ConfigError([f"pod: {str(error).splitlines()[0]}"]) from error
    return found
