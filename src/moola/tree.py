"""The folders that moola reads and writes: what each is for, making them, and finding what lies elsewhere."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from moola.errors import StorageError
from moola.layout import Layout, digest_file, write_text

DATA: Mapping[str, str] = {
    "raw/unlabeled": "bars as they came, never changed",
    "raw/labeled": "labelled windows as they came, never changed",
    "processed/unlabeled": "checked bars and windows, one folder a content key",
    "processed/labeled": "exported versions of the labels, v001 and on; none is ever changed",
    "processed/archived": "earlier versions, kept for comparison",
    "splits": "what trains, what is sealed, folds, and the proof that they do not overlap",
    "batches": "windows handed out for annotation",
    "corrections/candlesticks_annotations": "annotation batches that came back",
    "corrections/review_corrections": "decisions of the label review",
}
"""Folders of ``data/`` and what each holds."""

ARTIFACTS: Mapping[str, str] = {
    "encoders/pretrained": "encoders learned without labels",
    "encoders/supervised": "encoders tuned on labels",
    "models/supervised": "models fitted on labels alone",
    "models/pretrained": "models on a pretrained encoder",
    "models/ensemble": "stacks",
    "oof/supervised": "predictions out of fold and on the sealed test",
    "oof/pretrained": "the same, of models on a pretrained encoder",
    "metadata": "what fits nowhere else, and the journal of moved files",
    "results": "one folder a run, with its report",
    "logs/tensorboard": "event files",
    "runpod_bundles": "what travelled to a pod",
    "runpod_results": "what came back from a pod",
}
"""Folders of ``artifacts/`` and what each holds."""

_FILES = {"data": ("corrections/window_blacklist.csv",), "artifacts": ()}
_GROWN = {"data": (), "artifacts": ("oof/units",)}
"""Folders that stages make themselves."""
_OWN = ("README.md", ".gitignore", ".gitkeep")
_SMALLEST_DUPLICATE_BYTES = 1024
_PUBLISHED = {"manifest.json", "encoder.json"}
"""Files that lie in a folder of an artifact, or of a named encoder."""


@dataclass(frozen=True)
class TreeCheck:
    """What `check_tree` found.

    Attributes:
        missing: folders of the contract that are not there.
        strays: files and folders that the contract does not know.
        duplicates: groups of files with the same content, outside content-addressed folders.
        unfinished: artifacts that a stopped or failed stage left half-built; the same command goes on from them.
    """

    missing: tuple[Path, ...]
    strays: tuple[Path, ...]
    duplicates: tuple[tuple[Path, ...], ...]
    unfinished: tuple[Path, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Nothing lies where it should not; missing folders are made when they are needed."""
        return not self.strays and not self.duplicates


def make_tree(layout: Layout) -> list[Path]:
    """Make every folder that is not there, and a README in ``data/`` and ``artifacts/``; existing files stay.

    Returns:
        What was made.

    Raises:
        StorageError: a file stands where a folder belongs.
    """
    made: list[Path] = []
    for top, rooms, title in ((layout.data, DATA, "data"), (layout.artifacts, ARTIFACTS, "artifacts")):
        for room in rooms:
            if not (top / room).is_dir():
                _make(top / room)
                made.append(top / room)
        for name, content in ((top / "README.md", _readme(title, rooms)), (top / ".gitignore", _IGNORED)):
            if not name.exists():
                write_text(name, content)
                made.append(name)
    return made


def check_tree(layout: Layout) -> TreeCheck:
    """Compare what is there with the contract.

    A file counts as a duplicate when its content (at least 1 KiB) lies in another place too; artifacts keep copies of
    what they published, so folders with a ``manifest.json`` or an ``encoder.json`` are left out.
    """
    missing: list[Path] = []
    strays: list[Path] = []
    files: list[Path] = []
    unfinished: list[Path] = []
    for top, rooms, title in ((layout.data, DATA, "data"), (layout.artifacts, ARTIFACTS, "artifacts")):
        missing += [top / room for room in rooms if not (top / room).is_dir()]
        if top.is_dir():
            strays += _strays(top, (*rooms, *_GROWN[title]), _FILES[title])
            files += _loose_files(top)
            unfinished += sorted(path for path in top.rglob(".*.building") if any(path.iterdir()))
    return TreeCheck(tuple(missing), tuple(strays), tuple(_duplicates(files)), tuple(unfinished))


_IGNORED = "# Contents are not for version control; the folders and this file are.\n*\n!.gitignore\n!README.md\n"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"cannot make {folder}", "a file stands where a folder belongs", "move it away") from error


def _readme(title: str, rooms: Mapping[str, str]) -> str:
    lines = [
        f"# {title}/",
        "",
        "`moola layout check` names what lies elsewhere.",
        "",
        "| folder | holds |",
        "|---|---|",
    ]
    lines += [f"| `{room}/` | {words} |" for room, words in rooms.items()]
    if title == "data":
        lines.append(
            "| `corrections/window_blacklist.csv` | windows rejected for good, as `moola labels export` lists them |"
        )
    return "\n".join(lines) + "\n"


def _strays(top: Path, folders: tuple[str, ...], files: tuple[str, ...]) -> list[Path]:
    """Entries at or above the level of the rooms that are none of them and lead to none of them."""
    found: list[Path] = []

    def look(folder: Path, inside: str) -> None:
        for entry in sorted(folder.iterdir()):
            place = f"{inside}{entry.name}"
            if place in (folders if entry.is_dir() else files) or entry.name in _OWN:
                continue
            leads_on = any(room.startswith(f"{place}/") for room in (*folders, *files))
            if leads_on and entry.is_dir() and not entry.is_symlink():
                look(entry, f"{place}/")
            else:
                found.append(entry)

    look(top, "")
    return found


def _loose_files(top: Path) -> Iterator[Path]:
    """Files below `top` that belong to no artifact and no run."""
    for folder, folders, names in os.walk(top):
        if _PUBLISHED & set(names) or Path(folder) == top / "results":  # what was published is a copy
            folders.clear()
            continue
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if not path.is_symlink() and path.stat().st_size >= _SMALLEST_DUPLICATE_BYTES:
                yield path


def _duplicates(files: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Groups of files of the same content; only files of equal size are read."""
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for path in files:
        by_size[path.stat().st_size].append(path)
    by_content: defaultdict[str, list[Path]] = defaultdict(list)
    for group in by_size.values():
        if len(group) > 1:
            for path in group:
                by_content[digest_file(path)].append(path)
    return [tuple(group) for group in by_content.values() if len(group) > 1]
