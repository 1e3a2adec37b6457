"""From a staged copy of a pod's results to the run's place here: checked, then moved; the run folder comes last.

Nothing looks finished before all of it is: a run counts by ``manifest.json`` in its folder, which appears with the
folder, by one rename, after everything that it names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moola.encoders.record import read_record
from moola.encoders.shelf import ROOM, encoder_folders, publish
from moola.errors import StorageError
from moola.layout import Layout, changed_files, read_json, replace_folder, write_json
from moola.pipelines.rented import Rented, write_rented
from moola.pipelines.sealed_tests import open_sealed_test, read_openings
from moola.pods.bundle import Bundle
from moola.pods.ledger import Ledger
from moola.pods.provider import PodRecord
from moola.pods.results import pull
from moola.pods.session import RunOnPod

RESULTS = "artifacts/runpod_results"
"""Folder of the layout with what came back, by run."""
_RUN_FOLDERS = "artifacts/results"
_SEALED = "artifacts/metadata/sealed_tests.jsonl"
_PULL_AGAIN = "pull again: moola pod pull RUN"


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        folder: the run folder here.
        status: of the run: ``finished``, or what its manifest says.
        moved: artifacts of stages that are new here.
        kept: those that were here before.
        encoders: named encoders that are new here.
    """

    folder: Path
    status: str
    moved: tuple[str, ...]
    kept: tuple[str, ...]
    encoders: tuple[str, ...]


def result_folder(layout: Layout, run: str) -> Path:
    """Where what came back of a run is kept: logs, reports, checkpoints and the staged results."""
    return layout.room(RESULTS) / run


