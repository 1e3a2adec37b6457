"""From a staged copy of a pod's results to the run's place here: checked, then moved; the run folder comes last.

Nothing looks finished before all of it is: a run counts by ``manifest.json`` in its folder, which appears with the
folder, by one rename, after everything that it names. And nothing here gives way to it but what is the same.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moola.config import digest_json
from moola.encoders.shelf import ROOM, publish
from moola.errors import StorageError
from moola.layout import Layout, changed_files, read_json, replace_folder, write_json
from moola.pipelines.rented import Rented, write_rented
from moola.pipelines.sealed_tests import open_sealed_test, read_openings
from moola.pods.browser_content import disarm
from moola.pods.bundle import Bundle
from moola.pods.ledger import Ledger
from moola.pods.provider import PodRecord
from moola.pods.result_manifest import PullLimits
from moola.pods.results import pull
from moola.pods.session import RunOnPod
from moola.pods.staged_results import REPLAYED, RUN_FOLDERS, StagedRun, check_staged, read_staged_run

RESULTS = "artifacts/runpod_results"
"""Folder of the layout with what came back, by run."""
_SEALED = "artifacts/metadata/sealed_tests.jsonl"
_FIRST = PullLimits(files=1000, file_bytes=64 * 1024**2, bytes=256 * 1024**2)
"""Of manifests alone, which are read before anything else is asked for."""


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        folder: the run folder here.
        disarmed: files that a browser would have run, relative to the folder; their names say so.
        came: whether it came of the pod; not where the same run was finished here already, and stays.
    """

    folder: Path
    disarmed: tuple[str, ...] = ()
    came: bool = True


def find_published(run: str, bundle: str, layout: Layout) -> Path | None:
    """The folder here with the results of a run, where it finished and every file is as it was published.

    Args:
        run: id under which it was sent.
        bundle: what was sent; a run of other files, or one that was to build anew, is another.
        layout: of the project here.
    """
    experiment = run.removesuffix(REPLAYED).rpartition("-")[0]
    for path in sorted(layout.results.glob(f"{glob.escape(experiment)}-*/manifest.json")):
        with contextlib.suppress(StorageError):  # a manifest that cannot be read tells of no results
            manifest = _said(path.parent)
            came_of = manifest.get("pod")
            is_own = isinstance(came_of, Mapping) and (came_of.get("run"), came_of.get("bundle")) == (run, bundle)
            if is_own and manifest.get("status") == "finished" and not changed_files(path.parent, manifest["files"]):
                return path.parent
    return None


def result_folder(layout: Layout, run: str) -> Path:
    """Where what came back of a run is kept: logs, reports, checkpoints and the staged results."""
    return layout.room(RESULTS) / run


def pull_results(pod: RunOnPod, staging: Path, rooms: Mapping[str, str] | None = None, **options: Any) -> StagedRun:
    """Fetch the run folder and every artifact that it was made of.

    Args:
        pod: where they are.
        staging: a folder of this run's own.
        rooms: as of `read_staged_run`.
        options: ``limits``, ``progress`` and ``patience`` of `moola.pods.results.pull`.

    Returns:
        What is staged, checked.

    Raises:
        StorageError: the pod has no finished run, offers what is refused, or what came is not what its manifests say.
    """
    connection, root = pod.shell.connection, pod.shell.root
    first = {**options, "limits": options.get("limits") or _FIRST}
    report = pull(connection, root, pod.run, [f"{RUN_FOLDERS}/*/manifest.json"], staging, **first)
    staged = read_staged_run(staging, [file.path.split("/")[2] for file in report.files], pod, rooms)
    wanted = [f"{RUN_FOLDERS}/{staged.folder.name}/**", _SEALED, f"{ROOM}/*/encoder.json"]
    wanted += [f"{stage.place}/**" for stage in staged.stages]
    pull(connection, root, pod.run, wanted, staging, **options)
    names = [folder.name for folder, _ in staged.encoders]
    pull(connection, root, pod.run, [f"{ROOM}/{name}/**" for name in names], staging, **options)
    check_staged(staged)
    return staged


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


