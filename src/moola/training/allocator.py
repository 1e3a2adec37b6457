"""Memory that is freed stays with the process: on a CPU, half of a recurrent training step is page faults otherwise.

glibc gives every tensor above a threshold pages of its own and returns them when it is freed, so each step asks the
kernel for the same pages again and pays for their first touch. An LSTM's backward pass frees hundreds of such tensors.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Names of mallopt(3)."""
_LARGEST = 2**31 - 1
_TOP_PAD = 64 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep memory that it freed, up to the most it ever used at once.

    Returns:
        Whether the C library does so; elsewhere than on glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        settings = ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _LARGEST), (_M_TOP_PAD, _TOP_PAD))
        return all(mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in settings)
    return False
