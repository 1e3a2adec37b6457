"""Memory of a device: what is free, what is used, and how it looks when there is not enough."""

from __future__ import annotations

import os
import resource
import sys

import torch

_CPU_WORDS = ("not enough memory", "can't allocate memory", "cannot allocate memory")
"""How torch's allocator for the CPU says it, in a plain RuntimeError."""
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch raised this because memory ran out, on a GPU or on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _CPU_WORDS)


def free_bytes(device: torch.device) -> int:
    """Bytes that could still be allocated."""
    if device.type == "cuda":
        held_but_unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held_but_unused
    try:
        with open("/proc/meminfo") as lines:
            kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        return int(kilobytes) * 1024
    except (OSError, StopIteration):  # not Linux: half of all memory is a cautious guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def peak_bytes(device: torch.device) -> int:
    """The most that was in use at once: by tensors on a GPU, by the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT
