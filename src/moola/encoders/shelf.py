"""The folder that holds the named encoders: what is there, and putting one more in."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from moola.encoders.names import next_name
from moola.encoders.record import RECORD, EncoderRecord, read_record, write_record
from moola.errors import ConfigError, StorageError, did_you_mean
from moola.layout import digest_file, sync_folder, write_bytes

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
    raise ConfigError(
        [f"there is no encoder named '{name_or_path}' in {room}; {near}"],
        "`moola encoders ls` lists them, `moola pretrain` makes one; the path of a folder of one will do",
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
            return known, False
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


def published(room: Path, content: str) -> EncoderRecord | None:
    """The encoder that was made from an artifact of this content, or None; folders that cannot be read are not it."""
    for folder in encoder_folders(room):
        try:
            record = read_record(folder)
        except StorageError:
            continue
        if record.lineage.content == content:
            return record
    return None
