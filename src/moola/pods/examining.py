"""What has to be there before a pod can be rented, and how each is mended."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from moola.errors import MoolaError
from moola.layout import Layout
from moola.pods.clock import Clock
from moola.pods.ledger import LEDGER_PLACE, Ledger
from moola.pods.provider import BILLING, run_and_owner
from moola.pods.providers import ProviderOptions, api_url, find_key, open_api, open_ledger
from moola.pods.runpod_api import KEY_PAGE, RunpodApi

_MIN_FREE_GB = 2.0
_MAX_SKEW_S = 60.0
_OPENSSH = "install the OpenSSH client (apt install openssh-client)"
_PROGRAMS = {
    "git": "install git: without it every file that .gitignore lets through travels",
    "ssh": _OPENSSH,
    "ssh-keygen": _OPENSSH,
    "ssh-keyscan": _OPENSSH,
}
_NEEDED = {"local": ("git",), "ssh": ("git", "ssh"), "runpod": tuple(_PROGRAMS)}
"""Programs by provider."""
_PACKAGES = ("httpx", "packaging", "pathspec")
HERE = "this machine"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        section: ``this machine``, ``runpod``, or the host.
        name: of the thing.
        is_fine: nothing stands in the way.
        found: what there is.
        mend: what to do about it; empty where there is nothing to do.
    """

    section: str
    name: str
    is_fine: bool
    found: str
    mend: str = ""


def examine(
    layout: Layout,
    provider: str = "",
    options: ProviderOptions | None = None,
    *,
    python: str = "python3",
    offline: bool = False,
    clock: Clock | None = None,
) -> Iterator[Check]:
    """Look at one thing after another.

    Args:
        layout: whose ledger and disk.
        provider: whose needs count; empty: RunPod is looked at where there is a key, and nobody has to have one.
        options: hosts and their keys, for ssh.
        python: the interpreter on the hosts.
        offline: ask no account and no host.
        clock: for tests.

    Raises:
        ConfigError: a host, or its key, cannot be one.
    """
    with tempfile.TemporaryDirectory(prefix="moola-doctor-") as scratch:  # a look makes nothing that stays
        yield from _checks(
            layout, provider, options or ProviderOptions(), python, offline, clock or Clock(), Path(scratch)
        )


def _checks(
    layout: Layout, provider: str, options: ProviderOptions, python: str, offline: bool, clock: Clock, scratch: Path
) -> Iterator[Check]:
    yield from map(_program, _NEEDED[provider or "runpod"])
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    told = f"{', '.join(missing)} not installed" if missing else f"{', '.join(_PACKAGES)} are installed"
    yield Check(HERE, "packages", not missing, told, "pip install 'moola[pods]'" if missing else "")
    ledger = yield from _ledger(layout, scratch)
    yield _disk(layout)
    if provider in ("", "runpod"):
        yield from _runpod(ledger, clock, is_wanted=bool(provider), ask=not (offline or missing))
    elif provider == "ssh" and ledger is not None:
        from moola.pods.examining_hosts import examine_host
        from moola.pods.ssh_provider import SshProvider

        hosts = SshProvider(
            options.hosts, ledger, identity=options.identity, host_keys=options.host_keys, root=options.root
        )
        for place in () if offline else hosts.targets:
            yield from examine_host(hosts, place, python)


def _runpod(ledger: Ledger | None, clock: Clock, *, is_wanted: bool, ask: bool) -> Iterator[Check]:
    key, place = find_key()
    if key:
        yield Check("runpod", "key", True, f"in {place} (not shown)")
        if ask:
            yield from _account(ledger, clock)
        return
    mend = f"for RunPod make a key with read and write access at {KEY_PAGE}, then export RUNPOD_API_KEY=..."
    yield Check("runpod", "key", not is_wanted, "there is none; hosts (ssh) and folders (local) need none", mend)


def _program(name: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(HERE, name, False, "not installed", _PROGRAMS[name])
    version = ""
    if name in ("ssh", "git"):
        words = [path, "-V" if name == "ssh" else "--version"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
        version = f" ({(done.stdout or done.stderr).strip().partition(',')[0]})"
    return Check(HERE, name, True, f"{path}{version}")


def _ledger(layout: Layout, scratch: Path) -> Generator[Check, None, Ledger | None]:
    """Checks of the ledger; the generator's value is the ledger, an empty one in `scratch`, or None."""
    path = layout.artifacts / LEDGER_PLACE
    if not path.exists():
        yield Check(HERE, "ledger", True, f"{path}: none yet, the first run makes it")
        return Ledger(scratch / path.name)
    try:
        ledger = open_ledger(layout)
    except (MoolaError, OSError) as error:
        way_out = error.way_out if isinstance(error, MoolaError) else "choose another place with --artifacts FOLDER"
        yield Check(HERE, "ledger", False, str(error).partition("\n")[0], way_out)
        return None
    running = ledger.pods(open_only=True)
    yield Check(HERE, "ledger", True, f"{ledger.path}: {len(ledger.pods())} pods, {len(running)} of them open")
    return ledger


def _disk(layout: Layout) -> Check:
    place = layout.artifacts
    while not place.exists():
        place = place.parent
    free_gb = shutil.disk_usage(place).free / 1e9
    if not os.access(place, os.W_OK):
        return Check(HERE, "disk", False, f"{place} cannot be written", "choose another place with --artifacts FOLDER")
    found = f"{free_gb:.1f} GB free in {place}"
    return Check(
        HERE, "disk", free_gb >= _MIN_FREE_GB, found, "" if free_gb >= _MIN_FREE_GB else "free space for results"
    )


def _account(ledger: Ledger | None, clock: Clock) -> Iterator[Check]:
    """The account, without touching its balance: the key, the clock, and pods that bill."""
    try:
        with open_api() as api:
            pods = api.pods()
            yield Check("runpod", "account", True, f"{api_url()} answers; {len(pods)} pods")
            yield _clock(api, clock)
    except MoolaError as error:
        yield Check("runpod", "account", False, f"{error.what}: {error.why}".strip(": "), error.way_out)
        return
    tags = [(pod, run_and_owner(str(pod["name"]))) for pod in pods if pod["status"] in BILLING]
    known = {pod.pod_id for pod in ledger.pods(open_only=True)} if ledger else set[str]()
    lost = [pod for pod, tag in tags if tag and ledger and tag[1] == ledger.owner and pod["id"] not in known]
    each_hour = sum(float(pod["cost"]) for pod, tag in tags if tag)
    found = f"{sum(tag is not None for _, tag in tags)} with moola's tag, ${each_hour:.2f} an hour"
    mend = f"nobody waits for {', '.join(pod['id'] for pod in lost)}: `moola pod reap`" if lost else ""
    yield Check("runpod", "pods", not lost, found, mend)


def _clock(api: RunpodApi, clock: Clock) -> Check:
    """A clock that is off makes ages, costs and deadlines wrong."""
    theirs = api.server_time()
    if theirs is None:
        return Check("runpod", "clock", True, "RunPod does not tell its time")
    skew = clock.now() - theirs.timestamp()
    fine = abs(skew) <= _MAX_SKEW_S
    mend = "" if fine else "set this machine's clock (timedatectl set-ntp true): ages and costs are wrong by that much"
    return Check("runpod", "clock", fine, f"{skew:+.0f} s beside RunPod's", mend)
