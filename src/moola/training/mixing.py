"""Labelled windows mixed with each other: their inputs, and what they count for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moola.config import reject
from moola.data.draws import Draws

_TRIES = 32
"""Candidates for one number of a beta distribution; none is accepted once in 4 thousand million times at most."""


@dataclass(frozen=True)
class Mixing:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) and cutmix along time (Yun et al. 2019, arXiv:1905.04899).

    Each window is cut or mixed, with a share of its own; the papers draw one for a whole batch. Its partner is the next
    window of the batch, whose order is random already.

    Attributes:
        mixup_alpha: the own share of a mixed window is drawn from Beta(alpha, alpha), alpha up to 1; 0: no mixup.
        cutmix_share: probability that a window is cut: a run of its bars, of a length drawn evenly from none to all,
            comes from the partner; the other windows are mixed. 0: none is.
    """

    mixup_alpha: float = 0.0
    cutmix_share: float = 0.0

    def __post_init__(self) -> None:
        reject(
            (not 0 <= self.mixup_alpha <= 1, f"mixup_alpha: {self.mixup_alpha} must lie in [0, 1]"),
            (not 0 <= self.cutmix_share <= 1, f"cutmix_share: {self.cutmix_share} must lie in [0, 1]"),
        )

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.mixup_alpha > 0 or self.cutmix_share > 0

    def __call__(self, inputs: Tensor, draws: Draws) -> Mixed:
        """Mix inputs [B, T, D]; over several ranks, within the windows of the rank."""
        partner = torch.arange(len(inputs), device=inputs.device).roll(-1)
        share = symmetric_beta(self.mixup_alpha, draws) if self.mixup_alpha > 0 else inputs.new_ones(len(inputs))
        other = inputs[partner]
        mixed = torch.lerp(other, inputs, share[:, None, None])
        if self.cutmix_share > 0:
            chosen = draws.uniform() < self.cutmix_share
            run = random_runs(inputs.shape[1], draws)
            mixed = torch.where(chosen[:, None, None], torch.where(run[..., None], other, inputs), mixed)
            share = torch.where(chosen, 1 - run.float().mean(dim=1), share)
        return Mixed(mixed, partner, share)


@dataclass(frozen=True)
class Mixed:
    """Mixed windows.

    Attributes:
        inputs: [B, T, D].
        partner: int64 [B], the other window in each; itself in a batch of one.
        share: [B] in [0, 1], what is left of the own window.
    """

    inputs: Tensor
    partner: Tensor
    share: Tensor

    @classmethod
    def unmixed(cls, inputs: Tensor) -> Mixed:
        """Windows [B, T, D] as they are, each its own partner."""
        number = torch.arange(len(inputs), device=inputs.device)
        return cls(inputs, number, inputs.new_ones(len(inputs)))


def symmetric_beta(alpha: float, draws: Draws) -> Tensor:
    """float32 [B] of Beta(alpha, alpha), 0 < alpha <= 1, by Jöhnk's rejection (1964): no host waits for the device.

    Where U and V are uniform and ``X = U^(1/alpha)``, ``Y = V^(1/alpha)`` sum to at most 1, ``X / (X + Y)`` is such a
    number. The logarithms keep X and Y apart where both powers would be 0.
    """
    logs = draws.uniform(_TRIES, 2).clamp_min(torch.finfo(torch.float32).tiny).log() / alpha  # [B, tries, 2]
    first = (logs.exp().sum(dim=2) <= 1).float().argmax(dim=1)
    x, y = logs[torch.arange(len(logs), device=logs.device), first].unbind(dim=1)
    return torch.sigmoid(x - y)


def random_runs(n_bars: int, draws: Draws) -> Tensor:
    """One run of bars a window, bool [B, T]: length drawn evenly from 0 to T, then its place evenly from all it has."""
    length = draws.integers(0, n_bars + 1)
    first = (draws.uniform() * (n_bars - length + 1)).long()
    bar = torch.arange(n_bars, device=length.device)
    return (bar >= first[:, None]) & (bar < (first + length)[:, None])
