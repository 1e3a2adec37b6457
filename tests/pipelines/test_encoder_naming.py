"""Which figures of a pretraining go with its name."""

from __future__ import annotations

from moola.pipelines.encoder_naming import kept_figures

HISTORY = [
    {"epoch": epoch, "loss": 1.0 / epoch, "val_loss": loss} for epoch, loss in enumerate((3.0, 1.0, 2.0), start=1)
]


def test_figures_are_those_of_the_weights_that_were_kept():
    assert kept_figures(HISTORY, patience=0)["epoch"] == 3
    assert kept_figures(HISTORY, patience=1) == {"epoch": 2.0, "loss": 0.5, "val_loss": 1.0}
