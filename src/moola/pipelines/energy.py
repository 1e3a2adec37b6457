"""Energy that GPUs took while something ran, by their own counters (NVML, from Volta on)."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_UUID_BYTES = 96
_MJ_PER_WH = 3.6e6


@functools.cache
def nvml() -> Any:
    """The driver's library, ready for use; None where there is no driver."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def energy_counters(library: Any) -> dict[str, int]:
    """UUID -> millijoules since the driver was loaded, of every GPU that counts them."""
    found: dict[str, int] = {}
    count = ctypes.c_uint()
    if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return found
    for number in range(count.value):
        device, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        uuid = ctypes.create_string_buffer(_UUID_BYTES)
        steps = (
            lambda device=device, number=number: library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)),
            lambda device=device, uuid=uuid: library.nvmlDeviceGetUUID(device, uuid, _UUID_BYTES),
            lambda device=device, energy=energy: library.nvmlDeviceGetTotalEnergyConsumption(
                device, ctypes.byref(energy)
            ),
        )
        if all(step() == 0 for step in steps):
            found[uuid.value.decode().removeprefix("GPU-")] = energy.value
    return found


@dataclass(frozen=True)
class EnergyMeter:
    """Reads the counters when it is made, and again when it is asked."""

    start: Mapping[str, int] = field(default_factory=lambda: energy_counters(nvml()))

    def watt_hours(self) -> float | None:
        """What the GPUs that torch uses in this process took meanwhile, whoever else ran on them.

        None where torch used no GPU here, or one of them does not count.
        """
        used = gpus_in_use()
        if not used or not used <= set(self.start):
            return None
        now = energy_counters(nvml())
        if not used <= set(now):
            return None
        return sum(now[uuid] - self.start[uuid] for uuid in used) / _MJ_PER_WH


def gpus_in_use() -> set[str]:
    """UUIDs of the GPUs on which torch has memory in this process; torch is not imported for it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return set()
    devices = range(torch.cuda.device_count())
    return {str(torch.cuda.get_device_properties(i).uuid) for i in devices if torch.cuda.max_memory_reserved(i) > 0}
