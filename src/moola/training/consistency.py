"""Consistency of two views of windows without a label (FixMatch; Sohn et al. 2020, arXiv:2001.07685).

The network says what class the weak view of a window is; where it is sure enough, it has to say the same of the strong
view (equation 4)::

    loss_u = 1 / (mu B) sum_b 1(max q_b >= tau) H(argmax q_b, p(strong view of b)),   q_b = p(weak view of b)

and ``weight * loss_u`` is added to the loss of the labels. Differences from the paper: views are augmentations of bars
(`moola.augment`), not of images; the weak view is asked without dropout; and there is no exponential moving average.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its usual name)

from moola.augment import Augmentation, build_augmentations, chain
from moola.config import reject
from moola.data.draws import Draws
from moola.errors import DataError

Section = Augmentation | dict[str, Any]


@dataclass(frozen=True)
class Consistency:
    """Configuration.

    Attributes:
        weight: of the loss; 0: there is none, and no window without a label is looked at.
        sure: tau, probability from which what is said of the weak view is taken for true.
        ratio: mu, windows without a label for each one with a label in a batch.
        pool: most windows without a label to choose from, evenly spaced over time.
        weak: augmentations of the view that is asked; none: the window as it is.
        strong: augmentations of the view that learns.
    """

    weight: float = 0.0
    sure: float = 0.92
    ratio: int = 2
    pool: int = 4_096
    weak: tuple[Section, ...] = ({"name": "jitter", "scale": 0.05},)
    strong: tuple[Section, ...] = (
        {"name": "jitter", "scale": 0.4},
        {"name": "volatility", "scale": 0.3},
        {"name": "bar_dropout"},
    )

    def __post_init__(self) -> None:
        for name in ("weak", "strong"):
            object.__setattr__(self, name, build_augmentations(getattr(self, name), name))
        reject(
            (self.weight < 0, f"weight: {self.weight} must not be negative"),
            (not 0 < self.sure <= 1, f"sure: {self.sure} must lie in (0, 1]"),
            (self.ratio < 1, f"ratio: {self.ratio} must be at least 1"),
            (self.pool < 1, f"pool: {self.pool} must be at least 1"),
            (not self.strong, "strong: without augmentations the views hardly differ, and nothing is learned"),
        )

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.weight > 0


class ConsistencyLoss:
    """Draws windows without a label and compares their views. Legend: U windows drawn, T bars, C channels, D inputs.

    Args:
        config: of the loss.
        bars: float32 [n, T, C], windows without a label.
        transform: bars [U, T, C] -> inputs [U, T, D].
        channels: of the bars.
        device: of the network.

    Raises:
        DataError: there are no windows.
    """

    def __init__(
        self,
        config: Consistency,
        bars: np.ndarray,
        transform: Callable[[Tensor], Tensor],
        channels: tuple[str, ...],
        device: str,
    ) -> None:
        if not len(bars):
            raise DataError(
                "consistency needs windows without a label",
                "every training window that keeps its distance from the fold has one",
                "switch it off (consistency.weight=0), or give more data",
            )
        self.config, self._transform = config, transform
        self._bars = torch.from_numpy(bars).to(device)
        # What tuples of sections became in __post_init__.
        self._weak, self._strong = (chain(list(views), channels) for views in (config.weak, config.strong))  # pyright: ignore[reportArgumentType]

    def __call__(self, classify: Callable[[Tensor], Tensor], module: torch.nn.Module, n: int, seed: int) -> Tensor:
        """The weighted loss of ``ratio * n`` windows, 0-dimensional; 0 where none is sure.

        Args:
            classify: inputs [U, T, D] -> logits [U, K].
            module: what holds the dropout; it is in training mode, and stays so.
            n: labelled windows of the batch.
            seed: of the draws.
        """
        u = self.config.ratio * n
        draws = Draws(seed, u, slice(0, u), self._bars.device)
        bars = self._bars[draws.integers(0, len(self._bars))]
        module.eval()
        with torch.no_grad():
            said = classify(self._transform(self._weak(bars, draws) if self._weak else bars)).float().softmax(dim=1)
        module.train()
        confidence, named = said.max(dim=1)
        strong = self._strong(bars, draws) if self._strong else bars
        losses = F.cross_entropy(classify(self._transform(strong)).float(), named, reduction="none")
        return self.config.weight * (losses * (confidence >= self.config.sure)).mean()
