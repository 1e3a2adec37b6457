"""What a pod has to show before it is trusted with a long run: that it can compute, keep and remember.

``python -m moola.pods.preflight SPEC`` runs in the environment of the run. A GPU that is listed may still fail at its
first kernel, so a product of matrices is computed on it and compared with the processor's.

Standard library and torch only: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EXIT_ENVIRONMENT = 5
_SIZE = 1024
_WORST = {"float32": 1e-2, "bfloat16": 2e-2}
"""Largest share of the greatest product that rounding may move one by: TF32 keeps 10 bits, bf16 7, of sums of 1024."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        ok: whether the run may begin.
        said: what was found, with the figures.
        way_out: what to do where it is not ok.
        elsewhere: another machine of the same kind may pass.
    """

    check: str
    ok: bool
    said: str
    way_out: str = ""
    elsewhere: bool = False


def examine(spec: dict[str, Any]) -> list[Finding]:
    """Everything that is checked; a check that breaks is a finding, too.

    Args:
        spec: ``device`` (``auto``, ``cpu`` or ``cuda``), ``gpus`` (that the pod should have), ``min_disk_gb`` and
            ``min_ram_gb``, ``folder`` to write to.
    """
    checks: list[tuple[str, Callable[[dict[str, Any]], Finding]]] = [("disk", _disk), ("memory", _memory)]
    checks.append(("torch", _torch))
    if spec["device"] == "cuda" or spec["gpus"]:
        checks += [("driver", _driver), ("gpu", _gpu), ("bfloat16", _bfloat16)]
    else:
        checks.append(("cpu", _cpu))
    return [_attempt(name, check, spec) for name, check in checks]


def _attempt(name: str, check: Callable[[dict[str, Any]], Finding], spec: dict[str, Any]) -> Finding:
    try:
        return check(spec)
    except Exception as error:  # a broken driver raises what it likes
        told, way_out = f"{type(error).__name__}: {error}", "take another pod or another image (pod.image=...)"
        return Finding(name, False, told, way_out, elsewhere=name in ("driver", "gpu", "bfloat16"))


def _disk(spec: dict[str, Any]) -> Finding:
    folder, least = spec["folder"], spec["min_disk_gb"]
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(os.urandom(1 << 20))
        probe.flush()
        os.fsync(probe.fileno())
    free = shutil.disk_usage(folder).free / 1e9
    return Finding(
        "disk", free >= least, f"{free:.1f} GB free, {least:g} GB are needed", "ask for more with pod.disk_gb=..."
    )


def _memory(spec: dict[str, Any]) -> Finding:
    least, there = spec["min_ram_gb"], memory_gb()
    return Finding("memory", there >= least, f"{there:.1f} GB, {least:g} GB are needed", "take a pod with more memory")


def memory_gb(root: Path = Path("/")) -> float:
    """Memory that this container may use: the machine's, or less where it has a limit."""
    found = [float(re.findall(r"MemTotal:\s+(\d+) kB", (root / "proc/meminfo").read_text())[0]) * 1024]
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = root / name
        if path.is_file() and path.read_text().strip().isdigit():
            found.append(float(path.read_text()))
    return min(found) / 1e9


def _torch(spec: dict[str, Any]) -> Finding:
    import torch

    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    way_out = "choose an image with a newer torch (pod.image=...)"
    return Finding("torch", version >= (2, 6), f"torch {torch.__version__}, 2.6 is needed", way_out)


def _driver(spec: dict[str, Any]) -> Finding:
    """Whether the driver is new enough for the CUDA that torch was built with."""
    import torch

    told = subprocess.run(["nvidia-smi"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    text = told.stdout.decode(errors="replace")
    highest, built = re.search(r"CUDA Version:\s*([\d.]+)", text), torch.version.cuda
    if told.returncode or highest is None:
        last = (text.strip().splitlines() or ["no answer"])[-1]
        way_out = "take another pod: this one has no working driver"
        return Finding("driver", False, f"nvidia-smi: {last}", way_out, elsewhere=True)
    if built is None:
        return Finding("driver", False, f"torch {torch.__version__} has no CUDA", "name the Python whose torch has it")
    ok = _numbers(highest[1])[0] >= _numbers(built)[0]  # CUDA promises this within a major version
    said = f"the driver takes CUDA {highest[1]}, torch was built for {built}"
    return Finding("driver", ok, said, "choose an image for an older CUDA, or pod.min_cuda=...")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _gpu(spec: dict[str, Any]) -> Finding:
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    way_out = "take another pod: its GPU does not work"
    if there < spec["gpus"]:
        return Finding(
            "gpu", False, f"torch sees {there} GPUs, the pod should have {spec['gpus']}", way_out, elsewhere=True
        )
    names = [torch.cuda.get_device_name(number) for number in range(there)]
    worst = max(product_error(f"cuda:{number}", "float32")[0] for number in range(there))
    vram = torch.cuda.get_device_properties(0).total_memory / 2**30
    said = f"{', '.join(names)}, {vram:.0f} GiB; a product of matrices is off by {worst:.1e}"
    return Finding("gpu", worst < _WORST["float32"], said, way_out, elsewhere=True)


def _bfloat16(spec: dict[str, Any]) -> Finding:
    import torch

    if not torch.cuda.is_bf16_supported():
        return Finding("bfloat16", True, "the GPU has none; precision=auto does without")
    error, seconds = product_error("cuda", "bfloat16")
    said = f"a product of matrices is off by {error:.1e}, {2 * _SIZE**3 / seconds / 1e12:.1f} TFLOP/s"
    way_out = "take another pod: its GPU does not compute right"
    return Finding("bfloat16", error < _WORST["bfloat16"], said, way_out, elsewhere=True)


def _cpu(spec: dict[str, Any]) -> Finding:
    error, _ = product_error("cpu", "float32")
    said = f"{os.cpu_count()} cores; a product of matrices is off by {error:.1e}"
    way_out = "take another machine: this one does not compute right"
    return Finding("cpu", error < _WORST["float32"], said, way_out, elsewhere=True)


def product_error(device: str, dtype: str) -> tuple[float, float]:
    """Multiply two matrices on a device: the largest error, as a share of the largest entry, and the seconds."""
    import torch

    numbers = torch.Generator().manual_seed(0)
    left, right = (torch.randn(_SIZE, _SIZE, generator=numbers).to(getattr(torch, dtype)) for _ in range(2))
    exact = left.double() @ right.double()
    there = left.to(device), right.to(device)
    found = there[0] @ there[1]  # the first one also loads the kernels
    found.cpu()
    began = time.perf_counter()
    found = (there[0] @ there[1]).cpu().double()
    seconds = time.perf_counter() - began
    return float((found - exact).abs().max() / exact.abs().max()), seconds


def main(words: list[str]) -> int:
    """Examine what a file describes, tell it, and write the findings to the file that it names."""
    spec = json.loads(Path(words[0]).read_text())
    findings = examine(spec)
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.check}: {finding.said}")
        if not finding.ok:
            print(f"    -> {finding.way_out}")
    Path(spec["report"]).write_text(json.dumps([asdict(finding) for finding in findings]))
    return 0 if all(finding.ok for finding in findings) else EXIT_ENVIRONMENT


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
