"""What the page takes from artifacts: curves, maps, the worst windows, commands."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score

from moola.evaluation.report_content import Embedding
from moola.pipelines.artifacts import Artifact
from moola.pipelines.report_sections import commands
from moola.pipelines.report_sections.pretraining import by_doubt, loss_panel, rebuilding_panel
from moola.pipelines.report_sections.statements import encoder_told
from moola.pipelines.report_sections.windows import in_doubt, planted_found, wrong_windows

HISTORIES = {
    seed: [
        {"epoch": epoch, "loss": 9.0, "val_loss": 8.0, "val_reconstruction": 0.3, "val_copy_last": 0.5, "val_mean": 0.7}
        for epoch in (1, 2)
    ]
    for seed in (0, 1)
}


def test_losses_are_drawn_beside_losses_and_the_error_on_hidden_bars_beside_what_asks_for_no_model() -> None:
    loss, rebuilding = loss_panel(HISTORIES), rebuilding_panel(HISTORIES)
    assert rebuilding is not None
    assert [list(curve.y) for curve in loss.curves] == [[9.0, 9.0], [8.0, 8.0]] * 2
    assert loss.references == ()
    assert [list(curve.y) for curve in rebuilding.curves] == [[0.3, 0.3]] * 2
    assert [line.value for line in rebuilding.references] == [0.5, 0.7]


def test_an_objective_that_rebuilds_nothing_has_one_panel() -> None:
    bare = {0: [{"epoch": 1, "loss": 1.0, "val_loss": 2.0}]}
    assert len(loss_panel(bare).curves) == 2
    assert rebuilding_panel(bare) is None


def test_the_page_says_which_layers_pretraining_left_as_they_were(tmp_path: Path) -> None:
    for untrained in ([], ["projection", "mixing"]):
        (tmp_path / "encoder.json").write_text(json.dumps({"untrained": untrained}))
        artifact = Artifact("pretrain", "0" * 64, "1" * 64, tmp_path, {"files": {"encoder.json": ""}})
        assert ("did not train projection, mixing" in encoder_told(artifact)) == bool(untrained)


def test_doubt_colours_the_windows_that_a_fold_judged() -> None:
    shown = Embedding("map", [[0, 0], [1, 1], [2, 2]], [0, 1, 0], ("a", "b"), (), ("w0", "w1", "w2"))
    issues = pl.DataFrame({"window_id": ["w2", "w0"], "label_quality": [0.8, 0.1]})
    doubt = by_doubt(shown, issues)
    assert doubt.windows == ("w0", "w2") and doubt.ordered
    assert np.asarray(doubt.points).tolist() == [[0, 0], [2, 2]]
    assert [doubt.names[group] for group in np.asarray(doubt.groups)] == ["below 0.2", "0.8 and above"]


def material(said: np.ndarray, truth: list[str], starts: list[int]) -> Any:
    """Five sealed windows of one series, of which a model said something."""
    n = len(truth)
    test = pl.DataFrame(
        {"window_id": [f"w{i}" for i in range(n)], "series": ["s"] * n, "row": np.arange(n), "true_label": truth}
    )
    windows = SimpleNamespace(
        starts=np.array(starts), length=10, zone=(0, 10), gather=lambda values, rows, length: np.zeros((1, 10, 2))
    )
    data = SimpleNamespace(
        test=test, windows=windows, classes=("a", "b"), store=SimpleNamespace(values=None, channels=("x", "volume"))
    )
    data.store.independent = True
    return SimpleNamespace(
        scores=SimpleNamespace(chosen="finetuned"),
        data=data,
        headline="test",
        predictions=SimpleNamespace(has=lambda model, split: True),
        said=lambda model, split: (said, np.array([data.classes.index(name) for name in truth])),
    )


def test_the_most_wrong_windows_come_first_and_neighbours_of_worse_ones_not_at_all() -> None:
    of_truth = np.array([[0.9, 0.3, 0.1, 0.2, 0.4], [0.9, 0.3, 0.1, 0.2, 0.4]])
    said = np.stack([of_truth, 1 - of_truth], axis=2)
    found = wrong_windows(material(said, ["a"] * 5, [0, 20, 40, 45, 60]))
    assert found is not None and found.n == 5 and found.model == "Fine-tuned encoder (pretrained)"
    assert [(one.window_id, one.predicted) for one in found.windows] == [("w2", "b"), ("w1", "b"), ("w4", "b")]
    assert found.windows[0].p_truth == pytest.approx(0.1) and found.windows[0].channels == ("x",)


def test_seeds_are_weighed_as_the_log_loss_weighs_them() -> None:
    said = np.array([[[0.01, 0.99]], [[0.49, 0.51]]])
    found = wrong_windows(material(said, ["a"], [0]))
    assert found is not None and found.windows[0].p_truth == pytest.approx(0.07)


def test_what_repeats_a_run_is_quoted_and_names_a_clean_commit_only() -> None:
    assert commands("my runs/a", None) == (
        "moola run --config-path 'my runs/a'",
        "moola run --config-path 'my runs/a' --force",
    )
    assert commands("runs/a", "1f3c")[0] == "git checkout 1f3c"


@pytest.mark.parametrize(
    ("qualities", "flagged", "shown"),
    [
        ([0.1, 0.3, 0.49, 0.5, 0.9], [0.1, 0.49, 0.5, 0.9], [0.1, 0.49, 0.5, 0.9]),
        ([0.1, 0.3, 0.6, 0.7, 0.9], [0.6, 0.9], [0.1, 0.3, 0.6]),
        ([0.4, 0.6, 0.671, 0.9], [], [0.4, 0.6, 0.671]),
        ([0.01 * i for i in range(20)], [0.01 * i for i in range(20)], [0.01 * i for i in range(12)]),
    ],
)
def test_labels_that_nobody_doubts_are_shown_only_where_hardly_any_is_in_doubt(qualities, flagged, shown) -> None:
    ids = [f"w{i:02d}" for i in range(len(qualities))]
    issues = pl.DataFrame(
        {"window_id": ids, "label_quality": qualities, "is_label_issue": [one in flagged for one in qualities]}
    )
    assert in_doubt(issues)["label_quality"].to_list() == shown


def test_flips_are_counted_where_somebody_judged_them_and_the_queue_is_scored_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    ids = [f"w{row}" for row in range(60)]
    planted = np.zeros(60, dtype=bool)
    planted[[0, 3, 9, 40, 59]] = True
    labels = pl.DataFrame({"window_id": ids, "planted": planted, "step": np.arange(60)})
    data: Any = SimpleNamespace(labels=labels, store=SimpleNamespace(independent=True))
    flagged = rng.random(59) < 0.3
    review = pl.DataFrame({"window_id": ids[:59], "is_label_issue": flagged})
    found = planted_found(data, review.sample(fraction=1.0, shuffle=True, seed=0), review, 10)
    assert found is not None
    assert (found.planted, found.judged, found.found_in_queue) == (4, 59, 3)
    assert found.found == (flagged & planted[:59]).sum() and found.flagged == flagged.sum()
    expected = average_precision_score(planted[:59], -np.arange(59))
    assert found.average_precision.value == pytest.approx(expected)
    assert found.average_precision.low < expected < found.average_precision.high
    nothing: Any = SimpleNamespace(labels=labels.with_columns(planted=False), store=data.store)
    assert planted_found(nothing, review, review, 10) is None
