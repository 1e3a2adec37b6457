"""A classification head that begins where a probe of the frozen encoder ends.

Fine-tuning from random heads distorts what the encoder knows before the head can say what is missing; from a fitted
head it does so less (LP-FT, Kumar et al. 2022, arXiv:2202.10054). What differs: the probe is a ridge classifier, its
scores, which reach -1 and +1, become logits by a factor; and the embedding is standardised as the probe found it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from moola.models.heads import ClassificationHead
from moola.models.ridge import fit_ridge

HeadStart = Literal["random", "zero", "ridge"]
LOGITS = 5.0
"""Of a score of 1: a window that the probe is sure of among two classes gets a probability of .9999."""


@torch.no_grad()
def start_head(head: ClassificationHead, how: HeadStart, embedding: np.ndarray, labels: np.ndarray) -> None:
    """Standardise the embedding, and set the weights.

    Args:
        head: changed in place.
        how: ``zero``: all classes alike; ``ridge``: the weights of the probe, and for a class without windows those
            that the probe of a class that no window belongs to has; ``random``: the head stays as it is.
        embedding: of the training windows, [n, E].
        labels: their class numbers, [n].
    """
    if how == "random":
        return
    probe = fit_ridge(embedding, labels)
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    head.centre.copy_(torch.from_numpy(probe.centre))
    head.spread.copy_(torch.from_numpy(probe.spread))
    if how == "ridge":
        head.linear.bias.fill_(-LOGITS)  # scores of the K other classes sum to 2 - K: one is always above -1
        head.linear.weight[probe.classes] = LOGITS * torch.from_numpy(probe.weights.T).to(head.linear.weight)
        head.linear.bias[probe.classes] = LOGITS * torch.from_numpy(probe.bias).to(head.linear.bias)
