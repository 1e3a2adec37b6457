"""Sweeps and tracking: what the local tracker costs a loop, a sweep a point, a list of runs, and a search a trial."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from measurement import Row, benchmark_main, compare, seconds
from moola.config import RunConfig, structure
from moola.data.device_batches import Batch, DeviceBatches
from moola.pipelines.events import EventLog, read_events
from moola.pipelines.sweep_record import read_states
from moola.pipelines.system_figures import SystemMeter
from moola.pipelines.tracked import tracked
from moola.testing.run_folders import write_run_folders
from moola.tracking.local import LocalTracker
from moola.training.loop import fit
from moola.training.schedule import FitConfig

LOOP_RATIO = 0.98
"""Of the steps a second without the tracker."""
START_S, LIST_S = 3.0, 1.0
STEP_US = 1_000.0
"""The step at which 2 % are counted: 1,000 steps a second."""
WARM_UP_STEPS = 100
N_RUNS, N_TRIALS, N_POINTS = 10_000, 200, 5
_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Journals are synced to disk with every line; both sides keep theirs in memory, so that no other work is measured."""
_MOOLA = [sys.executable, "-m", "moola"]
_MANIFESTS = """
import json, pathlib, sys
print(len([json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*/manifest.json")]))
"""


def measure(quick: bool) -> list[Row]:
    """The loop, points of a sweep, the list of runs, trials of a search."""
    return [*loop(quick), *points(quick), *listing(quick), *trials(quick)]


def loop(quick: bool) -> list[Row]:
    """The same steps with the run's log of events and the figures of the machine, and without."""
    n_steps, repeats = (3_000, 7) if quick else (6_000, 21)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (row,) = [
            compare(
                "training loop of tiny steps on a CPU, local tracker on", "steps/s",
                lambda: 1e6 / step_us(n_steps, folder), lambda: 1e6 / step_us(n_steps, None),
                "the same loop, no log and no tracker",
                higher_is_better=True, target=LOOP_RATIO, repeats=repeats,
            )
        ]  # fmt: skip
        own_us = [_calls_us(n_steps, folder) for _ in range(repeats)]
    assert row.ours is not None
    assert row.reference is not None
    added_us = 1e6 / row.ours - 1e6 / row.reference
    limit_us = (1 / LOOP_RATIO - 1) * STEP_US
    spread = {"ours": (min(own_us), max(own_us))}
    return [
        row,
        Row("the same: difference of the medians, a step", "us", added_us, None, None, False, None, limit_us, {}),
        Row(
            "local tracker: time inside its calls, a step of 1 ms", "us", statistics.median(own_us),
            None, None, False, None, limit_us, spread,
        ),
    ]  # fmt: skip


def step_us(n_steps: int, folder: Path | None) -> float:
    """Mean wall time of a step after the warm-up, with the local tracker where there is a folder for its files."""
    clock = _Clock()
    values = torch.randn(n_steps + 2, 1, generator=torch.Generator().manual_seed(0))
    batches = DeviceBatches(values, np.arange(n_steps), 1, lambda bars: bars[..., :1], 1, 0)
    config = FitConfig(epochs=1, batch_size=1, stall_s=0.0)
    with _local_tracker(folder) as on_steps:
        fit(clock, batches, config, on_steps=on_steps)
    first, last = clock.begun_s[WARM_UP_STEPS], clock.begun_s[-1]
    return (last - first) / (len(clock.begun_s) - 1 - WARM_UP_STEPS) * 1e6


def _calls_us(n_steps: int, folder: Path) -> float:
    """Lines of the log and readings of the machine by themselves, divided among the steps that they are for.

    Unlike the difference of two loops, it does not drown in what else the machine does.
    """
    line = {"step": 1, "steps": 50, "epoch": 1, "loss": 0.5, "parts": {}, "shares": {}, "lr": {"all": 1e-3}}
    with _local_tracker(folder) as on_steps:
        assert on_steps is not None
        lines = n_steps // FitConfig(epochs=1, batch_size=1).log_every_steps
        of_lines_us = seconds(lambda: [on_steps(line) for _ in range(lines)]) / n_steps * 1e6
    every_s = LocalTracker().system_every_s
    if every_s is None:
        return of_lines_us
    meter = SystemMeter(folder)
    return of_lines_us + seconds(meter.read) / every_s * STEP_US


class _Clock(nn.Module):
    """One weight, and the time at which each step begins."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.begun_s: list[float] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.begun_s.append(time.perf_counter())
        return {"loss": ((batch.inputs[:, 0] - self.weight) ** 2).mean()}


@contextlib.contextmanager
def _local_tracker(folder: Path | None) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """What takes the lines of the step log, as a run has it."""
    if folder is None:
        yield None
        return
    sections = ("data", "task", "transform", "augment", "split", "encoder", "objective", "trainer", "model", "stage")
    nothing = {key: {} for key in (*sections, "evaluation")}
    config = structure(RunConfig, {"name": "loop", **nothing, "tracker": {"local": {}}}, "")
    events = EventLog(folder / "events.jsonl")
    with tracked(config, "loop-1", folder, None, events):
        yield lambda line: events.emit("steps", stage="pretrain", seed=0, **line)


def points(quick: bool) -> list[Row]:
    """From the end of one point to the first event of the next, beside a process of its own for each."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        work = _Points(Path(name))
        row = compare(
            "start of a sweep's point after the first", "s", work.between, work.fresh, "moola ingest, a fresh process",
            higher_is_better=False, target=None, repeats=2 if quick else 7,
        )  # fmt: skip
    assert row.ours is not None
    alone = Row(f"{row.work}: limit", "s", row.ours, None, None, False, None, START_S, {"ours": row.spread["ours"]})
    return [row, alone]


