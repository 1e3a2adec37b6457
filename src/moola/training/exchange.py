"""How the processes of a fit exchange gradients."""

from __future__ import annotations

import copy

import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from moola.data.device_batches import DeviceBatches
from moola.training.memory import is_out_of_memory
from moola.training.ranks import Ranks


def exchange_of(objective: nn.Module, batches: DeviceBatches, ranks: Ranks) -> DDPStrategy:
    """Lightning's strategy for several processes.

    DDP waits for the gradient of every weight. An autoencoder trains no pooling, so DDP has to look in each step which
    weights had no part in it; where all have one, that look costs time, and DDP warns of it.
    """
    backend = "nccl" if batches.values.device.type == "cuda" else "gloo"
    own = torch.tensor([leaves_weights_out(objective, batches)], dtype=torch.int64)
    left_out = any(bool(found) for found in ranks.each(own))  # all have to look, or none: else they wait for each other
    return DDPStrategy(process_group_backend=backend, find_unused_parameters=left_out)


def leaves_weights_out(objective: nn.Module, batches: DeviceBatches) -> bool:
    """Whether a step gives some weight no gradient, seen in one on a copy; those that are frozen now count too."""
    device = batches.values.device
    tried = copy.deepcopy(objective).train().requires_grad_(True)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            tried(next(iter(copy.copy(batches))))["loss"].backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return True  # the fit will run out of it, too, and tells of it
    return any(weight.grad is None for weight in tried.parameters())
