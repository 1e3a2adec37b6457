"""What a finished run was made of: the artifacts behind its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moola.errors import StorageError
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.stage import STAGES


def open_artifacts(run: Path) -> dict[str, Artifact]:
    """The artifacts of a run, by what they provide (``bars``, ``windows``, ...); also of one made as far as some stage.

    Files are not hashed again: whoever reads one finds out whether it is there.

    Args:
        run: the run folder.

    Raises:
        StorageError: the run has not come to its end, or artifacts of it are not where it left them.
    """
    manifest = read_json(run / "manifest.json")
    if manifest.get("status") != "finished":
        raise StorageError(f"{run} is {manifest.get('status', 'no run')}", "", "let it finish first")
    found: dict[str, Artifact] = {}
    problems: list[str] = []
    for line in manifest["stages"]:
        folder, name = Path(line["folder"]), line["stage"]
        if name not in STAGES.names():
            continue  # of a package that is not installed here
        if (folder / "manifest.json").is_file():
            found[STAGES.get(name).provides] = _opened(folder)
        else:
            problems.append(f"- {name}: {folder} is not there")
    if problems:
        raise StorageError(
            f"{run} cannot be opened",
            "\n".join(problems),
            f"make what is missing again: moola run --config-path {run}",
        )
    return found


def open_artifact(run: Path, stage: str) -> Artifact:
    """The artifact of one stage of a finished run; nothing is imported that other stages need.

    Args:
        run: the run folder.
        stage: name of the stage.

    Raises:
        StorageError: the run had no such stage, or the artifact is not where it was left.
    """
    lines = [line for line in read_json(run / "manifest.json")["stages"] if line["stage"] == stage]
    if lines and (Path(lines[0]["folder"]) / "manifest.json").is_file():
        return _opened(Path(lines[0]["folder"]))
    why = f"{lines[0]['folder']} is not there" if lines else f"it had no stage '{stage}'"
    raise StorageError(f"{run} cannot be opened", why, f"make what is missing again: moola run --config-path {run}")


def _opened(folder: Path) -> Artifact:
    manifest: dict[str, Any] = read_json(folder / "manifest.json")
    return Artifact(manifest["stage"], manifest["key"], manifest["digest"], folder, manifest)


def newest_run(results: Path, having: str = "") -> Path:
    """The run that was finished last.

    Args:
        results: the folder of run folders.
        having: a file that it must have; empty: any run.

    Raises:
        StorageError: there is none.
    """
    finished = [
        (manifest["finished"], path.parent)
        for path in results.glob("*/manifest.json")
        if (manifest := read_json(path)).get("status") == "finished" and (path.parent / having).exists()
    ]
    if not finished:
        what = f"there is no finished run{f' with {having}' if having else ''} in {results}"
        raise StorageError(what, "", "make one with `moola run`")
    return max(finished)[1]
