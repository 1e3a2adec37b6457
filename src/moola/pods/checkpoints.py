"""Copies of a run's working state, taken while it trains, so that another pod can go on where this one died.

A copy is what one whole pull found: finished stages and the resume state of the one that is under way. A pull that is
cut leaves the copy before it as it was, because half of one and half of another is a state that no run was ever in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.layout import changed_files, read_json, replace_folder, write_json
from moola.pods.clock import Clock
from moola.pods.results import PullLimits, pull
from moola.pods.session import RunOnPod

WANTED = ("artifacts/**",)
"""Bars, windows and splits are made anew from what travels, in seconds."""
_NO_WORK = ("artifacts/results/", "artifacts/metadata/")
"""Rooms with a word about a run, which is there before it does anything."""
_MANIFEST = "checkpoint.json"
_FILES = "files"
_TAKEN = "taken.json"
_MOST_HEADER = 64 * 1024 * 1024
"""Bytes of a safetensors header that are read; more is no resume state."""


@dataclass(frozen=True)
class Kept:
    """A copy that is here, whole.

    Attributes:
        files: how many.
        at: when it was taken, UTC.
        steps: where each training that was under way stood, for people.
    """

    files: int
    at: datetime
    steps: tuple[str, ...]

    def __str__(self) -> str:
        taken = f"{self.files} files, taken {self.at:%Y-%m-%d %H:%M:%S} UTC"
        return ", ".join([taken, *self.steps])


def pull_checkpoint(pod: RunOnPod, folder: Path, limits: PullLimits | None = None) -> int:
    """Bring the copy here up to date; how many files travelled.

    Args:
        pod: where the run is.
        folder: of the copy.
        limits: of what the pod may send.

    Raises:
        MoolaError: the pod is out of reach or offers what is refused; the copy before this one stays.
    """
    following = folder.with_name(f".{folder.name}.next")
    taken_s = pod.status().get("billed_s", 0.0)
    _link(_newest(folder) / _FILES, following / _FILES)
    report = pull(pod.shell.connection, pod.shell.root, pod.run, WANTED, following / _FILES, limits=limits)
    write_json(following / _MANIFEST, {file.path: file.sha256 for file in report.files})
    write_json(following / _TAKEN, {"billed_s": taken_s})
    replace_folder(following, folder)
    return report.fetched_files


def checkpoint_files(folder: Path, *, taken_after_s: float = 0.0) -> dict[str, Path]:
    """What to send to a pod: path below the project -> file here. Empty where there is no whole copy, or an older one.

    Args:
        folder: of the copy.
        taken_after_s: seconds that the run had been billed when it was last at work where the copy is to be sent. One
            from before that would replace a later state, of which there may be no other.
    """
    newest = _newest(folder)
    if not (newest / _MANIFEST).is_file() or _billed_s(newest) < taken_after_s:
        return {}
    digests: Mapping[str, str] = read_json(newest / _MANIFEST)
    if changed_files(newest / _FILES, digests):
        return {}
    return {path: newest / _FILES / path for path in digests}


def taken_s(folder: Path) -> float:
    """Seconds that the run was billed when the copy was taken: tells the newer of two. 0 where nothing tells."""
    return _billed_s(_newest(folder)) if checkpoint_files(folder) else 0.0


def kept_checkpoint(folder: Path) -> Kept | None:
    """What `checkpoint_files` has to send, in brief; None where nothing of it is work, of stages done or under way."""
    files = {path: file for path, file in checkpoint_files(folder).items() if not path.startswith(_NO_WORK)}
    if not files:
        return None
    taken = datetime.fromtimestamp((_newest(folder) / _MANIFEST).stat().st_mtime, UTC)
    states = [path for name, path in sorted(files.items()) if "/resume/" in name and path.suffix == ".safetensors"]
    return Kept(len(files), taken, tuple(step for path in states if (step := _step_of(path))))


def _step_of(path: Path) -> str:
    """Where a training stood, as `moola.training.checkpoint_io` writes it; read without torch, empty if it is none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(min(size, _MOST_HEADER)))
        return f"{path.stem} at step {int(json.loads(header['__metadata__']['state'])['global_step'])}"
    return ""


def _billed_s(copy: Path) -> float:
    return float(read_json(copy / _TAKEN)["billed_s"]) if (copy / _TAKEN).is_file() else 0.0


def _newest(folder: Path) -> Path:
    """The copy, or the one before it where a kill came between two renames."""
    return folder if folder.exists() else folder.with_name(f".{folder.name}.old")


def _link(source: Path, target: Path) -> None:
    """What is here need not travel again. A pull replaces files and never writes into one, so links will do."""
    if source.is_dir() and not target.exists():
        shutil.copytree(source, target, copy_function=os.link)


class CheckpointPuller:
    """Pulls in the background, now and then, beside whoever follows the run.

    Args:
        folder: for the copy.
        every_s: between the end of one pull and the beginning of the next.
        tell: is told of what came, and of what went wrong.
        clock: for tests.
    """

    def __init__(self, folder: Path, every_s: float, tell: Callable[[str], None], clock: Clock | None = None) -> None:
        self._folder, self._every_s, self._tell, self._clock = folder, every_s, tell, clock or Clock()
        self._last = self._clock.now()
        self._thread: threading.Thread | None = None

    def look(self, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        """Begin a pull where one is due and none is under way."""
        if status.get("step") != "job" or (self._thread is not None and self._thread.is_alive()):
            return
        if self._clock.now() - self._last >= self._every_s:
            self._thread = threading.Thread(target=self._pull, args=(pod,), name="checkpoint", daemon=True)
            self._thread.start()

    def join(self) -> None:
        """Wait for the pull that is under way."""
        if self._thread is not None:
            self._thread.join()

    def _pull(self, pod: RunOnPod) -> None:
        try:
            n_files = pull_checkpoint(pod, self._folder)
            if n_files:
                self._tell(f"checkpoint: {n_files} files are here")
        except (MoolaError, OSError) as error:
            self._tell(f"checkpoint: not pulled this time ({error})")
        self._last = self._clock.now()
