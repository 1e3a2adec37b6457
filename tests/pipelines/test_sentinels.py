"""What must fail is really done, on the folds and windows of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from moola.data.splits import Fold
from moola.evaluation.sentinel_alarms import later_labels_score, shuffled_labels_score
from moola.features.standardised import Standardised
from moola.layout import read_json
from moola.models.bilstm import BiLstm
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stages.sentinels import Sentinels, duplicates, next_windows

STAGE = Sentinels(EncoderSetup((0,), "cpu", Standardised(), BiLstm()), 19)
N = 324
Run = Callable[..., Mapping[str, Artifact]]


@pytest.fixture(scope="module")
def drifting(planted_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    """The end of each window tells the label of the next one; windows 40 and 300 have the bars of window 10."""
    rng = np.random.default_rng(0)
    labels = rng.choice(["down", "up"], N)
    closes = 0.3 * rng.normal(size=(N, 8))
    closes[:-1, 7] += 2 * np.where(labels[1:] == "up", 1, -1)
    closes[[40, 300]] = closes[10]
    return planted_run(tmp_path_factory.mktemp("drifting"), closes, [str(name) for name in labels], models=None)


def test_windows_that_know_the_next_label_are_found_out(
    drifting: Mapping[str, Artifact], summary_of: Callable[[Any], Any]
) -> None:
    told = read_json(drifting["sentinels"].path("sentinels.json"))
    assert told["later_labels"]["score"] > 0.9 > 0.65 > told["labels"]["score"]
    (alarm,) = later_labels_score(told["later_labels"], told["labels"], 2)
    fired = {alarm.code: alarm.severity for alarm in summary_of(drifting).alarms}
    assert alarm.severity == fired["later_labels_score"] == "alarm"


def test_windows_with_the_bars_of_others_are_found_in_folds_and_in_the_test(drifting: Mapping[str, Artifact]) -> None:
    data = Dataset.open(drifting)
    ids = data.table["window_id"]
    assert duplicates(data) == {"sealed": [ids[300]], "folds": [ids[10], ids[40]]}
    assert read_json(drifting["sentinels"].path("sentinels.json"))["duplicates"] == duplicates(data)


def test_folds_that_train_on_what_they_hold_out_tell_shuffled_labels(drifting: Mapping[str, Artifact]) -> None:
    data = Dataset.open(drifting)
    windows = data.gather(data.labels["row"], data.labels["label"], STAGE.setup.transform)
    leaking = [Fold(np.arange(len(windows)), fold.held_out) for fold in data.folds]
    honest, leaked = (STAGE._permutation(windows, data, folds) for folds in (data.folds, leaking))
    assert shuffled_labels_score(honest, 2) == []
    assert [alarm.severity for alarm in shuffled_labels_score(leaked, 2)] == ["alarm"]


def test_the_next_window_begins_after_the_end_of_this_one(drifting: Mapping[str, Artifact]) -> None:
    data = Dataset.open(drifting)
    later = next_windows(data)
    assert later.tolist() == [*range(1, 174), -1]
    cases = replace(data, store=replace(data.store, independent=True))
    assert (next_windows(cases) == -1).all()
