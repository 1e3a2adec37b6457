"""What moola adds to a trial: 200 trials of a trivial objective beside bare Optuna on the same kind of storage.

python benchmarks/search_trials.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from moola.sweeps.search.owner import Owner
from moola.sweeps.search.settings import SearchSettings
from moola.sweeps.search.storage import StudyStorage
from moola.sweeps.search.study import work
from moola.sweeps.search.workers import StudyPlan

N_TRIALS = 200
_RANGE = {"type": "float", "low": -10.0, "high": 10.0}


def study_of_trivial_objective(folder: Path, n_trials: int = N_TRIALS) -> float:
    """Seconds of a study as a worker of `moola search` carries it out, journal in `folder` included."""
    space = {"model.x": _RANGE, "model.y": _RANGE}
    settings = SearchSettings(name="trivial", model="none", space=space, n_trials=n_trials, pruner="none")
    place = str(folder / "moola.journal")
    plan = StudyPlan(place, "trivial", settings, {"model.x": 0.0, "model.y": 0.0}, False, _figure, folder / "locks")
    owner = Owner(plan.locks)
    try:
        study = plan.open(owner)
        study.begin()
        return _seconds(lambda: work(study, _figure, lambda _: None))
    finally:
        owner.close()


def bare_optuna(folder: Path, n_trials: int = N_TRIALS) -> float:
    """Seconds of the same by ask and tell alone, on the same storage with the same sampler."""
    storage = StudyStorage(str(folder / "bare.journal")).optuna
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.TPESampler(seed=0))

    def all_trials() -> None:
        for _ in range(n_trials):
            trial = study.ask()
            params = {key: trial.suggest_float(key, -10.0, 10.0) for key in ("model.x", "model.y")}
            study.tell(trial, _figure(params, None))

    return _seconds(all_trials)


def _figure(params: Any, report: Any) -> float:
    return (params["model.x"] - 2) ** 2 + (params["model.y"] + 3) ** 2


def _seconds(work_there: Callable[[], None]) -> float:
    started = time.perf_counter()
    work_there()
    return time.perf_counter() - started


def main() -> None:
    """Measure both in turn, three times, and print the shortest of each."""
    place = sys.argv[1] if len(sys.argv) > 1 else None
    moola, bare = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory(dir=place) as folder:
            bare.append(bare_optuna(Path(folder)))
            moola.append(study_of_trivial_objective(Path(folder)))
    print(
        f"{N_TRIALS} trials: moola {min(moola):.2f} s, bare Optuna {min(bare):.2f} s ({min(moola) / min(bare):.2f} x)"
    )


if __name__ == "__main__":
    main()
