"""MLflow, in a SQLite file or on a server: parameters, metrics, tables, pictures, pages and artifacts.

Points wait in memory until `flush` and go in batches: one call a point would take a server 15 ms each. A run is found
again by the tag ``moola.run_id``, so a crash, a new process and another machine go on with the same one; points that a
server has already it knows by name, step, time and value.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from moola.config import reject
from moola.tracking.flattened import flattened
from moola.tracking.tracker import Figure, RefusedError, TrackedArtifact, TrackedRun, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # moola tries again itself
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the last line there is the run folder
}
"""Of MLflow, for this process, where nobody has chosen otherwise."""
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_MOST_METRICS, _MOST_PARAMS, _MOST_LETTERS = 1000, 100, 5000
"""What MLflow takes in one request, and of one value (8,000 bytes of a tag)."""
_RUN, _SWEEP, _TABLES = "moola.run_id", "moola.sweep", "mlflow.loggedArtifacts"


@dataclass
class MLflowTracker(Tracker):
    """A run in MLflow.

    Attributes:
        uri: ``http://HOST:PORT``, ``sqlite:////FILE`` or another database; None: ``MLFLOW_TRACKING_URI``, else the file
            ``metadata/mlflow.db`` beside the results. User and password come from MLflow's own environment variables.
        experiment: name in MLflow; None: the run's.
        wait_s: longest wait at the end of a run.
    """

    uri: str | None = None
    experiment: str | None = None
    wait_s: float = 20.0
    packages: ClassVar[Mapping[str, str]] = {"mlflow": "mlflow"}
    _client: Any = field(default=None, init=False, repr=False)
    _id: str = field(default="", init=False, repr=False)
    _waiting: list[Any] = field(default_factory=list, init=False, repr=False)
    _summary: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _tables: dict[str, dict[str, str]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.uri or "sqlite://")
        scheme = parts.scheme.partition("+")[0]
        reject(
            (self.wait_s < 0, f"wait_s: {self.wait_s} must not be negative"),
            (
                scheme not in _SCHEMES,
                f"uri: must begin with one of {', '.join(f'{name}:' for name in _SCHEMES)}, e.g. http://127.0.0.1:5000 "
                "or sqlite:////home/me/mlflow.db",
            ),
            (
                parts.password is not None,
                "uri: holds a password, which every log would show; give it in MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or leave uri out and set MLFLOW_TRACKING_URI",
            ),
        )

    @property
    def destination(self) -> str:
        """Server or database, and the experiment there."""
        return f"{self.uri or os.environ.get('MLFLOW_TRACKING_URI') or ''} {self.experiment or ''}".rstrip()

    def start(self, run: TrackedRun) -> None:
        """Find the run of this id, or make it; its parent is the sweep."""
        self._waiting.clear()
        client = self._connect(run)
        experiment = _experiment_id(client, self.experiment or run.experiment, self._artifacts_of(run))
        tags = {_RUN: run.run_id, "moola.job": run.job} | {f"moola.tag.{tag}": "true" for tag in run.tags}
        if run.group is not None:
            parent = _found_run(client, experiment, _SWEEP, run.group)
            parent = parent or client.create_run(experiment, tags={_SWEEP: run.group}, run_name=run.group)
            tags["mlflow.parentRunId"] = parent.info.run_id
        found = _found_run(client, experiment, _RUN, run.run_id)
        if found is None:
            found = client.create_run(experiment, tags=tags, run_name=run.run_id)
        else:
            client.update_run(found.info.run_id, status="RUNNING")
        self._client, self._id = client, found.info.run_id
        self._summary = dict(found.data.metrics)
        self._tables = {line["path"]: line for line in json.loads(found.data.tags.get(_TABLES, "[]"))}
        self._log_params(run, found.data.params)

    def log_figures(self, series: str, step: int, figures: Mapping[str, float], time_s: float) -> None:
        """One metric a figure, ``series/name``."""
        from mlflow.entities import Metric

        at = round(1000 * time_s)
        self._waiting += [Metric(f"{series}/{name}", value, at, step) for name, value in figures.items()]

    def log_summary(self, figures: Mapping[str, Figure]) -> None:
        """Numbers as metrics of one point, words as tags ``moola.NAME``."""
        from mlflow.entities import Metric

        for name, value in figures.items():
            if isinstance(value, str):
                with _refusing():
                    self._told.set_tag(self._id, f"moola.{name}", value[:_MOST_LETTERS])
            elif value is not None and self._summary.get(name) != float(value):
                self._summary[name] = float(value)
                self._waiting.append(Metric(name, float(value), round(1000 * time.time()), 0))

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> None:
        """As MLflow's own tables, which its pages compare across runs."""
        path = f"tables/{name}.json"
        self._tables[path] = {"path": path, "type": "table"}
        with _refusing():
            self._told.log_dict(self._id, {"columns": list(columns), "data": [list(row) for row in rows]}, path)
            self._told.set_tag(self._id, _TABLES, json.dumps(list(self._tables.values())))

    def log_picture(self, name: str, svg: Path, caption: str) -> None:
        """The SVG itself."""
        self._upload(svg, f"pictures/{name}".removeprefix("pictures/pictures/").rpartition("/")[0] or "pictures")

    def log_page(self, name: str, html: Path) -> None:
        """As it is."""
        self._upload(html, "pages")

    def log_artifact(self, artifact: TrackedArtifact) -> None:
        """Its files, and ``lineage.json`` beside them."""
        for path in artifact.files:
            self._upload(path, artifact.name)
        known = {**vars(artifact), "files": [path.name for path in artifact.files]}
        with _refusing():
            self._told.log_dict(self._id, known, f"{artifact.name}/lineage.json")
            self._told.set_tag(self._id, f"moola.{artifact.kind}", f"{artifact.name}:{artifact.digest}")

    def finish(self, status: str) -> None:
        """With its status in MLflow's words."""
        self.flush()
        self._told.set_terminated(self._id, _STATUS.get(status, "FAILED"))

    def flush(self) -> None:
        """Send the points that wait."""
        while self._waiting:
            with _refusing():
                self._told.log_batch(self._id, metrics=self._waiting[:_MOST_METRICS])
            del self._waiting[:_MOST_METRICS]

    @property
    def _told(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError("the tracker was told of no run")
        return self._client

    def _connect(self, run: TrackedRun) -> MlflowClient:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # it tells of every step that makes its database
        own = run.artifacts / "metadata" / "mlflow.db"
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{own}"
        if uri.startswith("sqlite:///") and "?" not in uri:
            _make_database(Path(uri.removeprefix("sqlite:///")))
        return MlflowClient(uri)

    def _artifacts_of(self, run: TrackedRun) -> str | None:
        """Where the files of a new experiment go; a server knows its own place."""
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:"
        if uri.startswith(("http", "databricks")):
            return None
        return (run.artifacts / "metadata" / "mlflow" / (self.experiment or run.experiment)).as_uri()

    def _log_params(self, run: TrackedRun, known: Mapping[str, str]) -> None:
        """Those that MLflow does not have: it lets none be changed."""
        from mlflow.entities import Param

        values = flattened(run.config)
        new = [Param(name, str(value)[:_MOST_LETTERS]) for name, value in values.items() if name not in known]
        for first in range(0, len(new), _MOST_PARAMS):
            self._told.log_batch(self._id, params=new[first : first + _MOST_PARAMS])

    def _upload(self, path: Path, folder: str) -> None:
        with _refusing():
            self._told.log_artifact(self._id, str(path), folder)


def _make_database(path: Path) -> None:
    """Make a SQLite file whole or not at all: MLflow makes table after table, and cannot go on where it is killed."""
    if path.exists():
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as scratch:
        MlflowClient(f"sqlite:///{scratch}/new.db").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(f"{scratch}/new.db", path)


def _experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found is not None else client.create_experiment(name, artifacts)


def _found_run(client: MlflowClient, experiment: str, tag: str, value: str) -> Any:
    """The first run with a tag; None where there is none."""
    quoted = value.replace("'", "")
    found = client.search_runs(
        [experiment], f"tags.`{tag}` = '{quoted}'", max_results=1, order_by=["attributes.start_time ASC"]
    )
    return found[0] if found else None


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """What MLflow can never take is refused; everything else is an outage."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in _REFUSALS:
            raise RefusedError(str(error).splitlines()[0]) from error
        raise
