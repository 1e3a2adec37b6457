"""The folder that holds the named encoders: what is there, and putting one more in."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from moola.config import override
from moola.encoders.names import next_name
from moola.encoders.record import RECORD, EncoderRecord, read_record, write_record
from moola.errors import ConfigError, StorageError, did_you_mean
from moola.layout import changed_files, digest_file, sync_folder, write_bytes

ROOM = "artifacts/encoders/pretrained"
"""Folder of the layout, see `moola.layout.Layout.room`."""


def encoder_folders(room: Path) -> list[Path]:
    """Folders of named encoders, by name. Artifacts of stages, which have a manifest, are none."""
    return sorted(
        path.parent
        for path in room.glob(f"*/{RECORD}")
        if not path.parent.name.startswith(".") and not (path.parent / "manifest.json").exists()
    )


def find_folder(name_or_path: str, room: Path) -> Path:
    """The folder of an encoder, by its name in the room or by a path to it.

    Raises:
        ConfigError: there is none; near names are given.
    """
    for folder in (room / name_or_path, Path(name_or_path)):
        if (folder / RECORD).is_file() and not (folder / "manifest.json").exists():
            return folder
    near = did_you_mean(name_or_path, (folder.name for folder in encoder_folders(room)))
    artifacts, ls, pretrain = str(room.absolute().parents[1]), "", ""
    if artifacts != str(Path("artifacts").absolute()):
        ls, pretrain = (
            f" --artifacts {shlex.quote(artifacts)}",
            f" {shlex.quote(override('paths.artifacts', artifacts))}",
        )
    raise ConfigError(
        [f"there is no encoder named '{name_or_path}' in {room}; {near}"],
        f"`moola encoders ls{ls}` lists them, `moola pretrain{pretrain}` makes one; the path of its folder will do",
    )


def publish(room: Path, stem: str, draft: EncoderRecord, sources: Mapping[str, Path]) -> tuple[EncoderRecord, bool]:
    """Copy an encoder into a folder of its own, whole or not at all, unless one of the same content is there.

    Args:
        room: where named encoders are.
        stem: its name without the version.
        draft: its record, still without a name and files.
        sources: files of the folder -> where each is now.

    Returns:
        Its record, and whether it is new.
    """
    room.mkdir(parents=True, exist_ok=True)
    with (room / ".names.lock").open("w") as handle:  # two runs that end together must not take one name
        fcntl.flock(handle, fcntl.LOCK_EX)
        known = published(room, draft.lineage.content)
        if known is not None:
            return read_record(known), False
        name = next_name(stem, (path.name for path in room.iterdir()))
        building = room / f".{name}.building"
        shutil.rmtree(building, ignore_errors=True)  # left by a kill
        for file, source in sources.items():
            write_bytes(building / file, source.read_bytes())
        files = {file: digest_file(building / file) for file in sorted(sources)}
        record = dataclasses.replace(draft, name=name, files=files)
        write_record(building, record)
        os.replace(building, room / name)
        sync_folder(room)
        return record, True


def published(room: Path, content: str) -> Path | None:
    """Folder of the encoder made from an artifact of this content, or None; one without a sound record is not it."""
    for folder in encoder_folders(room):
        try:
            record = read_record(folder)
        except StorageError:
            continue
        if record.lineage.content == content:
            return folder
    return None


def mend(folder: Path, sources: Mapping[str, Path]) -> list[str]:
    """Copy those files of an encoder anew that are not what was published; their names.

    Args:
        folder: of the encoder, whose record is sound.
        sources: as it was published from.
    """
    damaged = [name for name in changed_files(folder, read_record(folder).files) if name in sources]
    for name in damaged:
        write_bytes(folder / name, sources[name].read_bytes())
    return damaged
