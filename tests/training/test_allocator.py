"""Freed memory stays with the process; seen in the page faults of a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, numpy
from moola.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
numpy.ones(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    numpy.ones(8 << 20)  # 64 MB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_that_was_freed_is_not_asked_of_the_kernel_again() -> None:
    kept = page_faults("keep")
    assert kept < 1000
    assert page_faults("as it comes") > 10 * max(kept, 1)
