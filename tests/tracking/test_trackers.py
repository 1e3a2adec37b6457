"""MLflow and TensorBoard hold every point once, and whatever else a run tells."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from moola.config import structure
from moola.errors import ConfigError, MissingPackageError
from moola.testing import check_tracker
from moola.tracking.flattened import flattened
from moola.tracking.mlflow_tracker import MLflowTracker
from moola.tracking.tensorboard_tracker import TensorBoardTracker
from moola.tracking.tracker import TrackedRun, Tracker, check_packages, trackers_from_config


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Every scalar of the event files, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    return [
        (value.tag, event.step, value.simple_value)
        for path in sorted(folder.glob("*tfevents*"))
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def test_tensorboard_keeps_every_point_once(tmp_path: Path) -> None:
    run = check_tracker(
        TensorBoardTracker(), tmp_path, lambda run: scalars(tmp_path / "logs" / "tensorboard" / run.run_id)
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "logs" / "tensorboard" / run.run_id)).Reload()
    tags = events.Tags()
    assert tags["images"] == ["pictures/loss"] and len(events.Images("pictures/loss")) == 1
    image = events.Images("pictures/loss")[0]
    assert (image.width, image.height) == (144, 152) and image.encoded_image_string.startswith(b"\x89PNG")
    texts = {
        tag: [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]
        for tag in tags["tensors"]
        if not tag.startswith("_")
    }
    assert "| a \\| b | 1 |" in texts["tables/leaderboard"][0]
    assert texts["summary/verdict"] == ["größer than chance"]
    assert texts["summary/status"][-1] == "finished"
    assert (
        "_hparams_/session_start_info" in tags["tensors"] or "_hparams_/session_start_info" in events.summary_metadata
    )


def test_a_torn_event_file_loses_its_last_record_alone(tmp_path: Path, tracked_run: TrackedRun) -> None:
    tracker = TensorBoardTracker(folder=str(tmp_path / "tb"))
    tracker.start(tracked_run)
    for step in (1, 2, 3):
        tracker.log_figures("s", step, {"x": step}, 1.0)
    tracker.flush()
    tracker.close()
    [path] = (tmp_path / "tb" / tracked_run.run_id).iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    again = TensorBoardTracker(folder=str(tmp_path / "tb"))
    again.start(tracked_run)
    for step in (1, 2, 3, 4):
        again.log_figures("s", step, {"x": step}, 1.0)
    again.flush()
    again.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tb" / tracked_run.run_id)).Reload()
    assert [event.step for event in events.Scalars("s/x")] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, for MLflow
def test_mlflow_keeps_searches_where_it_keeps_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "results" / "searches" / "tiny"
    folder.mkdir(parents=True)
    tracker = MLflowTracker()
    tracker.start(TrackedRun("tiny-0", "tiny", folder, {"name": "tiny"}, job="search"))
    tracker.close()
    assert {path.name for path in tmp_path.iterdir()} == {"metadata", "results"}
    assert (tmp_path / "metadata" / "mlflow.db").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, for MLflow
def test_mlflow_keeps_every_point_once(tmp_path: Path) -> None:
    """Its database takes seconds to make."""

    def points(run: TrackedRun) -> list[tuple[str, int, float]]:
        with sqlite3.connect(tmp_path / "metadata" / "mlflow.db") as database:
            rows = database.execute("SELECT key, step, value, is_nan FROM metrics").fetchall()
        return [
            (key, step, math.nan if is_nan else math.inf if value > 1e300 else value)
            for key, step, value, is_nan in rows
        ]

    run = check_tracker(MLflowTracker(), tmp_path, points)
    from mlflow import MlflowClient
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT

    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get(), "a run's own words are all that it prints"
    client = MlflowClient(f"sqlite:///{tmp_path / 'metadata' / 'mlflow.db'}")
    [experiment] = [found for found in client.search_experiments() if found.name == "check"]
    runs = client.search_runs([experiment.experiment_id])
    [found] = [one for one in runs if one.data.tags.get("moola.run_id") == run.run_id]
    [parent] = [one for one in runs if one.data.tags.get("moola.sweep") == "sweep-1"]
    assert found.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert found.info.status == "FINISHED"
    assert found.data.params["encoder.hidden"] == "8" and found.data.params["seeds"] == "[0, 1]"
    assert found.data.tags["moola.verdict"] == "größer than chance"
    assert found.data.metrics["model/test/accuracy"] == 0.5
    files = {
        item.path
        for folder in ("pictures", "pages", "tables", "encoder-check")
        for item in client.list_artifacts(found.info.run_id, folder)
    }
    assert files == {
        "pictures/loss.svg",
        "pages/report.html",
        "tables/leaderboard.json",
        "tables/empty.json",
        "encoder-check/encoder.safetensors",
        "encoder-check/lineage.json",
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, for MLflow
def test_a_kill_while_mlflow_makes_its_database_leaves_none(tmp_path: Path, tracked_run: TrackedRun) -> None:
    program = (
        "import sys; from pathlib import Path; from moola.tracking.mlflow_tracker import MLflowTracker;"
        "from moola.tracking.tracker import TrackedRun;"
        "MLflowTracker().start(TrackedRun('tiny-0', 'tiny', Path(sys.argv[1]), {}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tracked_run.folder)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not any(path.stat().st_size > 300_000 for path in (tmp_path / "metadata").rglob("*.db")):  # of over a million
        assert time.monotonic() < until and process.poll() is None
    process.kill()
    process.wait()
    MLflowTracker().start(tracked_run)


def test_check_tracker_finds_one_that_doubles_and_one_that_loses(tmp_path: Path) -> None:
    @dataclass
    class Careless(Tracker):
        path: Path
        loses: bool = False
        _waiting: list[Any] = field(default_factory=list, init=False)

        def log_figures(self, series: str, step: int, figures: Any, time_s: float) -> None:
            if not (self.loses and step == 2):
                self._waiting += [(f"{series}/{name}", step, value) for name, value in figures.items()]

        def flush(self) -> None:
            with self.path.open("a") as handle:
                handle.writelines(json.dumps(point) + "\n" for point in self._waiting)
            self._waiting.clear()

    def points(run: TrackedRun) -> list[tuple[str, int, float]]:
        return [tuple(json.loads(line)) for line in (tmp_path / "points").read_text().splitlines()]

    with pytest.raises(AssertionError, match="doubled"):
        check_tracker(Careless(tmp_path / "points"), tmp_path / "a", points)
    (tmp_path / "points").unlink()
    with pytest.raises(AssertionError, match="lost"):
        check_tracker(Careless(tmp_path / "points", loses=True), tmp_path / "b", points)


def test_everything_wrong_with_the_section_is_said_in_one_go() -> None:
    with pytest.raises(ConfigError) as caught:
        trackers_from_config(
            {
                "mlfow": {},
                "mlflow": {"uri": "me:secret@host"},
                "tensorboard": {"foldr": "x"},
                "local": {"system_every_s": 0},
            }
        )
    told = "\n".join(caught.value.problems)
    assert "tracker.mlfow" in told and "did you mean 'mlflow'?" in told
    assert "tracker.tensorboard.foldr: unknown key; did you mean 'folder'?" in told
    assert "tracker.mlflow.uri: must begin with" in told and "system_every_s: must be above 0" in told
    with pytest.raises(ConfigError) as caught:
        structure(MLflowTracker, {"uri": f"http://{'me:secret'}@host:5000"}, "tracker.mlflow")
    assert "secret" not in str(caught.value) and "MLFLOW_TRACKING_PASSWORD" in str(caught.value)


def test_missing_packages_are_named_with_their_extras() -> None:
    @dataclass
    class Elsewhere(Tracker):
        packages = {"no_such_module": "nosuch"}  # noqa: RUF012

    with pytest.raises(MissingPackageError, match=r"no_such_module, for the tracker 'far'(.|\n)*moola\[nosuch\]"):
        check_packages({"far": Elsewhere(), "tensorboard": TensorBoardTracker()})


def test_a_configuration_is_flat_where_it_is_a_table_of_parameters() -> None:
    assert flattened({"a": {"b": 1, "c": {}}, "d": [1, {"e": None}], "f": None, "g": True}) == {
        "a.b": 1,
        "a.c": "{}",
        "d": '[1, {"e": null}]',
        "f": "null",
        "g": True,
    }
