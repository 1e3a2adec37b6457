"""Named encoders of a room, made without a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moola.encoders.record import EncoderRecord, Lineage
from moola.encoders.shelf import publish
from moola.features import TRANSFORMS
from moola.features.standardised import Standardised
from moola.models import ENCODERS, EncoderConfig
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.training.weights import save_weights

BARS = 12


SPANS = ((0, 6), (6, 12))


def draft(content: str = "c0", seeds: tuple[int, ...] = (0, 1), encoder: EncoderConfig | None = None) -> EncoderRecord:
    """A record without a name: a BiLSTM of 3 units on two standardised sensors, unless another one is given."""
    transform = TRANSFORMS.section_of(Standardised())
    return EncoderRecord(
        name="",
        created="2026-01-01T00:00:00.000Z",
        objective={"name": "masked_autoencoder"},
        encoder=ENCODERS.section_of(encoder or BiLstm(hidden=3)),
        configured_transform=transform,
        transform=transform,
        inputs=("x", "y"),
        source_channels=("x", "y"),
        visible_bars=BARS,
        spans=SPANS,
        seeds=seeds,
        windows={"train": 10, "validation": 2},
        figures={str(seed): {"epoch": 2.0, "loss": 0.5} for seed in seeds},
        lineage=Lineage(
            artifact="a" * 64,
            content=content,
            bars="b" * 64,
            windows="w" * 64,
            splits="s" * 64,
            independent=False,
            first_time="2000-01-01T00:00:00+00:00",
            last_time="2001-01-01T00:00:00+00:00",
            steps=((0, 99),),
            run_id="run-1",
            git_commit=None,
            git_dirty=None,
            moola="0.1.0",
            versions={"torch": "2"},
        ),
    )


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return tmp_path / "pretrained"


@pytest.fixture
def put(room: Path, tmp_path: Path) -> Callable[..., tuple[EncoderRecord, bool]]:
    """Publishes an encoder of some content; its weights are random, from its seeds."""

    def make(
        content: str = "c0", seeds: tuple[int, ...] = (0, 1), config: EncoderConfig | None = None
    ) -> tuple[EncoderRecord, bool]:
        sources = {}
        for seed in seeds:
            torch.manual_seed(seed)
            encoder = (config or BiLstm(hidden=3)).build(InputShape(2, BARS, SPANS))
            name = f"encoder-seed{seed}.safetensors"
            sources[name] = tmp_path / "made" / name
            save_weights(sources[name], encoder.state_dict())
        return publish(room, "bilstm_mae_2d", draft(content, seeds, config), sources)

    return make
