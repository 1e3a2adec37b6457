"""One run from configuration to run folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import moola
from moola.config import RunConfig
from moola.errors import StorageError, cause_of
from moola.layout import (
    Layout,
    digest_file,
    lock_at_once,
    read_json,
    remove_torn_files,
    replace_atomically,
    write_json,
    write_text,
)
from moola.pipelines.artifacts import git_state, versions
from moola.pipelines.assembly import assemble, forced_elsewhere, inserted_elsewhere, run_identity
from moola.pipelines.context import Context
from moola.pipelines.events import Event, EventLog, now
from moola.pipelines.hooks import Hook, HookEntry, let_hear
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stage import Stage
from moola.pipelines.tracked import sampled, tracked


class UnderWayError(StorageError):
    """Another process is at the same run."""


def execute(
    config: RunConfig,
    config_yaml: str,
    target: str | None = None,
    command: Sequence[str] = (),
    listener: Callable[[Event], None] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Run a configuration and return its run folder.

    Args:
        config: checked configuration.
        config_yaml: the same as resolved YAML, for the run folder.
        target: stage to run with everything it reads; None for all stages.
        command: the command line, for the manifest.
        listener: called with every event.
        notes: what else is to be told when it starts.

    Raises:
        MoolaError: see `Pipeline.run`. The run folder then says ``failed`` or ``interrupted`` and holds what was
            published before; the same command goes on from there.
    """
    layout = Layout(Path(config.paths.data).absolute(), Path(config.paths.artifacts).absolute())
    layout.check_writable()
    pipeline = assemble(config, target)
    run_id = run_identity(config, pipeline)
    folder = layout.results / run_id
    with _processes() as (first, meet):
        if not first:
            pipeline.follow(Context(run_id, layout, force=config.force, meet=meet))
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder):
            remove_torn_files(folder)
            events = EventLog(folder / "events.jsonl")
            if listener is not None:
                events.listen(listener)
            let_hear(pipeline.hooks, events)
            record = RunRecord(folder, run_id, config, target, command)
            record.keep("config.yaml", config_yaml)
            hooks = (HookEntry(record, "run_record", priority=0, on_failure="raise"), *pipeline.hooks)
            with tracked(config, run_id, folder, target, events) as feed, _told(record, events):
                events.emit("run_started", run_id=run_id, folder=str(folder), target=target or "run")
                for message in (*notes, *inserted_elsewhere(config, pipeline), *forced_elsewhere(config, pipeline)):
                    events.emit("note", message=message)
                processes = 1 if _under_torchrun() else config.processes
                context = Context(run_id, layout, events, force=config.force, processes=processes, meet=meet)
                with sampled(config, folder, events):
                    Pipeline(pipeline.stages, (*hooks, *feed)).run(context)
    return folder


@contextlib.contextmanager
def _told(record: RunRecord, events: EventLog) -> Iterator[None]:
    """Say in the manifest and in the log how a run ends."""
    run = {"run_id": record.manifest["run_id"], "folder": str(record.folder)}
    try:
        yield
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        record.finish(status, error)
        with contextlib.suppress(OSError):  # a full disk must not hide the error that it caused
            events.emit(f"run_{status}", **run, seconds=record.manifest["seconds"], error=cause_of(error))
        raise
    record.finish("finished")
    events.emit("run_finished", **run, seconds=record.manifest["seconds"])


def _under_torchrun() -> bool:
    """Known without importing torch."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextlib.contextmanager
def _processes() -> Iterator[tuple[bool, Callable[[], None]]]:
    """Whether this process leads, and how it meets those that ``torchrun`` started beside it."""
    if not _under_torchrun():
        yield True, lambda: None
        return
    from moola.training.ranks import joined

    with joined() as ranks:
        yield ranks.first, ranks.meet


class RunRecord(Hook):
    """Keeps ``manifest.json`` true and copies what stages publish into the run folder, stage by stage.

    The manifest holds the SHA-256 of each file, so that whoever reads the folder later reads what was published.
    """

    def __init__(
        self, folder: Path, run_id: str, config: RunConfig, target: str | None, command: Sequence[str]
    ) -> None:
        self.folder = folder
        self._clock = time.monotonic()
        before = _previous(folder)
        self.manifest: dict[str, Any] = {
            "run_id": run_id,
            "name": config.name,
            "target": target or "run",
            "status": "running",
            "attempts": before.get("attempts", 0) + 1,
            "first_started": before.get("first_started") or now(),
            "started": now(),
            "finished": None,
            "seconds": None,
            "command": list(command),
            "seeds": list(config.seeds),
            "moola": moola.__version__,
            **git_state(),
            "versions": versions(),
            "stages": [],
            "files": {},
            "error": None,
        }
        self._write()

    @property
    def seconds(self) -> float:
        """Wall time of this attempt."""
        return round(time.monotonic() - self._clock, 3)

    def keep(self, name: str, content: str) -> None:
        """Write a file that no stage makes."""
        write_text(self.folder / name, content)
        self.manifest["files"][name] = digest_file(self.folder / name)

    def after_stage(self, stage: Stage, context: Context) -> None:
        """Publish the stage's files and add its line to the manifest."""
        artifact = context.artifacts[stage.provides]
        made = [name for name in artifact.manifest["files"] if any(map(PurePath(name).match, stage.publishes_some))]
        for name in (*stage.publishes, *made):
            with artifact.path(name).open("rb") as source, replace_atomically(self.folder / name) as copy:
                shutil.copyfileobj(source, copy)
            self.manifest["files"][name] = artifact.manifest["files"][name]
        self.manifest["stages"].append(
            {
                "stage": stage.name,
                "key": artifact.key,
                "digest": artifact.digest,
                "inputs": artifact.manifest["inputs"],
                "folder": str(artifact.folder),
                "seconds": artifact.manifest["seconds"],
                "built": artifact.manifest["started"],
                "reused": stage.name in context.reused,
            }
        )
        self._write()

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Write the last word."""
        self.manifest |= {"status": status, "finished": now(), "seconds": self.seconds}
        self.manifest["error"] = None if error is None else cause_of(error)
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self._write()  # a full disk must not hide the error that it caused

    def _write(self) -> None:
        write_json(self.folder / "manifest.json", self.manifest)


def _previous(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    return read_json(path) if path.exists() else {}


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """One process at a time in a run folder.

    Raises:
        UnderWayError: another process is at the same run.
    """
    with (folder / ".lock").open("w") as handle:
        if not lock_at_once(handle):
            raise UnderWayError(
                "this run is under way in another process",
                f"it holds {folder}",
                "wait for it, or change the configuration to make another run",
            )
        yield
