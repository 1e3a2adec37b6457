"""Memory of a device: what is free, what is used, and how it looks when there is not enough."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
from collections.abc import Iterator

import torch

from moola.config import describe
from moola.errors import EXIT_ENVIRONMENT, MoolaError

_CPU_WORDS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "storage size calculation overflowed",  # more bytes than a number of 64 bits counts
)
"""How torch says it for the CPU, in a plain RuntimeError."""
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


class OutOfMemoryError(MoolaError):
    """A model, or a batch, does not fit into memory."""

    exit_code = EXIT_ENVIRONMENT


@contextlib.contextmanager
def within_memory(component: object, section: str) -> Iterator[None]:
    """A context in which a component is built.

    Args:
        component: its configuration, whose whole numbers are its sizes.
        section: of the configuration.

    Raises:
        OutOfMemoryError: it does not fit; names its sizes.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        plain = describe(component)
        numbers = {name: value for name, value in plain.items() if type(value) is int and name != "seed"}
        sizes = [f"{section}.{name}={numbers[name]}" for name in sorted(numbers, key=numbers.__getitem__, reverse=True)]
        way_out = f"lower its sizes: {', '.join(sizes) or f'see the section {section}'}"
        raise OutOfMemoryError(f"the {section} does not fit into memory", spoken(error), way_out) from error


def spoken(error: BaseException) -> str:
    """What torch says of it, in one line and without the place in its sources."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[enforce fail at [^]]*\] (err == 0\. )?", "", line)


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
