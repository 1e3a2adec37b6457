"""What a pod has to show before a long run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moola.pods import preflight
from moola.pods.preflight import examine, main, memory_gb, product_error


def spec(tmp_path: Path, **more: Any) -> dict[str, Any]:
    kept = {"device": "auto", "gpus": 0, "min_disk_gb": 0.001, "min_ram_gb": 0.001, "folder": str(tmp_path)}
    return {**kept, "report": str(tmp_path / "report.json"), **more}


def test_a_machine_that_computes_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec(tmp_path)))
    assert main([str(path)]) == 0
    findings = json.loads((tmp_path / "report.json").read_text())
    assert [item["check"] for item in findings] == ["disk", "memory", "torch", "cpu"]
    assert capsys.readouterr().out.count("ok ") == 4


def test_every_lack_is_told_with_its_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "_SIZE", 64)
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec(tmp_path, min_disk_gb=1e9, min_ram_gb=1e9)))
    assert main([str(path)]) == 5
    told = capsys.readouterr().out
    assert "BAD disk" in told and "BAD memory" in told and "ok  cpu" in told and "pod.disk_gb" in told


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: False)
    found = {item.check: item for item in examine(spec(tmp_path, gpus=2))}
    assert not found["driver"].ok and not found["gpu"].ok
    assert "sees 0 GPUs, the pod should have 2" in found["gpu"].said


@pytest.mark.parametrize(("driver", "ok"), [("13.0", True), ("12.4", True), ("11.8", False)])
def test_a_driver_for_an_older_cuda_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, ok: bool
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '| NVIDIA-SMI 550  Driver Version: 550  CUDA Version: {driver} |'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("torch.version.cuda", "12.8")
    finding = preflight._driver({})
    assert finding.ok == ok and driver in finding.said and "12.8" in finding.said


def test_wrong_arithmetic_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    assert product_error("cpu", "float32")[0] < 1e-5
    assert 1e-4 < product_error("cpu", "bfloat16")[0] < 2e-2
    right = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b: right(a, b) * (1.0 if a.dtype == torch.float64 else 1.1)
    )
    found = {item.check: item for item in examine(spec(tmp_path))}
    assert not found["cpu"].ok


def test_a_container_has_the_memory_of_its_limit(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\n")
    assert memory_gb(tmp_path) == pytest.approx(16.384)
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("max\n")
    assert memory_gb(tmp_path) == pytest.approx(16.384)
    limit.write_text("8000000000\n")
    assert memory_gb(tmp_path) == pytest.approx(8.0)
