"""The stage `probe`: what it scores at each snapshot, and the pictures that it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import torch

from moola.dashboard.live_run import CurveName, LiveRun
from moola.data.splits import Fold
from moola.features import TRANSFORMS
from moola.layout import write_json
from moola.models import LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.pictures import saved_embeddings, saved_reconstructions
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Workspace
from moola.pipelines.stages.probe import Probe
from moola.training.schedule import ProbeSection
from moola.training.weights import save_weights

BARS = 12
SETUP = EncoderSetup((3, 4), "cpu", TRANSFORMS.build("standardised", {}, "transform"), BiLstm(hidden=4, layers=1))


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Forty windows that rise or fall, in two folds."""
    labels = np.arange(40) % 2
    slope = np.where(labels == 0, 1.0, -1.0)[:, None, None] * np.linspace(0, 1, BARS)[None, :, None]
    bars = (slope + 0.1 * np.random.default_rng(0).normal(size=(40, BARS, 1))).astype(np.float32)
    halves = np.arange(20), np.arange(20, 40)
    found = SimpleNamespace(
        labels=pl.DataFrame(
            {
                "window_id": [f"w{i}" for i in range(40)],
                "row": np.arange(40),
                "label": [["rises", "falls"][i] for i in labels],
            }
        ),
        classes=("rises", "falls"),
        folds=(Fold(*halves), Fold(*halves[::-1])),
        store=SimpleNamespace(channels=("x",)),
        windows=SimpleNamespace(visible=BARS, zone=(0, BARS)),
        gather=lambda rows, names, transform: LabelledWindows(bars, bars, labels.astype(np.int64), 2),
    )
    monkeypatch.setattr(Dataset, "open", lambda inputs: found)
    return found


def encoder_artifact(folder: Path, *, rebuilds: bool) -> Artifact:
    """Two seeds before and after an epoch that made every weight 0, with one window that was rebuilt."""
    for seed in SETUP.seeds:
        torch.manual_seed(seed)
        weights = SETUP.encoder.build(InputShape(1, BARS, ((0, BARS),))).state_dict()
        nothing = {name: torch.zeros_like(value) for name, value in weights.items()}
        save_weights(folder / "snapshots" / f"seed{seed}-epoch000.safetensors", weights)
        save_weights(folder / "snapshots" / f"seed{seed}-epoch001.safetensors", nothing)
        save_weights(folder / f"encoder-seed{seed}.safetensors", nothing)
    write_json(folder / "encoder.json", {"inputs": ["x"], "shown": ["x"]})
    if rebuilds:
        window = {"original": torch.rand(1, BARS, 1), "rebuilt": torch.rand(1, BARS, 1), "mask": torch.ones(1, BARS)}
        save_weights(folder / "reconstructions.safetensors", window)
    files = {path.relative_to(folder).as_posix(): "" for path in folder.rglob("*") if path.is_file()}
    return Artifact("encoder", "key", "digest", folder, {"files": files})


def run(folder: Path, encoder: Artifact) -> Artifact:
    stage = Probe(SETUP, ProbeSection(neighbours=3))
    workspace = Workspace(folder, "run", stage.name, EventLog(folder.parent / "events.jsonl"), folder / "units")
    stage.run({"encoder": encoder}, workspace)
    return Artifact("probe", "key", "digest", folder, {"files": {path.name: "" for path in folder.iterdir()}})


@pytest.mark.usefixtures("data")
def test_every_snapshot_has_both_probes_and_one_that_knows_nothing_is_at_chance(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    probe = run(tmp_path / "probe", encoder_artifact(tmp_path / "encoder", rebuilds=False))
    points = json.loads(probe.path("probe.json").read_text())
    assert [(point["seed"], point["epoch"]) for point in points] == [(3, 0), (3, 1), (4, 0), (4, 1)]
    for point in points:
        if point["epoch"] == 0:
            assert point["linear"] > 0.9 and point["knn"] > 0.9
        else:
            assert point["linear"] == point["knn"] == 0.5
    live = LiveRun(tmp_path)
    live.follow()
    for probe in ("linear", "knn"):
        curve = live.curves[CurveName("probe", f"{probe}_balanced_accuracy", "epoch")]
        assert curve[3].y == [point[probe] for point in points if point["seed"] == 3], "as the dashboard draws it"


@pytest.mark.usefixtures("data")
def test_the_pictures_are_of_the_first_seed_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    probe = run(tmp_path / "probe", encoder_artifact(tmp_path / "encoder", rebuilds=False))
    before, after, neighbours = saved_embeddings(probe)
    assert neighbours.windows == tuple(f"w{i}" for i in range(40)) and neighbours.shares == ()
    assert (before.title, after.title) == ("random start", "after pretraining")
    assert (
        before.names == ("rises", "falls") and np.shape(before.groups) == (40,) and np.shape(before.points) == (40, 2)
    )
    assert before.shares[0] > 0.5 and not np.any(after.points)
    ElementTree.fromstring(probe.path("embeddings.svg").read_text())
    assert "reconstructions.svg" not in probe.manifest["files"]


@pytest.mark.usefixtures("data")
def test_reconstructions_are_drawn_where_the_objective_rebuilds(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    encoder = encoder_artifact(tmp_path / "encoder", rebuilds=True)
    windows = saved_reconstructions(encoder)
    assert windows is not None and len(windows) == 1
    window = windows[0]
    assert window.channels == ("x",) and np.all(window.mask)
    probe = run(tmp_path / "probe", encoder)
    ElementTree.fromstring(probe.path("reconstructions.svg").read_text())
    assert saved_reconstructions(encoder_artifact(tmp_path / "other", rebuilds=False)) is None
