"""Energy is what the counters of the GPUs in use say, or nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from moola.pipelines import energy
from moola.pipelines.energy import EnergyMeter, energy_counters


class Driver:
    """Stands in for NVML: GPUs with their counters; None for one that does not count."""

    def __init__(self, counters: dict[str, int | None]) -> None:
        self.counters = counters

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.counters)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, device: Any) -> int:
        device._obj.value = number + 1
        return 0

    def nvmlDeviceGetUUID(self, device: Any, uuid: Any, size: int) -> int:
        uuid.value = f"GPU-{list(self.counters)[device.value - 1]}".encode()
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, millijoules: Any) -> int:
        found = list(self.counters.values())[device.value - 1]
        millijoules._obj.value = found or 0
        return 3 if found is None else 0


def test_a_gpu_that_does_not_count_and_a_machine_without_a_driver_have_no_counter() -> None:
    assert energy_counters(Driver({"a": 5, "b": None, "c": 7})) == {"a": 5, "c": 7}
    assert energy_counters(None) == {}


@pytest.mark.parametrize(
    ("used", "watt_hours"), [({"a"}, 2.0), ({"a", "b"}, 3.0), (set(), None), ({"a", "unknown"}, None)]
)
def test_only_gpus_in_use_count_and_all_of_them_or_none(
    monkeypatch: pytest.MonkeyPatch, used: set[str], watt_hours: float | None
) -> None:
    driver = Driver({"a": 1_000, "b": 500})
    monkeypatch.setattr(energy, "nvml", lambda: driver)
    monkeypatch.setattr(energy, "gpus_in_use", lambda: used)
    meter = EnergyMeter()
    driver.counters = {"a": 7_201_000, "b": 3_600_500}
    assert meter.watt_hours() == watt_hours


def test_memory_tells_which_gpus_torch_uses_and_torch_is_not_imported_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        get_device_properties=lambda i: SimpleNamespace(uuid=f"gpu{i}"),
        max_memory_reserved=lambda i: i * 100,
    )
    monkeypatch.setitem(energy.sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert energy.gpus_in_use() == {"gpu1"}
    monkeypatch.delitem(energy.sys.modules, "torch")
    assert energy.gpus_in_use() == set()
