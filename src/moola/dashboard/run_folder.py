"""What a run folder says of its run, whatever state it is in: read once, and never an error."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from moola.config import leaves
from moola.layout import is_locked

PLAIN_FILES = ("compare.html", "review-report.html", "bench.json")
"""Files that tell a folder beside the runs which is none: pages of comparisons, tables of many sets."""
STATUSES = ("running", "finished", "failed", "interrupted", "stopped", "broken", "foreign")
"""``stopped``: the run was killed, or its machine went down; ``broken``: its files are not what a run leaves;
``foreign``: no run made the folder."""
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class RunEntry(NamedTuple):
    """A run in the list of runs.

    Attributes:
        folder: name of its folder.
        run_id: its id; the folder's name where it tells none.
        experiment: first half of the id.
        target: stage that it was made as far as; ``run`` for all.
        status: one of `STATUSES`.
        why: what ended it, or is wrong with its files; "" for nothing.
        started, finished: in UTC, ISO 8601; "" where it is not known. The latest attempt counts.
        seconds: wall time of the latest attempt that ended.
        attempts: how often it was begun.
        seeds: how many.
        chosen: the model that its verdict chose; "" for none.
        alarms: how many fired, notes apart; None before it was evaluated.
        cost_usd: rent; None where nothing was rented.
        git: commit of the repository that it was made in; with ``+`` where there were changes.
        judged: digest of the windows that it was judged on.
        on_pod: it was under way on a rented machine when it was pulled last.
    """

    folder: str
    run_id: str
    experiment: str = ""
    target: str = ""
    status: str = "foreign"
    why: str = ""
    started: str = ""
    finished: str = ""
    seconds: float | None = None
    attempts: int = 0
    seeds: int = 0
    chosen: str = ""
    alarms: int | None = None
    cost_usd: float | None = None
    git: str = ""
    judged: str = ""
    on_pod: bool = False


class Figure(NamedTuple):
    """A figure with its interval; None for what is not known."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    seeds: int


@dataclass(frozen=True)
class RunRecord:
    """All that the list of runs keeps of one.

    Attributes:
        entry: its line.
        figures: ``model/split/metric`` -> figure. The split ``given`` is out of fold on the labels as given, by which
            models are chosen.
        settings: dotted key of ``config.yaml`` -> plain value.
    """

    entry: RunEntry
    figures: Mapping[str, Figure] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_run_folder(folder: Path) -> RunRecord:
    """Read manifest, configuration and figures; whatever cannot be read is told in the entry.

    A run whose manifest says ``running`` is not looked for here: see `with_life`.
    """
    if not (folder / "manifest.json").exists():
        return RunRecord(_without_manifest(folder))
    try:
        manifest = json.loads(read_plain(folder / "manifest.json"))
        entry = _entry(folder, manifest)
    except _READ_ERRORS as error:
        why = f"manifest.json cannot be read ({type(error).__name__}: {error})"
        return RunRecord(RunEntry(folder.name, folder.name, status="broken", why=why))
    problems: list[str] = []
    has = manifest["files"].__contains__
    settings = _parts(folder / "config.yaml", _settings, problems) if has("config.yaml") else {}
    figures: dict[str, Figure] = {}
    if has("summary.json") and has("metrics.json"):
        summary = _parts(folder / "summary.json", _summary, problems)
        entry = entry._replace(chosen=summary.get("chosen", ""), alarms=summary.get("alarms"))
        figures |= summary.get("figures", {}) | _parts(folder / "metrics.json", _metrics, problems)
    if problems:
        entry = entry._replace(status="broken", why="; ".join(problems))
    return RunRecord(entry, figures, settings)


def read_plain(path: Path) -> bytes:
    """Content of a file; a pipe of its name would keep whoever reads it for ever.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    with open(descriptor, "rb") as handle:
        return handle.read()


def is_begun(record: RunRecord) -> bool:
    """Whether a run has only just begun, and more is to come without a word in its manifest."""
    return record.entry.status == "running" and not record.settings


def with_life(entry: RunEntry, results: Path) -> RunEntry:
    """The entry as things are now: a run that says ``running`` without a process has stopped.

    Args:
        entry: as it was read.
        results: in which its folder lies.
    """
    if entry.status != "running" or entry.on_pod or is_locked(results / entry.folder / ".lock"):
        return entry
    return entry._replace(status="stopped", why="its process has ended without a word: it was killed, or its machine")


def is_plain_folder(folder: Path) -> bool:
    """Whether a folder without a manifest belongs to other commands than those that make runs."""
    return any((folder / name).exists() for name in PLAIN_FILES)


def _without_manifest(folder: Path) -> RunEntry:
    if (folder / ".lock").exists():  # it was begun, and has not come as far as its manifest
        return RunEntry(folder.name, folder.name, status="running")
    return RunEntry(folder.name, folder.name, why="it has no manifest.json")


def _entry(folder: Path, manifest: Mapping[str, Any]) -> RunEntry:
    status = manifest["status"]
    if status not in STATUSES[:4] or not isinstance(manifest["files"], dict):
        raise ValueError(f"status {status!r} is none of {', '.join(STATUSES[:4])}, or files are not named")
    rented = _rented(folder)
    dirty = "+" if manifest.get("git_dirty") else ""
    return RunEntry(
        folder.name,
        _words(manifest["run_id"]),
        _words(manifest["name"]),
        _words(manifest.get("target")),
        status,
        _words(manifest.get("error")).rstrip(": "),  # an interruption says nothing of itself
        _words(manifest.get("started")),
        _words(manifest.get("finished")),
        _number(manifest.get("seconds")),
        int(manifest.get("attempts", 1)),
        len(manifest.get("seeds", ())),
        cost_usd=_number(rented.get("cost_usd")),
        git=f"{_words(manifest.get('git_commit'))[:12]}{dirty}",
        judged=_words(manifest["files"].get("judged.parquet")),
        on_pod=bool(rented.get("under_way")),
    )


def _rented(folder: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(read_plain(folder / "pod.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _parts(path: Path, read: Any, problems: list[str]) -> dict[str, Any]:
    """What `read` finds in a file; what is wrong with it joins the problems."""
    try:
        return dict(read(read_plain(path)))
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
    except _READ_ERRORS as error:
        problems.append(f"{path.name} cannot be read ({type(error).__name__}: {error})")
    return {}


def _summary(content: bytes) -> dict[str, Any]:
    told = json.loads(content)
    return {
        "chosen": told["chosen"] or "",
        "alarms": sum(alarm["severity"] == "alarm" for alarm in told["alarms"]),
        "figures": {f"{model}/given/balanced_accuracy": _figure(found) for model, found in told["as_given"].items()},
    }


def _metrics(content: bytes) -> dict[str, Figure]:
    return {f"{row['model']}/{row['split']}/{row['metric']}": _figure(row) for row in json.loads(content)}


def _figure(told: Mapping[str, Any]) -> Figure:
    value, low, high = (_number(told[name]) for name in ("value", "low", "high"))
    return Figure(value, low, high, int(told["n"]), int(told["seeds"]))


def _settings(content: bytes) -> dict[str, Any]:
    import yaml

    try:
        told = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(told, dict):
        raise TypeError("it holds no keys")
    return dict(leaves(told))


def _words(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
