"""Which bars of a window are hidden: whole patches, runs, or single bars; as many in every window.

A mask is bool [B, T], True where a bar is hidden. At least one bar is hidden and at least one shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from moola.config import reject
from moola.data.draws import Draws
from moola.errors import ConfigError

MaskKind = Literal["patch", "block", "random"]
BlockLengths = Literal["fixed", "geometric"]


@dataclass(frozen=True)
class Masking:
    """What an objective that hides bars has in its configuration.

    Attributes:
        mask: ``patch``: whole patches on a grid; ``block``: runs anywhere; ``random``: single bars.
        ratio: share of patches, or of bars, to hide; `realised_ratio` says what it comes to.
        patch_bars: bars a patch.
        block_bars: bars a run; their mean where lengths are geometric.
        block_lengths: ``fixed``, or ``geometric``: each bar of a run is its last with probability 1 / `block_bars`.
    """

    mask: MaskKind = "patch"
    ratio: float = 1 / 3
    patch_bars: int = 5
    block_bars: int = 15
    block_lengths: BlockLengths = "geometric"

    def __post_init__(self) -> None:
        reject(*self.mask_rules())

    def mask_rules(self) -> tuple[tuple[bool, str], ...]:
        """For `moola.config.reject`, so that a subclass tells these problems with its own."""
        return (
            (not 0 < self.ratio < 1, f"ratio: {self.ratio} must lie between 0 and 1"),
            (self.patch_bars < 1, f"patch_bars: {self.patch_bars} must be at least 1"),
            (self.block_bars < 1, f"block_bars: {self.block_bars} must be at least 1"),
        )

    def check_windows(self, n_bars: int) -> None:
        """Whether such masks can be drawn for windows of `n_bars`.

        Raises:
            ConfigError: fewer than two patches fit, blocks are longer than all that is hidden, or they would touch.
        """
        if n_bars < 2:
            raise ConfigError([f"data.window.visible: {n_bars} bars cannot be both hidden and shown"], "show 2 or more")
        if self.mask == "patch" and n_bars // self.patch_bars < 2:
            raise ConfigError(
                [f"objective.patch_bars: {self.patch_bars} leaves fewer than 2 patches in {n_bars} bars"],
                f"use objective.patch_bars={n_bars // 2} or less, or show more bars (data.window.visible)",
            )
        if self.mask != "block":
            return
        n_hidden = hidden_bars(n_bars, self.ratio)
        if self.block_bars > n_hidden:
            told = f"{self.block_bars} is more than the {n_hidden} of {n_bars} bars that ratio={self.ratio:.3g} hides"
            raise ConfigError(
                [f"objective.block_bars: {told}"],
                f"use objective.block_bars={n_hidden} or less, or a higher objective.ratio",
            )
        if self.block_lengths == "fixed" and math.ceil(n_hidden / self.block_bars) > n_bars - n_hidden + 1:
            told = f"{self.block_bars} makes more blocks than the {n_bars - n_hidden} shown bars keep apart"
            raise ConfigError([f"objective.block_bars: {told}"], "use longer blocks, or a lower objective.ratio")

    def draw_mask(self, draws: Draws, n_bars: int) -> Tensor:
        """A mask where `draws` are made: bool [B, n_bars]."""
        if self.mask == "patch":
            return patch_mask(draws, n_bars, self.patch_bars, self.ratio)
        if self.mask == "block":
            return block_mask(draws, n_bars, self.ratio, self.block_bars, self.block_lengths)
        return random_mask(draws, n_bars, self.ratio)

    def realised_ratio(self, n_bars: int) -> float:
        """Share of bars that are hidden in every window of `n_bars`, after rounding to whole patches or bars."""
        if self.mask == "patch":
            return masked_patches(n_bars, self.patch_bars, self.ratio)[1] * self.patch_bars / n_bars
        return hidden_bars(n_bars, self.ratio) / n_bars


def hidden_bars(n_bars: int, ratio: float) -> int:
    """How many bars `ratio` comes to: at least one, never all."""
    return min(max(round(n_bars * ratio), 1), n_bars - 1)


def masked_patches(n_bars: int, patch_bars: int, ratio: float) -> tuple[int, int]:
    """Whole patches in a window and how many of them are hidden: at least one, never all.

    >>> masked_patches(105, 7, 0.15)
    (15, 2)
    """
    n_patches = n_bars // patch_bars
    return n_patches, hidden_bars(n_patches, ratio)


def random_mask(draws: Draws, n_bars: int, ratio: float) -> Tensor:
    """Hide `hidden_bars` single bars, drawn without replacement: bool [B, n_bars]."""
    return _choose(draws, n_bars, hidden_bars(n_bars, ratio))


def patch_mask(draws: Draws, n_bars: int, patch_bars: int, ratio: float) -> Tensor:
    """Hide whole patches, drawn without replacement; bars after the last whole patch are never hidden.

    bool [B, n_bars].
    """
    n_patches, n_masked = masked_patches(n_bars, patch_bars, ratio)
    hidden = _choose(draws, n_patches, n_masked).repeat_interleave(patch_bars, dim=1)
    return torch.nn.functional.pad(hidden, (0, n_bars - n_patches * patch_bars))


def block_mask(draws: Draws, n_bars: int, ratio: float, block_bars: int, lengths: BlockLengths) -> Tensor:
    """Hide `hidden_bars` bars in runs that do not touch each other: bool [B, n_bars].

    Lengths are drawn until they come to the bars to hide; the last is cut to fit. Then every arrangement of the runs
    among the shown bars is equally likely. Zerveas et al. 2021 (arXiv:2010.02803) walk between the two states
    instead, which hides another number of bars in each window.
    """
    n_hidden = hidden_bars(n_bars, ratio)
    gaps = n_bars - n_hidden + 1
    runs = _run_lengths(draws, n_hidden, gaps, block_bars, lengths)
    shown_before = draws.uniform(gaps).argsort(dim=1)[:, : runs.shape[1]].sort(dim=1).values
    ends = shown_before + runs.cumsum(dim=1)
    bars = torch.arange(n_bars, device=draws.device)[None, :, None]
    return ((bars >= (ends - runs)[:, None]) & (bars < ends[:, None])).any(dim=2)


def _choose(draws: Draws, n: int, n_chosen: int) -> Tensor:
    """As many True in each row: bool [B, n]."""
    order = draws.uniform(n).argsort(dim=1)
    chosen = torch.zeros(order.shape, dtype=torch.bool, device=draws.device)
    return chosen.scatter_(1, order[:, :n_chosen], True)


def _run_lengths(draws: Draws, n_hidden: int, most: int, block_bars: int, lengths: BlockLengths) -> Tensor:
    """int64 [B, K], at most `most` runs that sum to `n_hidden`, in random order; runs of 0 fill up the rows.

    Where ever so many short runs were drawn, the last one takes what is left.
    """
    if lengths == "fixed":
        n_runs = min(math.ceil(n_hidden / block_bars), most)
        drawn = torch.full((len(draws), n_runs), block_bars, device=draws.device)
    else:
        leaving = -math.log1p(-1 / block_bars) if block_bars > 1 else math.inf
        drawn = 1 + (-torch.log1p(-draws.uniform(min(n_hidden, most))) / leaving).long()
    ends = drawn.cumsum(dim=1).clamp_max(n_hidden)
    ends[:, -1] = n_hidden
    runs = torch.diff(ends, dim=1, prepend=torch.zeros_like(ends[:, :1]))
    return runs.gather(1, draws.uniform(runs.shape[1]).argsort(dim=1))
