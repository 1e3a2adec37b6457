"""What a host has for runs: whether it lets us in, its Python, torch, disk and GPUs. Nothing is left on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence

from moola.errors import MoolaError
from moola.pods.examining import Check
from moola.pods.pod_job import MIN_PYTHON, SPARE_DISK_GB
from moola.pods.session import CLOCK_SKEW_S, PodShell, open_shell
from moola.pods.ssh import AccessError, HostKeyError
from moola.pods.ssh_provider import SshProvider, unreachable

_LOOK_S = 60.0
_TORCH = """\
import importlib.metadata, json
try:
    print(json.dumps(importlib.metadata.version("torch")))
except importlib.metadata.PackageNotFoundError:
    print("null")
"""
_GPUS = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_OTHER_PYTHON = "name another with --python PATH"


def examine_host(hosts: SshProvider, place: str, python: str) -> Iterator[Check]:
    """Look at one host; what cannot be looked at without what is missing is left out.

    Args:
        hosts: the lender.
        place: which of its hosts.
        python: the interpreter there.
    """
    section, target = f"ssh {place}", hosts.targets[place]
    if why := unreachable(target):
        yield Check(section, "reach", False, why, "see whether it runs, and its address and port")
        return
    said: list[str] = []
    try:
        shell = open_shell(target, root=hosts.root, python=python, tell=said.append)
    except MoolaError as error:
        name = {HostKeyError: "host key", AccessError: "key"}.get(type(error), "python")
        mend = _OTHER_PYTHON if name == "python" else error.way_out
        yield Check(section, name, False, " ".join(f"{error.what}: {error.why}".split()), mend)
        return
    if shell is None:
        yield Check(section, "reach", False, "; ".join(said), "see whether its sshd answers: ssh -v")
        return
    try:
        known = "known_hosts has its key" if target.host_keys is None else "its key is the pinned one"
        yield Check(section, "reach", True, f"{target.user} is let in; {known}")
        yield from _machine(section, shell)
        yield from _python(section, shell)
        yield _gpus(section, shell)
        runs = [pod.run for pod in hosts.find() if pod.data_center == place]
        yield Check(section, "runs", True, f"has {', '.join(runs)}" if runs else "is free")
    finally:
        shell.connection.close()


def _machine(section: str, shell: PodShell) -> Iterator[Check]:
    facts, free_gb = shell.facts, shell.facts["free_bytes"] / 1e9
    roomy = free_gb >= SPARE_DISK_GB
    mend = "" if roomy else f"free {SPARE_DISK_GB:g} GB, or choose another folder with pod.root=FOLDER"
    yield Check(section, "disk", roomy, f"{free_gb:.1f} GB free in {shell.root}", mend)
    yield Check(section, "machine", True, f"{facts['cores']} cores, {facts['memory_bytes'] / 1e9:.1f} GB memory")
    if abs(shell.skew_s) > CLOCK_SKEW_S:
        yield Check(section, "clock", False, f"{shell.skew_s:+.0f} s beside this machine's", "set it there")


def _python(section: str, shell: PodShell) -> Iterator[Check]:
    version, path = shell.facts["python"], shell.facts["executable"]
    least = ".".join(map(str, MIN_PYTHON))
    new = tuple(int(part) for part in version.split(".")[:2]) >= MIN_PYTHON
    yield Check(section, "python", new, f"{version} ({path})", "" if new else f"{least} is needed; {_OTHER_PYTHON}")
    torch = json.loads(_output(shell, [path, "-c", _TORCH]) or "null")
    mend = "" if torch else f"install it there for {path}, or {_OTHER_PYTHON}"
    yield Check(section, "torch", torch is not None, torch or f"not in {path}", mend)


def _gpus(section: str, shell: PodShell) -> Check:
    found = [line.strip() for line in _output(shell, _GPUS).splitlines() if line.strip()]
    return Check(section, "gpu", True, "; ".join(found) or "none: runs use its processors")


def _output(shell: PodShell, argv: Sequence[str]) -> str:
    """What a program there says; nothing where it is missing, fails or hangs."""
    with shell.connection.start(argv, cwd=shell.root) as process:
        try:
            output, _ = process.communicate(timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return ""
    return output.decode(errors="replace") if process.returncode == 0 else ""
