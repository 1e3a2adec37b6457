"""Reading the file that W&B's client writes: blocks of records as LevelDB's log has them, each a protobuf message."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32 * 1024
_FIRST_HEADER, _HEADER = 7, 7
_FULL, _START, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class WandbFile:
    """What a ``.wandb`` file holds."""

    run: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    exit_code: int | None = None


def records(path: Path) -> list[Any]:
    """Every whole record; a torn end is left out, as a reader of LevelDB's log does."""
    from wandb.proto import wandb_internal_pb2

    content, offset, parts, found = path.read_bytes(), _FIRST_HEADER, b"", []
    while offset + _HEADER <= len(content):
        if _BLOCK - offset % _BLOCK < _HEADER:
            offset += _BLOCK - offset % _BLOCK
            continue
        length, kind = int.from_bytes(content[offset + 4 : offset + 6], "little"), content[offset + 6]
        body = content[offset + _HEADER : offset + _HEADER + length]
        if kind not in (_FULL, _START, _MIDDLE, _LAST) or len(body) < length:
            break
        parts = body if kind in (_FULL, _START) else parts + body
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            found.append(record)
        offset += _HEADER + length
    return found


def read(folder: Path) -> WandbFile:
    """The file of the one attempt that a run folder holds."""
    [path] = folder.glob("tracking/wandb/wandb/*run-*/*.wandb")
    found = WandbFile()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
        elif kind == "history":
            found.history.append(_items(record.history.item))
        elif kind == "summary":
            found.summary |= _items(record.summary.update)
        elif kind == "metric":
            found.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "files":
            found.files |= {item.path for item in record.files.files}
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _items(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