class _Points:
    """Runs that do nothing but begin: their bars are there already."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    def between(self) -> float:
        """Median over the points of one sweep."""
        self._number += 1
        names = ",".join(f"p{self._number}_{point}" for point in range(N_POINTS))
        self._moola("-m", "hydra.launcher.n_jobs=1", f"name={names}")
        (folder,) = [
            path.parent
            for path in self._results.glob("sweeps/*/sweep.json")
            if f"p{self._number}_0" in path.read_text()
        ]
        states = [state for _, state in sorted(read_states(folder).items())]
        gaps = [
            _time_of(Path(after.run_folder)) - datetime.fromisoformat(before.finished).timestamp()
            for before, after in itertools.pairwise(states)
        ]
        return statistics.median(gaps)

    def fresh(self) -> float:
        """From the start of the process to its first event."""
        self._number += 1
        began = time.time()
        self._moola(f"name=q{self._number}")
        (folder,) = self._results.glob(f"q{self._number}-*")
        return _time_of(folder) - began

    @property
    def _results(self) -> Path:
        return self._folder / "artifacts" / "results"

    def _moola(self, *words: str) -> None:
        command = [*_MOOLA, "ingest", "debug=fast", *words]
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True)


def _time_of(run_folder: Path) -> float:
    """When a run began, in seconds since 1970."""
    return datetime.fromisoformat(read_events(run_folder / "events.jsonl")[0]["time"]).timestamp()


def listing(quick: bool) -> list[Row]:
    """`moola runs` over many run folders, cold processes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        results = Path(name) / "artifacts" / "results"
        write_run_folders(results, N_RUNS)
        what = f"moola runs over {N_RUNS:,} runs"

        def wall_s(command: list[str]) -> float:
            return seconds(lambda: subprocess.run(command, cwd=name, check=True, capture_output=True))

        def listed() -> float:
            return wall_s([*_MOOLA, "runs", "--limit", "30"])

        first_s = listed()
        row = compare(
            what, "s", listed, lambda: wall_s([sys.executable, "-c", _MANIFESTS, str(results)]),
            "python that reads every manifest.json", higher_is_better=False, target=None, repeats=3 if quick else 9,
        )  # fmt: skip
    assert row.ours is not None
    return [
        row,
        Row(f"{what}: limit", "s", row.ours, None, None, False, None, LIST_S, {"ours": row.spread["ours"]}),
        Row(f"{what}, the first time", "s", first_s, None, None, False, None, None, {"ours": (first_s, first_s)}),
    ]


def trials(quick: bool) -> list[Row]:
    """A search whose objective costs nothing beside Optuna's own ask and tell, each with its journal in a file."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as name:
        work = _Trials(Path(name))
        return [
            compare(
                f"{N_TRIALS} trials of a trivial objective, one worker", "s", work.ours, reference, reference_name,
                higher_is_better=False, target=None, repeats=2 if quick else 7,
            )
            for reference_name, reference in (
                ("bare Optuna: journal file, the same sampler", work.in_a_file),
                ("bare Optuna: in memory, the same sampler", work.in_memory),
            )
        ]  # fmt: skip


class _Trials:
    """(x - 1)^2 + (y - 1)^2, searched in new studies."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    def ours(self) -> float:
        """A study of `moola search`, with its locks, its beats and the default tried first."""
        from moola.sweeps.search.owner import Owner
        from moola.sweeps.search.settings import read_settings
        from moola.sweeps.search.storage import StudyStorage
        from moola.sweeps.search.study import SearchStudy, work

        axis = {"type": "float", "low": -10.0, "high": 10.0}
        section = {"name": "trivial", "model": "none", "n_trials": N_TRIALS, "space": {"x": axis, "y": axis}}
        settings, place = read_settings(section), self._place()
        owner = Owner(self._folder / "workers")

        def search() -> None:
            study = SearchStudy(StudyStorage(place), "trivial", settings, owner, {"x": 0.0, "y": 0.0}, False)
            study.begin()
            work(study, lambda params, _: sum((float(params[key] or 0) - 1) ** 2 for key in "xy"), lambda _: None)

        try:
            return seconds(search)
        finally:
            owner.close()

    def in_a_file(self) -> float:
        """Optuna with a journal."""
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        return self._bare(JournalStorage(JournalFileBackend(self._place())))

    def in_memory(self) -> float:
        """Optuna as its defaults come."""
        return self._bare(None)

    def _bare(self, storage: Any) -> float:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)

        def search() -> None:
            study = optuna.create_study(storage=storage, sampler=optuna.samplers.TPESampler(seed=0))
            for _ in range(N_TRIALS):
                trial = study.ask()
                study.tell(trial, sum((trial.suggest_float(name, -10.0, 10.0) - 1) ** 2 for name in "xy"))

        return seconds(search)

    def _place(self) -> str:
        self._number += 1
        return str(self._folder / f"study{self._number}.journal")


if __name__ == "__main__":
    raise SystemExit(benchmark_main(str(__doc__), measure))
