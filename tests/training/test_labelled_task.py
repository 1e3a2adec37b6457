"""The losses of a batch of labelled windows are what their parts say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from moola.data.device_batches import Batch
from moola.data.draws import Draws
from moola.models import LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.testing import make_batch
from moola.training.labelled_task import LabelledTask
from moola.training.losses import ClassLoss
from moola.training.mixing import Mixed, Mixing

ZONE = (2, 8)


class HalfAndHalf(Mixing):
    """Every window keeps a quarter of itself and gets the rest from the one before it."""

    def __call__(self, inputs: Tensor, draws: Draws) -> Mixed:
        partner = torch.arange(len(inputs)).roll(1)
        return Mixed(0.25 * inputs + 0.75 * inputs[partner], partner, torch.full((len(inputs),), 0.25))


def windows() -> LabelledWindows:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 10, 2)).astype(np.float32)
    pointers = np.array([[2, 5], [-1, -1], [4, 7], [3, 4]])
    return LabelledWindows(values, values, np.array([0, 1, 1, 0]), 2, pointers)


def batch_of(given: LabelledWindows) -> Batch:
    """The windows in another order than they are numbered in."""
    order = torch.tensor([2, 0, 3, 1])
    batch = make_batch(torch.from_numpy(given.inputs)[order])
    return dataclasses.replace(batch, labels=torch.from_numpy(given.labels)[order], index=order)


def task(**settings: Any) -> LabelledTask:
    torch.manual_seed(0)
    encoder = BiLstm(hidden=3).build(InputShape(2, 10))
    return LabelledTask(encoder, windows(), zone=ZONE, **settings)


def test_parts_are_weighted_and_sum_to_the_loss() -> None:
    made = task(pointer_weight=0.5, l2_sp=2.0, class_loss=ClassLoss(0.1, 2.0, "balanced"), mixing=Mixing(0.4, 0.5))
    with torch.no_grad():
        for value in made.encoder.parameters():
            value.add_(0.1)
    parts = made(batch_of(windows()))
    assert list(parts) == ["loss", "classes", "pointers", "l2_sp"]
    assert parts["loss"].item() == pytest.approx(sum(parts[name].item() for name in list(parts)[1:]), rel=1e-6)
    n_weights = sum(value.numel() for value in made.encoder.parameters())
    assert parts["l2_sp"].item() == pytest.approx(2.0 * n_weights * 0.01 / 2, rel=1e-4)
    doubled = task(pointer_weight=1.0)(batch_of(windows()))["pointers"].item()
    assert task(pointer_weight=0.5)(batch_of(windows()))["pointers"].item() == pytest.approx(doubled / 2)


def test_mixed_windows_count_for_both_labels_and_both_pairs_of_pointers() -> None:
    made, given = task(pointer_weight=1.0, mixing=HalfAndHalf(mixup_alpha=0.4)), windows()
    batch = batch_of(given)
    partner = torch.arange(4).roll(1)
    classes, bars = made.predict(0.25 * batch.inputs + 0.75 * batch.inputs[partner])
    one, other = (
        torch.nn.functional.cross_entropy(classes, batch.labels[numbers]) for numbers in (torch.arange(4), partner)
    )
    found = made(batch)
    assert found["classes"].item() == pytest.approx((0.25 * one + 0.75 * other).item(), rel=1e-5)
    expected = 0.0
    for share, numbers in ((0.25, batch.index), (0.75, batch.index[partner])):
        for row, number in enumerate(numbers.tolist()):
            for end, bar in enumerate(np.asarray(given.pointers)[number].tolist()):
                if bar >= 0:
                    expected -= share * bars[row, :, end].log_softmax(0)[bar - ZONE[0]].item() / 8
    assert found["pointers"].item() == pytest.approx(expected, rel=1e-5)


def test_windows_are_mixed_while_training_and_never_else() -> None:
    made, batch = task(mixing=HalfAndHalf(mixup_alpha=0.4)), batch_of(windows())
    plain = task()
    assert made(batch)["loss"].item() != pytest.approx(plain(batch)["loss"].item(), abs=1e-6)
    assert made.eval()(batch)["loss"].item() == pytest.approx(plain.eval()(batch)["loss"].item(), abs=1e-7)


def test_the_seed_decides_how_windows_are_mixed() -> None:
    batch = batch_of(windows())
    one, same, other = (task(mixing=Mixing(0.4, 0.5), seed=seed)(batch)["loss"].item() for seed in (1, 1, 2))
    assert one == same != other


def test_the_heads_are_everything_but_the_encoder() -> None:
    made = task(pointer_weight=1.0)
    held = [*made.head_parameters(), *made.encoder.parameters()]
    assert sorted(map(id, held)) == sorted(map(id, made.parameters()))
    assert len(task().head_parameters()) == 2
