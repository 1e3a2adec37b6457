"""Figures of a run for Prometheus: a file that the node exporter's textfile collector reads."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.config import reject
from moola.errors import MissingPackageError, StorageError
from moola.layout import read_json, write_bytes
from moola.pipelines.events import Event
from moola.pipelines.hooks import Hook

_STATES = {
    "run_started": "running",
    "run_finished": "finished",
    "run_failed": "failed",
    "run_interrupted": "interrupted",
}


@dataclass
class PrometheusFile(Hook):
    """Keeps ``moola-RUN_ID.prom`` true while a run goes on and when it ends.

    https://github.com/prometheus/node_exporter#textfile-collector; files of old runs are the owner's to delete.

    Attributes:
        folder: that the collector watches (``--collector.textfile.directory``); None: the run folder.
        every_s: how often figures of training are written at most.
    """

    folder: str | None = None
    every_s: float = 15.0
    _run: _RunFigures | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        reject((not 0 <= self.every_s < math.inf, f"every_s: {self.every_s} must be finite and not negative"))

    def on_event(self, event: Event) -> None:
        """Take over what the event says.

        Raises:
            MissingPackageError: prometheus_client is not installed.
            StorageError: the file cannot be written.
        """
        if event["event"] == "run_started":
            folder = Path(self.folder or event["folder"])
            self._run = _RunFigures(event["run_id"], folder / f"moola-{event['run_id']}.prom", self.every_s)
        if self._run is not None:
            self._run.take(event)


class _RunFigures:
    """The figures of one run, and the file that holds them."""

    def __init__(self, run_id: str, path: Path, every_s: float) -> None:
        try:
            from prometheus_client import CollectorRegistry, Enum, Gauge
        except ImportError as error:
            what, why = "prometheus_client is not installed", "the hook prometheus needs it"
            raise MissingPackageError(what, why, "pip install 'moola[prometheus]'") from error

        self._path, self._every_s, self._written_at = path, every_s, -math.inf
        self._registry = CollectorRegistry()
        self._own = {"run_id": run_id}

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(name, what, ["run_id", *labels], registry=self._registry)

        self._state = Enum(
            "moola_run_state",
            "How far the run is",
            ["run_id"],
            states=list(_STATES.values()),
            registry=self._registry,
        )
        self._seconds = gauge("moola_run_seconds", "Wall time of the run's last attempt, when it ended")
        self._stage_seconds = gauge("moola_stage_seconds", "Wall time in which a stage's artifact was made", "stage")
        self._loss = gauge("moola_training_loss", "Mean loss of the last steps", "stage", "seed")
        self._step = gauge("moola_training_step", "Steps of the optimiser so far", "stage", "seed")
        self._rate = gauge("moola_training_windows_per_second", "Windows trained on, a second", "stage", "seed")
        self._figure = gauge("moola_figure", "A figure of a finished run", "model", "split", "metric")

    def take(self, event: Event) -> None:
        """Keep what an event says, and write what matters at once, the rest now and then."""
        kind = event["event"]
        if kind == "steps":
            self._take_steps(event)
            if time.monotonic() - self._written_at < self._every_s:
                return
        elif kind in ("stage_finished", "stage_reused"):
            self._stage_seconds.labels(**self._own, stage=event["stage"]).set(event["seconds"])
        elif kind in _STATES:
            self._take_state(event)
        else:
            return
        self._write()

    def _take_steps(self, event: Event) -> None:
        where = {**self._own, "stage": event["stage"], "seed": str(event.get("seed", ""))}
        self._loss.labels(**where).set(event["loss"])
        self._step.labels(**where).set(event["step"])
        self._rate.labels(**where).set(event["windows_per_s"])

    def _take_state(self, event: Event) -> None:
        self._state.labels(**self._own).state(_STATES[event["event"]])
        if "seconds" in event:
            self._seconds.labels(**self._own).set(event["seconds"])
        if event["event"] == "run_finished":
            for row in _figures(Path(event["folder"])):
                names = {name: row[name] for name in ("model", "split", "metric")}
                self._figure.labels(**self._own, **names).set(row["value"])

    def _write(self) -> None:
        from prometheus_client import generate_latest

        try:
            write_bytes(self._path, generate_latest(self._registry))
        except OSError as error:
            way_out = "choose another folder: stage.hooks.prometheus.folder=FOLDER"
            raise StorageError(f"{self._path} cannot be written", error.strerror or str(error), way_out) from error
        self._written_at = time.monotonic()


def _figures(folder: Path) -> list[dict[str, Any]]:
    """Rows of ``metrics.json`` that have a value; none where the run ended before them."""
    path = folder / "metrics.json"
    return [row for row in read_json(path) if row["value"] is not None] if path.exists() else []
