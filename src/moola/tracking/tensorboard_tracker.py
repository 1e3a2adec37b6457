"""TensorBoard event files: scalars, pictures as PNG, tables and verdict as text, the configuration as hyperparameters.

Records are written one by one, without TensorBoard's own writing thread, whose errors come late. Nothing can be taken
out of an event file, so what the files of a run hold already is read when it goes on, and left out.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from moola.config import reject
from moola.tracking.flattened import flattened
from moola.tracking.tracker import Figure, TrackedArtifact, TrackedRun, Tracker

_MOST_ROWS = 200
"""Of a table: a page shows all of them at once."""
_PNG_SIZE = slice(16, 24)
"""Width and height, big-endian, in the header of a PNG file."""
_HPARAMS = "_hparams_/session_start_info"


@dataclass
class TensorBoardTracker(Tracker):
    """Event files of a run, in a folder of its own.

    Attributes:
        folder: in which the run gets its own; None: ``logs/tensorboard`` beside the results.
        wait_s: longest wait at the end of a run.
    """

    folder: str | None = None
    wait_s: float = 20.0
    packages: ClassVar[Mapping[str, str]] = {"tensorboard": "tensorboard", "resvg_py": "evidence"}
    _file: _EventFile | None = field(default=None, init=False, repr=False)
    _run: TrackedRun | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        reject((self.wait_s < 0, f"wait_s: {self.wait_s} must not be negative"))

    @property
    def destination(self) -> str:
        """The folder that was chosen; empty: the usual one."""
        return os.path.abspath(self.folder) if self.folder else ""

    def start(self, run: TrackedRun) -> None:
        """Open a file beside those that the run has, and say what it is made with."""
        self.close()
        room = Path(self.folder) if self.folder else run.artifacts / "logs" / "tensorboard"
        self._run, self._file = run, _EventFile(room / run.run_id)
        self._log_hparams(run)

    def log_figures(self, series: str, step: int, figures: Mapping[str, float], time_s: float) -> None:
        """One scalar a figure, ``series/name``."""
        for name, value in figures.items():
            self._open.add_scalar(f"{series}/{name}", step, value, time_s)

    def log_summary(self, figures: Mapping[str, Figure]) -> None:
        """Numbers as scalars of one point, ``summary/name``; words as text."""
        for name, value in figures.items():
            if isinstance(value, str):
                self._open.add_text(f"summary/{name}", value)
            elif value is not None:
                self._open.add_latest(f"summary/{name}", {"simple_value": float(value)})

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> None:
        """The first rows, as text."""
        self._open.add_text(f"tables/{name}", _markdown(columns, rows))

    def log_picture(self, name: str, svg: Path, caption: str) -> None:
        """In the light palette."""
        from moola.drawing.raster import png_file

        png = png_file(svg.read_text())
        width, height = struct.unpack(">II", png[_PNG_SIZE])
        image = _message("summary").Image(encoded_image_string=png, width=width, height=height, colorspace=4)
        self._open.add_latest(name if "/" in name else f"pictures/{name}", {"image": image})

    def log_page(self, name: str, html: Path) -> None:
        """Where it lies: TensorBoard shows no pages."""
        self._open.add_text(f"pages/{name}", f"`{html}`")

    def log_artifact(self, artifact: TrackedArtifact) -> None:
        """Where its files lie, and what it was made from."""
        rows = [["digest", artifact.digest], *(["file", str(path)] for path in artifact.files)]
        rows += [[f"made from {name}", digest] for name, digest in artifact.made_from.items()]
        self._open.add_text(f"artifacts/{artifact.name}", _markdown(["what", "value"], rows))

    def finish(self, status: str) -> None:
        """As text."""
        self._open.add_text("summary/status", status)

    def flush(self) -> None:
        """Give the file what waits in memory."""
        self._open.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    @property
    def _open(self) -> _EventFile:
        if self._file is None:
            raise RuntimeError("the tracker was told of no run")
        return self._file

    def _log_hparams(self, run: TrackedRun) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        known = {**flattened(run.config), "sweep": run.group or ""}
        # Without a time of its own: it says the same whenever the run goes on.
        self._open.add_value(hparams_pb(known, trial_id=run.run_id, start_time_secs=0).value[0])


class _EventFile:
    """A new event file in a folder, and what the files there before it hold.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._steps: dict[str, set[int]] = {}
        self._latest: dict[str, str] = {}
        for path in sorted(folder.glob("*tfevents*")):
            self._read(path)
        name = f"events.out.tfevents.{time.time_ns() // 1000:016d}.{socket.gethostname()}.{os.getpid()}"
        self._handle: IO[bytes] = (folder / name).open("xb")
        self._records = RecordWriter(self._handle)
        self._write(_message("event")(wall_time=time.time(), file_version="brain.Event:2"))

    def add_scalar(self, tag: str, step: int, value: float, time_s: float) -> None:
        """A point, where the tag has none at this step."""
        if step not in self._steps.setdefault(tag, set()):
            self._add(_message("summary").Value(tag=tag, simple_value=value), step, time_s)

    def add_latest(self, tag: str, content: Mapping[str, Any]) -> None:
        """Something that changes seldom: a new step, unless the latest is the same."""
        self.add_value(_message("summary").Value(tag=tag, **content))

    def add_text(self, tag: str, markdown: str) -> None:
        """As `add_latest`."""
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        metadata = create_summary_metadata(display_name="", description="")
        self.add_latest(tag, {"tensor": make_tensor_proto([markdown.encode()]), "metadata": metadata})

    def add_value(self, value: Any) -> None:
        """A ``Summary.Value``; as `add_latest`."""
        if self._latest.get(value.tag) != _digest(value):
            self._add(value, len(self._steps.get(value.tag, ())), time.time())

    def flush(self) -> None:
        """Bring it to the disk's cache: a kill loses nothing of it."""
        self._records.flush()

    def close(self) -> None:
        """What waits in memory is forgotten where the disk takes no more."""
        try:
            self._handle.close()
        except OSError:
            return

    def _add(self, value: Any, step: int, time_s: float) -> None:
        self._write(_message("event")(wall_time=time_s, step=step, summary=_message("summary")(value=[value])))
        self._remember(value, step)

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def _remember(self, value: Any, step: int) -> None:
        self._steps.setdefault(value.tag, set()).add(step)
        if not value.HasField("simple_value") or value.tag.startswith("summary/"):
            self._latest[value.tag] = _digest(value)

    def _read(self, path: Path) -> None:
        """Remember what a file holds, up to where a crash tore it."""
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

        for record in RawEventFileLoader(str(path)).Load():
            event = _message("event").FromString(record)
            for value in event.summary.value:
                self._remember(value, event.step)


def _message(kind: str) -> Any:
    """The class of messages ``Event`` or ``Summary``, which protobuf makes when it is imported."""
    return getattr(importlib.import_module(f"tensorboard.compat.proto.{kind}_pb2"), kind.title())


def _digest(value: Any) -> str:
    return hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows[:_MOST_ROWS]]
    told = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
    return told if len(rows) <= _MOST_ROWS else f"{told}\n\nThe first {_MOST_ROWS} of {len(rows):,} rows."


def _cell(value: Figure) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())
