"""The processes that share a fit: who this one is, and what they agree on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as processes

from moola.errors import ConfigError, LostProcessError

_LOST_WORDS = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process exited")
"""How gloo and NCCL say, in a plain RuntimeError, that the other end is gone."""


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together. The default is a process that trains alone.

    Attributes:
        rank: number of this process.
        world_size: number of processes.
        local_rank: number of this process on its machine, which is also that of its GPU.
        local_world_size: processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and records."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """Machines, each with equally many processes."""
        return self.world_size // self.local_world_size

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, on the CPU; every process has to call it."""
        if self.world_size == 1:
            return values.cpu()
        shared = values.to(_meeting_place(), copy=True)
        processes.all_reduce(shared)
        return shared.cpu()

    def of_first(self, values: Tensor) -> Tensor:
        """What the first process passed, on the CPU; every process has to call it with a tensor of that shape."""
        if self.world_size == 1:
            return values.cpu()
        shared = values.to(_meeting_place(), copy=True)
        processes.broadcast(shared, src=0)
        return shared.cpu()

    def each(self, values: Tensor) -> list[Tensor]:
        """What each process passed, on the CPU, by rank; every process has to call it with a tensor of that shape."""
        if self.world_size == 1:
            return [values.cpu()]
        own = values.to(_meeting_place())
        shared = [torch.empty_like(own) for _ in range(self.world_size)]
        processes.all_gather(shared, own)
        return [part.cpu() for part in shared]

    def meet(self) -> None:
        """Wait until every process has called it."""
        if self.world_size > 1:
            processes.barrier()


ALONE = Ranks()


def current(environment: Mapping[str, str] | None = None) -> Ranks:
    """The process as ``torchrun`` started it, from the variables that it sets; alone where it did not.

    Args:
        environment: default `os.environ`.
    """
    found = os.environ if environment is None else environment
    if "TORCHELASTIC_RUN_ID" not in found:
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Ranks(*(int(found[name]) for name in names))


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that ``torchrun`` started, able to exchange tensors while the context is open.

    What others wait for may take days (a stage that one process does alone), so no exchange times out; a process that
    dies makes ``torchrun`` end the others.

    Raises:
        LostProcessError: one has ended while this one waited for it.
    """
    ranks = current()
    if ranks.world_size == 1:
        yield ranks
        return
    _begin_exchange(ranks)
    try:
        yield ranks
    except RuntimeError as error:
        if not any(words in str(error).lower() for words in _LOST_WORDS):
            raise
        told = str(error).splitlines()[0]
        raise LostProcessError("another process has ended", told, "see what it says itself") from error
    finally:
        processes.destroy_process_group()


def of_batches(rank: int, world_size: int) -> Ranks:
    """The processes among which batches are shared out; from now on they can exchange tensors, also outside `joined`.

    Raises:
        ConfigError: the batches are those of other processes than were started.
    """
    if world_size == 1:
        return ALONE  # each process trains for itself, whatever else was started
    started = current()
    if (rank, world_size) != (started.rank, started.world_size):
        raise ConfigError(
            [f"the batches are those of rank {rank} of {world_size}; this is {started.rank} of {started.world_size}"],
            f"start it with torchrun --nproc-per-node {world_size}",
        )
    if not processes.is_initialized():
        _begin_exchange(started)
    return started


def _begin_exchange(ranks: Ranks) -> None:
    if ranks.local_rank < torch.cuda.device_count():  # else it trains on the CPU, or is told that there is no such GPU
        torch.cuda.set_device(ranks.local_rank)
    processes.init_process_group(timeout=timedelta(days=30))


def _meeting_place() -> torch.device:
    """Where tensors have to lie to be exchanged."""
    return (
        torch.device("cuda", torch.cuda.current_device()) if processes.get_backend() == "nccl" else torch.device("cpu")
    )
