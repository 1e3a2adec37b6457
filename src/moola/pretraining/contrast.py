"""Contrast of two views (InfoNCE, van den Oord et al. 2018, arXiv:1807.03748): each has to find its other half."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its usual name)


def paired_contrast(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """In each group, every one of 2 N vectors has to find its pair among the 2 N - 1 others: [G, N, W] twice -> scalar.

    With v the vectors of both views of a group and p(i) the pair of i, the mean over groups and i of::

        -log( exp(v_i . v_p(i) / temperature) / sum over j != i of exp(v_i . v_j / temperature) )

    On unit vectors and with one group this is NT-Xent (Chen et al. 2020, arXiv:2002.05709, equation 1). 0 for a
    single pair, which has nothing to be told from.
    """
    vectors = torch.cat([first, second], dim=1)
    logits = vectors @ vectors.transpose(1, 2) / temperature
    n = first.shape[1]
    itself = torch.eye(2 * n, dtype=torch.bool, device=logits.device)
    pair = torch.arange(2 * n, device=logits.device).roll(n)
    return F.cross_entropy(logits.masked_fill(itself, -torch.inf).flatten(0, 1), pair.repeat(len(logits)))