def pull_results(pod: RunOnPod, staging: Path, **options: Any) -> Path:
    """Fetch the run folder and every artifact that it was made of.

    Args:
        pod: where they are.
        staging: a folder of this run's own.
        options: ``limits``, ``progress`` and ``patience`` of `moola.pods.results.pull`.

    Returns:
        The staged run folder.

    Raises:
        StorageError: the pod has no run folder, offers what is refused, or what came is not what its manifests say.
    """
    connection, root = pod.shell.connection, pod.shell.root
    pull(connection, root, pod.run, [f"{_RUN_FOLDERS}/*/manifest.json"], staging, **options)
    found = sorted((staging / _RUN_FOLDERS).glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
    if len(found) != 1:
        names = ", ".join(path.parent.name for path in found) or "none"
        raise StorageError("the pod has no one run folder", names, "look at its log: moola pod logs RUN")
    folder = found[0].parent
    manifest = read_json(found[0])
    wanted = [f"{_RUN_FOLDERS}/{folder.name}/**", _SEALED, f"{ROOM}/*/encoder.json"]
    wanted += [f"{place}/**" for place in _stage_places(manifest, pod.project)]
    pull(connection, root, pod.run, wanted, staging, **options)
    names = [record.parent.name for record in (staging / ROOM).glob("*/encoder.json")]
    pull(connection, root, pod.run, [f"{ROOM}/{name}/**" for name in names], staging, **options)
    check_staged(staging, folder, pod.project)
    return folder


def check_staged(staging: Path, folder: Path, project: str) -> None:
    """Hold every staged file against its manifest.

    Raises:
        StorageError: files are missing or are not what was written; all are named.
    """
    manifest = read_json(folder / "manifest.json")
    problems = [f"- {folder.name}/{name} {why}" for name, why in changed_files(folder, manifest["files"]).items()]
    for place in _stage_places(manifest, project):
        stage = staging / place
        if not (stage / "manifest.json").is_file():
            problems.append(f"- {place} is missing")
            continue
        digests = read_json(stage / "manifest.json")["files"]
        problems += [f"- {place}/{name} {why}" for name, why in changed_files(stage, digests).items()]
    if problems:
        raise StorageError("what came back is not what the run wrote", "\n".join(problems), _PULL_AGAIN)


def rented_by(
    run: str, record: PodRecord, ledger: Ledger, bundle: Bundle, *, at: float, under_way: bool = False
) -> Rented:
    """What a run's pods cost up to now, as the ledger knows it.

    Args:
        run: its id.
        record: its last pod.
        ledger: who remembers them all.
        bundle: what was sent.
        at: seconds since 1970, by the clock of the machine that is told.
        under_way: the run goes on.
    """
    pods = ledger.pods(run)
    return Rented(
        provider=record.provider,
        pod=record.pod_id,
        gpu=record.gpu,
        place=record.data_center,
        price_per_h=record.price_per_h,
        pods=len(pods),
        seconds=sum(pod.seconds for pod in pods),
        cost_usd=sum(pod.cost for pod in pods),
        at=at,
        under_way=under_way,
        bundle=bundle.bundle_id,
        git=bundle.facts["git"],
    )


def publish_results(staging: Path, folder: Path, layout: Layout, *, project: str, rented: Rented) -> Published:
    """Move staged results to their places; after a crash the same call goes on.

    An artifact that is here already stays: its key says that it was made from the same things in the same way.

    Args:
        staging: checked by `check_staged`.
        folder: the staged run folder.
        layout: of the project here.
        project: the project's folder on the pod, which manifests name.
        rented: what the run's pods cost, for ``pod.json`` beside its manifest.
    """
    manifest = read_json(folder / "manifest.json")
    moved, kept = list[str](), list[str]()
    for line in manifest["stages"]:
        place = _place(line["folder"], project)
        target = layout.room(place)
        (kept if _is_whole(target) else moved).append(target.name)
        if not _is_whole(target):
            replace_folder(staging / place, target)
        line["folder"] = str(target)
    encoders = _publish_encoders(staging, layout)
    if (staging / _SEALED).is_file():
        for opening in read_openings(staging / _SEALED):
            open_sealed_test(layout.room(_SEALED), opening.digest, opening.run_id)
    write_json(folder / "manifest.json", manifest)
    write_rented(folder, rented)
    final = layout.results / folder.name
    replace_folder(folder, final)
    return Published(final, manifest["status"], tuple(moved), tuple(kept), tuple(encoders))


def _stage_places(manifest: Mapping[str, Any], project: str) -> list[str]:
    return [_place(line["folder"], project) for line in manifest["stages"]]


def _place(folder: str, project: str) -> str:
    """A folder that a manifest of the pod names, relative to its project.

    Raises:
        StorageError: it is no folder of artifacts there.
    """
    place = folder.removeprefix(f"{project}/")
    parts = place.split("/")
    plain = not any(part in ("", ".", "..") or "*" in part or "?" in part or "\0" in part for part in parts)
    if place == folder or not plain or parts[0] not in ("data", "artifacts") or len(parts) < 3:
        raise StorageError("the pod names a folder that holds no artifacts", repr(folder), "look at the pod by hand")
    return place


def _is_whole(folder: Path) -> bool:
    """Whether an artifact is here as it was written."""
    path = folder / "manifest.json"
    return path.is_file() and not changed_files(folder, read_json(path)["files"])


def _publish_encoders(staging: Path, layout: Layout) -> list[str]:
    """Put named encoders on the shelf here, under a version that is free; the names of new ones."""
    new: list[str] = []
    for folder in encoder_folders(staging / ROOM):
        record = read_record(folder)
        wrong = changed_files(folder, record.files)
        if wrong:
            why = ", ".join(f"{name} {why}" for name, why in wrong.items())
            raise StorageError(f"the encoder {folder.name} is not what its record says", why, _PULL_AGAIN)
        stem = re.sub(r"_v\d+$", "", record.name)
        sources = {name: folder / name for name in record.files}
        done, is_new = publish(layout.room(ROOM), stem, replace(record, name="", files={}), sources)
        new += [done.name] if is_new else []
    return new
