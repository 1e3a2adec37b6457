"""What fine-tuning minimises: losses of classes, of pointers, and the distance from where the encoder started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from moola.config import reject

_SURE = 1e-6
"""``1 - p`` that counts as certain: at 0 the slope of its power is infinite where gamma is below 1."""


@dataclass(frozen=True)
class ClassLoss:
    """Cross-entropy of the class, and three ways to change it. Legend: B windows, K classes.

    Attributes:
        label_smoothing: share of every target that is spread evenly over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
        focal_gamma: of the focal loss ``-(1 - p)^gamma log p`` (Lin et al. 2017, arXiv:1708.02002, equation 4); 0:
            cross-entropy.
        class_weights: ``balanced`` weighs a class by ``n / (k n_class)`` over the k classes there are, so that each
            counts the same in the sum; ``none`` counts windows.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"

    def __post_init__(self) -> None:
        reject(
            (not 0 <= self.label_smoothing < 1, f"label_smoothing: {self.label_smoothing} must lie in [0, 1)"),
            (self.focal_gamma < 0, f"focal_gamma: {self.focal_gamma} must not be negative"),
        )

    def weights(self, labels: Tensor, n_classes: int) -> Tensor:
        """Weight of each class, float32 [K], from training labels int64 [n]; 0 for a class without windows."""
        if self.class_weights == "none":
            return torch.ones(n_classes)
        counts = torch.bincount(labels, minlength=n_classes).float()
        present = counts > 0
        return torch.where(present, counts.sum() / (present.sum() * counts.clamp_min(1)), 0.0)

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Mean over the batch of ``-sum_k w_k t_k (1 - p_k)^gamma log p_k``, which is 0-dimensional.

        The sum is divided by B and not by the weights of the batch, so that a window counts the same in every batch.

        Args:
            logits: [B, K].
            targets: probabilities [B, K], rows sum to 1; not smoothed yet.
            weights: [K], of `weights`.
        """
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / targets.shape[1]
        log_p = logits.float().log_softmax(dim=1)
        if self.focal_gamma > 0:
            targets = targets * (-torch.expm1(log_p)).clamp_min(_SURE) ** self.focal_gamma
        return -(weights * targets * log_p).sum(dim=1).mean()


def soft_targets(labels: Tensor, partner: Tensor, share: Tensor, n_classes: int) -> Tensor:
    """Targets of mixed windows, float32 [B, K]: ``share`` of the own class, the rest of the partner's.

    Args:
        labels: int64 [B].
        partner: int64 [B], number of the other window in the batch.
        share: [B] of the own label.
        n_classes: K.
    """
    own = nn.functional.one_hot(labels, n_classes).float()
    return share[:, None] * own + (1 - share)[:, None] * own[partner]


def pointer_loss(logits: Tensor, pointers: Tensor, share: Tensor) -> Tensor:
    """Cross-entropy of first and last bar, averaged over both and over the windows of the batch.

    Args:
        logits: [B, Z, 2], of every bar of the zone being the first and being the last.
        pointers: int64 [B, 2], bars counted from the zone; negative where a window has none, which then counts 0.
        share: [B], weight of each window.
    """
    log_p = logits.float().log_softmax(dim=1).transpose(1, 2)  # [B, 2, Z]
    marked = pointers >= 0
    picked = log_p.gather(2, pointers.clamp_min(0)[..., None])[..., 0]
    return -(picked * marked * share[:, None]).mean()


def start_penalty(weights: Iterable[Tensor], starts: Iterable[Tensor]) -> Tensor:
    """``1/2 |w - w_start|^2``: the penalty L2-SP (Li et al. 2018, arXiv:1802.01483, equation 3) without its factor.

    The paper's second penalty, on the head, is the weight decay of the schedule; that one acts on the encoder too, and
    pulls it towards 0.
    """
    return torch.stack([(w - start).square().sum() for w, start in zip(weights, starts, strict=True)]).sum() / 2
