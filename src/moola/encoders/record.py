"""``encoder.json``: everything that is known of a named encoder, in one file that proves itself and its neighbours."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.config import digest_json, structure
from moola.errors import ConfigError, StorageError
from moola.layout import changed_files, read_json, write_json

RECORD = "encoder.json"
"""File of the folder that holds the record."""


@dataclass(frozen=True)
class Lineage:
    """Where an encoder comes from.

    Attributes:
        artifact: key of the artifact that it was made as.
        content: digest of the files of that artifact: the same content is the same encoder.
        bars: digest of the bar store.
        windows: digest of the windows artifact.
        splits: digest of the splits artifact.
        independent: the bars are separate cases, so that no time is known.
        first_time: of the first bar of the windows it learned from or was chosen by, ISO 8601; None without times.
        last_time: of their last bar, their horizon included.
        steps: first and last position, both included, of every stretch of the bar store's calendar that these windows
            cover (`moola.data.window_index.WindowSpans`).
        run_id: of the run that published it.
        git_commit: of the source that trained it; None where moola did not run from a repository.
        git_dirty: whether that source was changed since.
        moola: version that trained it.
        versions: of Python and the packages that can change a figure.
    """

    artifact: str
    content: str
    bars: str
    windows: str
    splits: str
    independent: bool
    first_time: str | None
    last_time: str | None
    steps: tuple[tuple[int, int], ...]
    run_id: str
    git_commit: str | None
    git_dirty: bool | None
    moola: str
    versions: dict[str, str]


@dataclass(frozen=True)
class EncoderRecord:
    """A named encoder as its ``encoder.json`` says it.

    Attributes:
        name: of the folder.
        created: when its training began, UTC, ISO 8601.
        objective: section of the objective, with its name.
        encoder: section of the encoder, as `moola.models.ENCODERS` builds it.
        configured_transform: section of the transform as it was configured, perhaps still to be fitted.
        transform: section of the transform as it was used, with its fitted numbers.
        inputs: names of the D channels that the encoder takes.
        source_channels: names of the C channels of the bars.
        visible_bars: T, bars of a window that it learned to see.
        spans: parts of a window; see `moola.models.encoder.InputShape`.
        seeds: one set of weights each, ``encoder-seedS.safetensors``.
        windows: how many it trained on and was validated on.
        figures: seed -> record of the epoch whose weights these are: losses, and trivial predictors beside them.
        lineage: where it comes from.
        files: the other files of the folder -> SHA-256.
        remarks: what else the stage said of it.
    """

    name: str
    created: str
    objective: dict[str, Any]
    encoder: dict[str, Any]
    configured_transform: dict[str, Any]
    transform: dict[str, Any]
    inputs: tuple[str, ...]
    source_channels: tuple[str, ...]
    visible_bars: int
    spans: tuple[tuple[int, int], ...]
    seeds: tuple[int, ...]
    windows: dict[str, int]
    figures: dict[str, dict[str, float]]
    lineage: Lineage
    files: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, and so over every file that it lists."""
        return digest_json(dataclasses.asdict(self))

    def to_json(self) -> dict[str, Any]:
        """JSON values, the digest among them."""
        return {**dataclasses.asdict(self), "digest": self.digest}


def write_record(folder: Path, record: EncoderRecord) -> None:
    """Write ``encoder.json``, whole or not at all."""
    write_json(folder / RECORD, record.to_json())


def read_record(folder: Path) -> EncoderRecord:
    """Read ``encoder.json`` and check it against its own digest.

    Raises:
        StorageError: it is missing, is no record of a named encoder, or was changed.
    """
    try:
        values = read_json(folder / RECORD)
    except StorageError as error:
        raise _unusable(folder, f"it {error.what.removeprefix(str(folder / RECORD)).strip()}: {error.why}") from error
    except OSError as error:
        raise _unusable(folder, f"it cannot be read: {error.strerror}") from error
    if not isinstance(values, dict) or "digest" not in values:
        raise _unusable(folder, "it is no record of a named encoder: it has no digest")
    told = {key: value for key, value in values.items() if key != "digest"}
    if digest_json(told) != values["digest"]:
        raise _unusable(folder, "it was changed since it was written: its content has another digest")
    try:
        return structure(EncoderRecord, told, RECORD)
    except ConfigError as error:
        raise _unusable(folder, error.why) from error


def verify_files(folder: Path, record: EncoderRecord) -> None:
    """Compare every file of the folder with its digest.

    Raises:
        StorageError: some are missing or are not what was published; all of them are named.
    """
    problems = [f"- {name}: {wrong}" for name, wrong in changed_files(folder, record.files).items()]
    needed = [f"encoder-seed{seed}.safetensors" for seed in record.seeds]
    problems += [f"- {name}: the record lists no such file" for name in needed if name not in record.files]
    if problems:
        raise StorageError(
            f"the encoder {folder} was changed since it was published",
            "\n".join(problems),
            "put the files back, or run the pretraining again: it copies them anew",
        )


def _unusable(folder: Path, why: str) -> StorageError:
    return StorageError(
        f"{folder / RECORD} cannot be used",
        why,
        "put the folder back as it was published, or delete it and pretrain again",
    )
