"""What a run takes of its machine, as events: processors, memory, disk and GPUs, read a few times a minute.

Processes are those of ``/proc`` (Linux; elsewhere they are left out), GPUs those of the driver (NVML). Torch is not
imported for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moola.pipelines.energy import nvml
from moola.pipelines.events import EventLog

_PROC = Path("/proc")
_PARENT, _USER_TIME, _SYSTEM_TIME, _RESIDENT = 1, 11, 12, 21
"""Fields of ``/proc/PID/stat`` behind the name, which may hold spaces (proc(5))."""


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@contextlib.contextmanager
def sampling(events: EventLog, folder: Path, every_s: float | None) -> Iterator[None]:
    """Emit an event ``system`` every so many seconds while the block runs, and one at its end.

    Args:
        events: the run's log.
        folder: on the disk whose free space is told.
        every_s: None: nothing is emitted.
    """
    if every_s is None:
        yield
        return
    meter, over = SystemMeter(folder), threading.Event()

    def emit() -> None:
        with contextlib.suppress(OSError):  # a full disk, or a process that ended meanwhile
            events.emit("system", **meter.read())

    def work() -> None:
        while not over.wait(every_s):
            emit()

    thread = threading.Thread(target=work, name="system figures", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        emit()


class SystemMeter:
    """Reads figures of this process, those it started, and the machine.

    Args:
        folder: on the disk whose free space is told.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = (time.monotonic(), _processes())

    def read(self) -> dict[str, float]:
        """Figures since the last reading.

        ``cpu_percent``: 100 is one core in full use. ``memory_mb``: resident in this process and those it started;
        pages that they share count in each. ``disk_free_gb``. ``gpuN_percent`` and ``gpuN_memory_mb``: of each GPU of
        the machine, whoever uses it. MB and GB are powers of ten.
        """
        found: dict[str, float] = {}
        (before_s, before), (now_s, now) = self._before, (time.monotonic(), _processes())
        self._before = now_s, now
        if now and now_s > before_s:
            spent = sum(cpu_s - before.get(pid, (0.0, 0))[0] for pid, (cpu_s, _) in now.items())
            found["cpu_percent"] = round(100 * max(spent, 0.0) / (now_s - before_s), 1)
            found["memory_mb"] = round(sum(resident for _, resident in now.values()) / 1e6, 1)
        found["disk_free_gb"] = round(shutil.disk_usage(self._folder).free / 1e9, 3)
        return found | gpu_figures(nvml())


def gpu_figures(library: Any) -> dict[str, float]:
    """Use and memory of each GPU, by the driver's numbers; empty where there is no driver."""
    found: dict[str, float] = {}
    count = ctypes.c_uint()
    if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return found
    for number in range(count.value):
        device, used, memory = ctypes.c_void_p(), _Utilisation(), _Memory()
        if library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)) != 0:
            continue
        if library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(used)) == 0:
            found[f"gpu{number}_percent"] = float(used.gpu)
        if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0:
            found[f"gpu{number}_memory_mb"] = round(memory.used / 1e6, 1)
    return found


def _processes() -> dict[int, tuple[float, int]]:
    """Of this process and all it started: id -> seconds of processor time, and resident bytes."""
    stats = dict(_stats())
    family = {os.getpid()}
    grown = True
    while grown:
        children = {pid for pid, fields in stats.items() if int(fields[_PARENT]) in family} - family
        family |= children
        grown = bool(children)
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    return {
        pid: ((int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / tick, int(fields[_RESIDENT]) * page)
        for pid, fields in stats.items()
        if pid in family
    }


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Fields of every process behind its name."""
    if not _PROC.is_dir():
        return
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                yield int(entry.name), (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
