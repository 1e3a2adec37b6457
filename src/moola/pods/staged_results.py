"""The staged copy of a pod's results, believed in what it says of figures, and not in where it wants to lie.

Whoever has the pod writes every byte of it, manifests and digests included. So a place here follows from what moola
itself knows: the room of a stage from the stage's class, the name of an artifact from its key, and that from the recipe
that it gives away; the name of a run's folder from the experiment that was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.config import digest_json
from moola.encoders.record import RECORD, EncoderRecord, read_record
from moola.encoders.shelf import ROOM, encoder_folders
from moola.errors import ConfigError, StorageError
from moola.layout import changed_files, read_json
from moola.pods.browser_content import DISARMED
from moola.pods.session import RunOnPod

RUN_FOLDERS = "artifacts/results"
REPLAYED = "-replay"
"""Behind the id of a run that is done once more."""
_PULL_AGAIN = "pull again: moola pod pull RUN"
_LOOK = "look at the pod by hand: moola pod ssh RUN"
_UNLISTED = ("manifest.json", "events.jsonl", "tracking.jsonl")
"""Files of a run folder that its manifest does not list."""
_MOST_MANIFEST_BYTES = 64 * 1024**2
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ENCODER = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*_v\d+")


@dataclass(frozen=True)
class StagedStage:
    """An artifact that the run was made of.

    Attributes:
        line: of the run's manifest.
        place: where it belongs, here as on the pod: a room of the layout and a name that is its key's.
    """

    line: Mapping[str, Any]
    place: str


@dataclass(frozen=True)
class StagedRun:
    """A finished run as it was staged.

    Attributes:
        staging: folder of all that was staged.
        folder: of the run, in it.
        run: id under which it was sent; the run's own may differ in its digest, for a pod has other packages.
        manifest: of the run.
        stages: in their order.
    """

    staging: Path
    folder: Path
    run: str
    manifest: Mapping[str, Any]
    stages: tuple[StagedStage, ...]

    @property
    def encoders(self) -> list[tuple[Path, EncoderRecord]]:
        """Named encoders that this run published; what was sent with it is none of them."""
        folders = [folder for folder in encoder_folders(self.staging / ROOM) if _manifest(folder, RECORD)]
        found = [(folder, read_record(folder)) for folder in folders]
        return [(folder, record) for folder, record in found if record.lineage.run_id == self.folder.name]


def read_staged_run(
    staging: Path, names: Iterable[str], pod: RunOnPod, rooms: Mapping[str, str] | None = None
) -> StagedRun:
    """The finished run among the run folders that a pod has.

    Args:
        staging: folder of all that was staged, their manifests among it.
        names: of the run folders.
        pod: where they are.
        rooms: stage -> room of its artifacts, from when the run was named here; None, for one that an earlier moola
            packed: as the classes of the stages say.

    Raises:
        StorageError: none or several are finished, or what its manifest says cannot be; every reason is given.
    """
    folders = [staging / RUN_FOLDERS / name for name in sorted(names)]
    finished = [folder for folder in folders if _manifest(folder).get("status") == "finished"]
    if len(finished) != 1:
        found = ", ".join(f"{folder.name} {_manifest(folder).get('status')}" for folder in folders) or "none"
        raise StorageError("the pod has no one run that finished", found, "look at its log: moola pod logs RUN")
    [folder] = finished
    manifest = _manifest(folder)
    problems: list[str] = []
    experiment = pod.run.removesuffix(REPLAYED).rpartition("-")[0]
    if not re.fullmatch(re.escape(experiment) + "-[0-9a-f]{12}", folder.name) or manifest.get("run_id") != folder.name:
        problems.append(f"- {folder.name} is no run of {experiment}")
    lines = manifest.get("stages")
    stages = [_stage(line, pod.project, rooms, problems) for line in lines] if isinstance(lines, list) else []
    if len({stage.place for stage in stages}) < len(stages) or not stages:
        problems.append("- it names no stages, or one twice")
    if problems:
        raise StorageError("what the pod says of its results cannot be", "\n".join(problems), _LOOK)
    return StagedRun(staging, folder, pod.run, manifest, tuple(stages))


def check_staged(staged: StagedRun) -> None:
    """Hold every staged file against its manifest, and every artifact against its recipe; what no manifest lists goes.

    Raises:
        StorageError: files are missing or are not what was written, or an artifact is not what its name says; all of
            it is told.
    """
    problems = _wrong_files(staged.folder, staged.manifest.get("files"), staged.folder.name, _UNLISTED)
    for stage in staged.stages:
        folder = staged.staging / stage.place
        if not (folder / "manifest.json").is_file():
            problems.append(f"- {stage.place} is missing")
            continue
        manifest = _manifest(folder)
        if not _is_as_its_recipe(manifest, stage.line):
            problems.append(f"- {stage.place} is not what its recipe says")
        problems += _wrong_files(folder, manifest.get("files"), stage.place, ("manifest.json",))
    for folder, record in staged.encoders:
        if not _ENCODER.fullmatch(record.name) or record.name != folder.name:
            problems.append(f"- {folder.name} is no name of an encoder")
        problems += _wrong_files(folder, record.files, folder.name, ("encoder.json",))
    if problems:
        raise StorageError("what came back is not what the run wrote", "\n".join(problems), _PULL_AGAIN)


def _manifest(folder: Path, name: str = "manifest.json") -> Mapping[str, Any]:
    """A manifest that a pod wrote: a JSON object of bearable size, which can be written again.

    Raises:
        StorageError: it is none.
    """
    path = folder / name
    if path.is_file() and path.stat().st_size > _MOST_MANIFEST_BYTES:
        raise StorageError(f"{path} is no manifest", f"it has {path.stat().st_size:,} bytes", _LOOK)
    manifest = read_json(path)
    try:
        json.dumps(manifest, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is no manifest", str(error), _LOOK) from error
    if not isinstance(manifest, dict):
        raise StorageError(f"{path} is no manifest", repr(manifest)[:200], _LOOK)
    return manifest


def _stage(line: Any, project: str, rooms: Mapping[str, str] | None, problems: list[str]) -> StagedStage:
    """A stage of a run's manifest, in the room that its class names."""
    match line:
        case {"stage": str(name), "key": str(key), "folder": str(folder)} if _DIGEST.fullmatch(key):
            place = f"{_room(name, rooms)}/{name}-{key[:16]}"
            if folder != f"{project}/{place}":
                problems.append(f"- {folder!r} is no place of the stage {name!r}, whose results lie in {place}")
        case _:
            place = ""
            problems.append(f"- {repr(line)[:200]} describes no stage")
    return StagedStage(line, place)


