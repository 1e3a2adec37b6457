"""How long a user waits: for the help, for the default job from nothing, for the same job again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from measurement import Row, benchmark_main, compare, seconds


def measure(quick: bool) -> list[Row]:
    """Help beside a bare interpreter; a first run with its memory; a rerun in which every stage is reused."""
    moola = [sys.executable, "-m", "moola"]
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            compare(
                "moola --help",
                "s",
                lambda: _wall_s([*moola, "--help"], folder),
                lambda: _wall_s([sys.executable, "-c", "pass"], folder),
                "python -c pass",
                higher_is_better=False,
                target=None,
                repeats=5 if quick else 15,
            ),
        ]
        wall_s, peak_gib = _peak([*moola, "run"], folder)
        rows.append(_once("default job, from nothing", "s", wall_s, 300.0))
        rows.append(_once("default job, peak memory", "GiB", peak_gib, 3.0))
        rows.append(
            compare(
                "default job, every stage reused",
                "s",
                lambda: _wall_s([*moola, "run"], folder),
                lambda: _wall_s([sys.executable, "-c", "import torch, polars"], folder),
                "python -c 'import torch, polars'",
                higher_is_better=False,
                target=None,
                repeats=2 if quick else 7,
            )
        )
    return rows


def _once(work: str, unit: str, value: float, target: float) -> Row:
    return Row(work, unit, value, None, None, False, None, target, {"ours": (value, value)})


def _wall_s(command: list[str], folder: str) -> float:
    return seconds(lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True))


def _peak(command: list[str], folder: str) -> tuple[float, float]:
    """Wall time and the largest resident size of the process and its children together."""
    import psutil

    peak = 0
    log = Path(folder) / "job.log"
    with log.open("wb") as output:

        def run() -> None:
            nonlocal peak
            process = psutil.Popen(command, cwd=folder, stdout=output, stderr=output)
            while process.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    family = [process, *process.children(recursive=True)]
                    peak = max(peak, sum(member.memory_info().rss for member in family))
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(0.2)
            if process.returncode:
                raise RuntimeError(log.read_text())

        wall_s = seconds(run)
    return wall_s, peak / 2**30


if __name__ == "__main__":
    raise SystemExit(benchmark_main(str(__doc__), measure))
