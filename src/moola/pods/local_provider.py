"""A fresh folder of this machine as a pod: the same road as to a rented one, without the machine."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from moola.errors import StorageError
from moola.layout import read_json
from moola.pods.clock import Clock
from moola.pods.ledger import Ledger
from moola.pods.provider import LocalTarget, Offer, PodRecord, PodState, PodWish

_ENDED = ".ended"
_NAME = re.compile(r"(?P<run>[^.].*)-[0-9a-f]{8}")
_DELETE = """\
import os, shutil, sys
if not os.fork():
    os.setsid()
    for path in sys.argv[1:]:
        shutil.rmtree(path, ignore_errors=True)
"""
"""Deletes in the background: a disk may take seconds for a thousand files, and nobody waits for it."""


class LocalProvider:
    """Folders as pods.

    Args:
        folder: in which each pod gets a folder of its own.
        ledger: knows which run each is for.
        clock: for tests.
    """

    name = "local"
    can_end_itself = False
    makes_machines = False

    def __init__(self, folder: Path, ledger: Ledger, *, clock: Clock | None = None) -> None:
        self._folder, self._ledger, self._clock = folder.absolute(), ledger, clock or Clock()

    @property
    def root(self) -> str:
        """The folder of all of them; the root of one is its target's."""
        return str(self._folder)

    def offers(self, wish: PodWish) -> list[Offer]:
        """The machine at hand."""
        return [Offer("", "", 0, self.name, "", "HIGH", 0.0, wish.count)]

    def create(self, wish: PodWish, run: str, offer: Offer, public_key: str) -> PodRecord:
        """Make a folder."""
        pod_id = f"{run}-{secrets.token_hex(4)}"
        (self._folder / pod_id).mkdir(parents=True)
        return PodRecord.unbilled(self.name, pod_id, run, self._ledger.owner, offer, self._clock.now())

    def find(self, run: str | None = None) -> list[PodRecord]:
        """Folders that are there, also those of a ledger that was deleted: there is one for all of them."""
        owner = self._ledger.owner
        known = {pod.pod_id: pod for pod in self._ledger.pods(run) if pod.provider == self.name}
        there = [pod.record(owner) for pod in known.values() if pod.ended_at is None]
        for path in self._folder.glob("*"):
            name = _NAME.fullmatch(path.name)
            if name and path.name not in known and run in (None, name["run"]):
                offer, made = self.offers(PodWish())[0], path.stat().st_mtime
                there.append(PodRecord.unbilled(self.name, path.name, name["run"], owner, offer, made))
        return [pod for pod in there if self._place(pod.pod_id).is_dir()]

    def status(self, pod_id: str) -> PodState:
        """Running as long as the folder is there."""
        there = self._place(pod_id).is_dir()
        return PodState("RUNNING", uptime_s=0.0) if there else PodState("TERMINATED", detail="its folder is gone")

    def target(self, pod: PodRecord, *, keys_changed: bool = False) -> LocalTarget | None:
        """The folder."""
        place = self._place(pod.pod_id)
        return LocalTarget(place) if place.is_dir() else None

    def system_log(self, pod_id: str, tail: int) -> list[str]:
        """Nobody writes one."""
        return []

    def end(self, pod_id: str) -> None:
        """Kill what still runs in the folder, take its name away at once, and let a process of its own delete it."""
        place = self._place(pod_id)
        for pid in _leaders(place):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):  # gone already; or it stays, and its status says so
            os.replace(place, place.with_name(f".{place.name}{_ENDED}"))
        # those of an earlier end, too, which may have been cut short
        doomed = [path.name for path in self._folder.glob(f".*{_ENDED}")]
        if doomed:
            argv = [sys.executable, "-I", "-S", "-c", _DELETE, *doomed]
            quiet = subprocess.DEVNULL  # whoever reads our output must not wait for it
            subprocess.run(argv, check=False, cwd=self._folder, stdin=quiet, stdout=quiet, stderr=quiet)

    def billed(self, since: datetime) -> Mapping[str, float]:
        """Nobody bills."""
        return {}

    def _place(self, pod_id: str) -> Path:
        return self._folder / Path(pod_id).name


def _leaders(place: Path) -> Iterator[int]:
    """Process groups that still work below a folder: supervisors first, or they would start the next step."""
    found: list[dict[str, object]] = []
    for path in place.glob("runs/*/status.json"):
        with contextlib.suppress(StorageError, OSError):
            found.append(read_json(path))
    for name in ("supervisor_pid", "pid"):
        for status in found:
            pid = status.get(name)
            if isinstance(pid, int) and pid > 1 and _works_below(pid, place):
                yield pid


def _works_below(pid: int, place: Path) -> bool:
    """Whether a process is one of the folder's, for numbers are used again; where nothing tells, it is not."""
    process = Path(f"/proc/{pid}")
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return (process / "cwd").resolve(strict=True).is_relative_to(place.resolve()) or any(
            os.fsdecode(word).startswith(f"{place}/") for word in words
        )
    except OSError:
        return False