def _room(stage: str, rooms: Mapping[str, str] | None) -> str:
    """Room of a stage as its class says; where that was not asked before, it is imported here, and torch with it."""
    if rooms is not None and stage in rooms:
        return rooms[stage]
    from moola.pipelines.stage import STAGES

    try:
        return STAGES.get(stage).room
    except ConfigError as error:
        raise StorageError(
            f"the pod names a stage '{stage}' that is not known here",
            error.why,
            "install the package that brings it, as when the run was sent; then pull again: moola pod pull RUN",
        ) from error


def _is_as_its_recipe(manifest: Mapping[str, Any], line: Mapping[str, Any]) -> bool:
    """Whether the key is that of the recipe, and the digest that of the files: a lie would have to be in the recipe."""
    match manifest:
        case {"stage": str(), "key": str(), "config": _, "inputs": dict(), "code": {"digest": _}, "outside": _}:
            recipe = {name: manifest[name] for name in ("stage", "config", "inputs", "outside")}
            key = digest_json({**recipe, "code": manifest["code"]["digest"]})
            true = {"stage": manifest["stage"], "key": key, "digest": digest_json(manifest.get("files"))}
            return all(manifest.get(name) == line.get(name) == value for name, value in true.items())
        case _:
            return False


def _wrong_files(folder: Path, files: Any, told: str, unlisted: Iterable[str]) -> list[str]:
    """What is wrong with the files of a folder; those that nobody lists are deleted.

    Names are looked up among the files that are there, so that none leads elsewhere.
    """
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        return [f"- {told} lists no files"]
    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    hidden = [name for name in files if any(part.startswith(".") for part in name.split("/"))]
    problems = [f"- {told}: {name!r} is a hidden name" for name in hidden]
    problems += [f"- {told}/{name} is a name that moola keeps for itself" for name in files if name.endswith(DISARMED)]
    listed = {name: digest for name, digest in files.items() if name in here}
    problems += [f"- {told}/{name} is missing" for name in files if name not in here]
    problems += [f"- {told}/{name} {why}" for name, why in changed_files(folder, listed).items()]
    for name, path in here.items():
        if name not in files and name not in unlisted:
            path.unlink()
    return problems
