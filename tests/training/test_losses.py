"""Each loss is its formula, beside a plain loop that says the same."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moola.errors import ConfigError
from moola.training.losses import ClassLoss, pointer_loss, soft_targets, start_penalty

LABELS = torch.tensor([0, 2, 2, 1, 2])
EVEN = torch.ones(3)


def logits_of(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hard(labels: Tensor, n_classes: int = 3) -> Tensor:
    return soft_targets(labels, torch.arange(len(labels)), torch.ones(len(labels)), n_classes)


@given(seed=st.integers(0, 99), gamma=st.sampled_from([0.0, 0.5, 2.0]), smoothing=st.sampled_from([0.0, 0.1, 0.6]))
def test_the_class_loss_is_its_formula(seed: int, gamma: float, smoothing: float) -> None:
    logits, weights = logits_of(seed, 5, 3), torch.tensor([0.5, 2.0, 1.0])
    targets = logits_of(seed + 1, 5, 3).softmax(dim=1)
    expected = 0.0
    for row, target in zip(logits.double().softmax(dim=1).tolist(), targets.tolist(), strict=True):
        for p, t, w in zip(row, target, weights.tolist(), strict=True):
            smoothed = (1 - smoothing) * t + smoothing / 3
            expected -= w * smoothed * (1 - p) ** gamma * math.log(p) / 5
    found = ClassLoss(smoothing, gamma)(logits, targets, weights)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_without_changes_it_is_the_cross_entropy_of_torch() -> None:
    logits = logits_of(0, 5, 3)
    plain = torch.nn.functional.cross_entropy(logits, LABELS)
    assert ClassLoss()(logits, hard(LABELS), EVEN).item() == pytest.approx(plain.item(), rel=1e-6)
    smoothed = torch.nn.functional.cross_entropy(logits, LABELS, label_smoothing=0.2)
    assert ClassLoss(0.2)(logits, hard(LABELS), EVEN).item() == pytest.approx(smoothed.item(), rel=1e-6)


def test_the_focal_loss_makes_little_of_what_is_known() -> None:
    sure, unsure = torch.tensor([[6.0, 0.0, 0.0]]), torch.tensor([[0.1, 0.0, 0.0]])
    target = hard(torch.tensor([0]))
    shrunk = [
        float(ClassLoss(focal_gamma=2.0)(one, target, EVEN) / ClassLoss()(one, target, EVEN)) for one in (sure, unsure)
    ]
    assert shrunk[0] < 1e-4 and shrunk[1] > 0.3


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certainty_right_or_wrong_gives_finite_gradients(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], requires_grad=True)
    ClassLoss(focal_gamma=gamma)(logits, hard(torch.tensor([0, 0])), EVEN).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_balanced_weights_let_every_class_there_is_count_the_same() -> None:
    weights = ClassLoss(class_weights="balanced").weights(LABELS, 4)
    counts = torch.bincount(LABELS, minlength=4)
    assert (weights * counts)[:3].tolist() == pytest.approx([5 / 3] * 3)
    assert weights[3] == 0.0
    assert ClassLoss().weights(LABELS, 4).tolist() == [1.0] * 4


def test_targets_of_mixed_windows_hold_both_labels() -> None:
    found = soft_targets(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]), 2)
    assert found.tolist() == [[0.75, 0.25], [0.0, 1.0]]
    same = soft_targets(torch.tensor([1, 1]), torch.tensor([1, 0]), torch.tensor([0.3, 0.6]), 2)
    assert same[:, 1].tolist() == pytest.approx([1.0, 1.0])


@given(seed=st.integers(0, 99))
def test_the_pointer_loss_is_its_formula(seed: int) -> None:
    logits, share = logits_of(seed, 3, 6, 2), torch.tensor([1.0, 0.5, 0.25])
    pointers = torch.tensor([[0, 5], [-1, -1], [2, 3]])
    expected = 0.0
    for window in (0, 2):
        for end in (0, 1):
            column = logits[window, :, end].double()
            expected -= float(share[window] * column.log_softmax(0)[pointers[window, end]]) / 6
    assert float(pointer_loss(logits, pointers, share)) == pytest.approx(expected, rel=1e-5)


def test_windows_without_pointers_teach_nothing_about_them() -> None:
    logits = logits_of(0, 2, 6, 2).requires_grad_()
    loss = pointer_loss(logits, torch.full((2, 2), -1), torch.ones(2))
    loss.backward()
    assert loss.item() == 0.0 and logits.grad is not None and not logits.grad.any()


def test_the_penalty_is_half_the_squared_distance_and_pulls_back() -> None:
    start = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    now = [torch.tensor([1.0, 4.0], requires_grad=True), torch.tensor([[0.0]], requires_grad=True)]
    penalty = start_penalty(now, start)
    penalty.backward()
    assert penalty.item() == pytest.approx((4 + 9) / 2)
    assert now[0].grad is not None and now[0].grad.tolist() == [0.0, 2.0]
    assert now[1].grad is not None and now[1].grad.tolist() == [[-3.0]]


def test_settings_out_of_range_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        ClassLoss(label_smoothing=1.0, focal_gamma=-1.0)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["label_smoothing", "focal_gamma"]
