"""The lenders by name, with what each needs from the user: a key, an address, a folder."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from moola.errors import ConfigError, did_you_mean
from moola.layout import Layout
from moola.pods.ledger import LEDGER_PLACE, Ledger
from moola.pods.provider import LENT, Provider
from moola.pods.run_keys import RUN_KEYS_PLACE, RunKeys
from moola.pods.runpod_api import API_URL, KEY_PAGE, RunpodApi

PROVIDERS = ("runpod", "ssh", "local")
LOCAL_PODS_PLACE = "runpod_results/local_pods"
"""Below the artifacts folder."""
_KEY, _URL = "RUNPOD_API_KEY", "RUNPOD_API_URL"
_KEY_FILE = Path(".runpod") / "config.toml"
"""Of runpodctl, below the home folder."""


@dataclass(frozen=True)
class ProviderOptions:
    """What a lender is reached with.

    Attributes:
        hosts: ``user@host:port`` of each, for ssh; for lent the run of a rented pod, once for each point that it takes.
        identity: private key file, for ssh.
        host_keys: their public key lines, one each or none, for ssh.
        root: the pod root, for ssh; empty: its default.
        trust_first_use: take a host key that nothing confirms, for runpod.
        tell: is told why something takes longer.
    """

    hosts: tuple[str, ...] = ()
    identity: Path | None = None
    host_keys: tuple[str, ...] = ()
    root: str = ""
    trust_first_use: bool = False
    tell: Callable[[str], None] = lambda _: None


def open_ledger(layout: Layout) -> Ledger:
    """The ledger of an artifacts folder."""
    return Ledger(layout.artifacts / LEDGER_PLACE)


def run_keys(layout: Layout) -> RunKeys:
    """The key pairs of an artifacts folder's runs."""
    return RunKeys(layout.artifacts / RUN_KEYS_PLACE)


def open_provider(name: str, ledger: Ledger, layout: Layout, options: ProviderOptions | None = None) -> Provider:
    """A lender by name.

    Raises:
        ConfigError: there is none of that name, or what it needs is missing or wrong.
    """
    options = options or ProviderOptions()
    if name == "runpod":
        from moola.pods.runpod_provider import RunpodProvider

        api = open_api(options.tell)
        return RunpodProvider(api, ledger, run_keys(layout), trust_first_use=options.trust_first_use)
    if name == "ssh":
        from moola.pods.ssh_provider import SshProvider

        return SshProvider(
            options.hosts, ledger, identity=options.identity, host_keys=options.host_keys, root=options.root
        )
    if name == LENT:
        from moola.pods.lent_provider import LentProvider

        lender = open_provider("runpod", ledger, layout, replace(options, hosts=()))
        return LentProvider(lender, ledger, options.hosts)
    if name == "local":
        from moola.pods.local_provider import LocalProvider

        return LocalProvider(layout.artifacts / LOCAL_PODS_PLACE, ledger)
    raise ConfigError([f"no provider is called '{name}'; {did_you_mean(name, PROVIDERS)}"])


def askable_providers(ledger: Ledger, layout: Layout, tell: Callable[[str], None] = lambda _: None) -> list[Provider]:
    """Lenders that can be asked for all their pods: this machine, and RunPod where there is a key.

    Raises:
        ConfigError: the key cannot be one.
    """
    names = ["local", *(["runpod"] if find_key()[0] else [])]
    return [open_provider(name, ledger, layout, ProviderOptions(tell=tell)) for name in names]


def open_api(tell: Callable[[str], None] = lambda _: None) -> RunpodApi:
    """RunPod's API with the user's key.

    Raises:
        ConfigError: there is no key.
    """
    return RunpodApi(needed_key(), api_url(), tell=tell)


def needed_key() -> str:
    """The API key.

    Raises:
        ConfigError: there is none.
    """
    key, _ = find_key()
    if not key:
        problem = f"there is no RunPod API key: neither {_KEY} is set nor ~/{_KEY_FILE} has one"
        way_out = f"make a key with read and write access at {KEY_PAGE}, then export {_KEY}=..."
        raise ConfigError([problem], f"{way_out}; runs on hosts (--provider ssh) or in a folder here (local) need none")
    return key


def api_url() -> str:
    """Where RunPod's API is, or what stands for it."""
    return os.environ.get(_URL) or API_URL


def find_key() -> tuple[str, str]:
    """The API key, and where it was found; both empty where there is none."""
    if os.environ.get(_KEY):
        return os.environ[_KEY], _KEY
    path = Path.home() / _KEY_FILE
    try:
        return str(tomllib.loads(path.read_text()).get("apikey", "")), str(path)
    except (OSError, ValueError):
        return "", ""
