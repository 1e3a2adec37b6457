"""What the page draws of a pretraining."""

from __future__ import annotations

import json
from pathlib import Path

from moola.pipelines.artifacts import Artifact
from moola.pipelines.report_sections.pretraining import loss_panel, rebuilding_panel
from moola.pipelines.report_sections.statements import encoder_told

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