def publish_results(staged: StagedRun, layout: Layout, *, rented: Rented) -> Published:
    """Move staged results to their places; after a crash the same call goes on.

    An artifact that is here already stays: its key says that it was made from the same things in the same way. So does
    the same run where it finished here, without a pod; one that did not finish here moves beside the pod's logs.

    Args:
        staged: by `pull_results`.
        layout: of the project here.
        rented: what the run's pods cost, for ``pod.json`` beside its manifest; who computed goes into all manifests.

    Raises:
        StorageError: something else stands where results belong; nothing was moved.
    """
    pod = {
        "run": staged.run,
        "provider": rented.provider,
        "pod_id": rented.pod,
        "gpu": rented.gpu,
        "bundle": rented.bundle,
        "git": rented.git,
    }
    final = layout.results / staged.folder.name
    if _is_made_here(staged, final) and _said(final).get("status") == "finished" and _is_whole(final):
        return Published(final, came=False)
    targets = {stage.place: layout.room(stage.place) for stage in staged.stages}
    _refuse_to_replace(staged, targets, final)
    lines: list[dict[str, Any]] = []
    for stage in staged.stages:
        target, source = targets[stage.place], staged.staging / stage.place
        line = {**stage.line, "folder": str(target)}
        if not _is_whole(target):
            line["digest"] = _rewrite(source, {"pod": pod})["digest"]
            replace_folder(source, target)
        lines.append(line)
    _publish_encoders(staged, layout)
    openings = staged.staging / _SEALED
    for opening in read_openings(openings) if openings.is_file() else []:
        if opening.run_id == staged.folder.name and isinstance(opening.digest, str):
            open_sealed_test(layout.room(_SEALED), opening.digest, opening.run_id)
    manifest = _rewrite(staged.folder, {"stages": lines, "pod": pod})
    write_rented(staged.folder, rented)
    if _is_made_here(staged, final):
        replace_folder(final, result_folder(layout, staged.run) / "unfinished")
    replace_folder(staged.folder, final)
    return Published(final, tuple(name for name in manifest["files"] if name not in staged.manifest["files"]))


def _refuse_to_replace(staged: StagedRun, targets: Mapping[str, Path], final: Path) -> None:
    """Results give way to nothing but themselves: the same artifact, damaged, and what came of the same run before."""
    problems: list[str] = []
    for stage in staged.stages:
        target = targets[stage.place]
        if target.exists() and _said(target).get("key") != stage.line["key"]:
            problems.append(f"- {target} is here and is no artifact of that key")
    came_of = _said(final).get("pod")
    is_own = isinstance(came_of, Mapping) and came_of.get("run") == staged.run
    if final.exists() and not is_own and not _is_made_here(staged, final):
        problems.append(f"- {final} is here and did not come of {staged.run}")
    if problems:
        way_out = "move it away if it is not wanted, then pull again: moola pod pull RUN"
        raise StorageError("the pod's results would replace something else", "\n".join(problems), way_out)


def _is_made_here(staged: StagedRun, final: Path) -> bool:
    """Whether the same run was at work in its folder here, without a pod."""
    return final.name == staged.run and bool(said := _said(final)) and "pod" not in said


def _said(folder: Path) -> Mapping[str, Any]:
    """The manifest of a folder that is here; empty where it has none."""
    path = folder / "manifest.json"
    return read_json(path) if path.is_file() else {}


def _is_whole(folder: Path) -> bool:
    """Whether an artifact is here as it was written."""
    manifest = _said(folder)
    return bool(manifest) and not changed_files(folder, manifest["files"])


def _rewrite(folder: Path, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with changes, and with files under the names that a browser does not run; it is written, too."""
    manifest = {**_said(folder), **changed}
    manifest["files"] = disarm(folder, manifest["files"])
    if "digest" in manifest:
        manifest["digest"] = digest_json(manifest["files"])
    write_json(folder / "manifest.json", manifest)
    return manifest


def _publish_encoders(staged: StagedRun, layout: Layout) -> None:
    """Put the run's named encoders on the shelf here, under a version that is free."""
    for folder, record in staged.encoders:
        stem = re.sub(r"_v\d+$", "", record.name)
        sources = {name: folder / name for name in disarm(folder, record.files)}
        publish(layout.room(ROOM), stem, replace(record, name="", files={}), sources)
