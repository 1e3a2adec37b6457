"""What evidence costs: predictions out of fold, the report, comparing runs, and MiniRocket beside aeon alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from measurement import Row, benchmark_main, compare, seconds
from self_supervised_sets import LabelledSet

TEN = (
    "finetuned",
    "scratch",
    "pretrained_probe",
    "random_forest",
    "xgboost",
    "minirocket",
    "multirocket_hydra",
    "dtw",
    "simple_lstm",
    "cnn_transformer",
)
"""The ten models that take longest; those that take milliseconds would flatter the figure."""
OTHERS = ("random_init_probe", "logistic_regression", "majority", "stratified")
N_RUNS = 200
SIDE_BY_SIDE = ("ItalyPowerDemand", "GunPoint")


def measure(quick: bool) -> list[Row]:
    """Everything in one folder, so that each command finds what those before it made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["model=all", *(f"~model.{other}" for other in OTHERS), f"seeds={'[0]' if quick else '[0,1,2]'}"]
        rows = [*_oof_rows(folder, words, quick), *_report_rows(folder, words, repeats=1 if quick else 5)]
        rows.append(_compare_row(folder, repeats=1 if quick else 5))
    rows.append(_minirocket_row(repeats=2 if quick else 7))
    return rows + ([] if quick else list(_accuracy_rows()))


def _oof_rows(folder: Path, words: Sequence[str], quick: bool) -> Iterator[Row]:
    """The stage alone, after pretraining: as it is by default, then plain; each from its first fit."""
    work = f"174 windows, 5 folds, 10 models, {'1 seed' if quick else '3 seeds'}"
    _moola(folder, "pretrain", *words)
    if not quick:
        whole = _stage_seconds(_moola(folder, "oof", *words), "oof")
        yield _once(f"{work}: with the pairs of folds that calibration and the stack are judged by", "s", whole, 600.0)
    # Fits of the run above are kept for other runs; forced, this one uses none of them.
    plain = _stage_seconds(_moola(folder, "oof", *words, "stage.oof.nested=false", "--force=oof"), "oof")
    yield _once(f"{work}: plain out of fold", "s", plain, None if quick else 600.0)


def _report_rows(folder: Path, words: Sequence[str], repeats: int) -> Iterator[Row]:
    """The whole command where nothing but the report is made, and the page."""
    words = [*words, "stage.oof.nested=false"]
    run = _moola(folder, "report", *words)
    times = [seconds(lambda: _moola(folder, "report", *words, "--force=report")) for _ in range(repeats)]
    yield _several("moola report, all else finished", "s", times, 10.0)
    yield _once("report.html", "MB", (run / "report.html").stat().st_size / 1e6, 5.0)


def _compare_row(folder: Path, repeats: int) -> Row:
    """200 copies of one run, each with its own name."""
    (run,) = {path.parent for path in folder.glob("artifacts/results/*/report.html")}
    copies = [_copy(run, f"{run.name}-{number}") for number in range(N_RUNS)]
    times = [seconds(lambda: _moola(folder, "compare", *map(str, copies))) for _ in range(repeats)]
    return _several(f"moola compare of {N_RUNS} runs", "s", times, 3.0)


def _copy(run: Path, name: str) -> Path:
    """A run under another name."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "run_id": name}))
    return copy


def _minirocket_row(repeats: int) -> Row:
    """Fit and predict; ours ends in a logistic regression, aeon's in a ridge classifier."""
    from aeon.classification.convolution_based import MiniRocketClassifier

    from moola.models import FitResources, LabelledWindows
    from moola.models.rocket import MiniRocket, channels_first
    from moola.pipelines.parallel import one_thread

    rng = np.random.default_rng(0)
    bars = rng.normal(size=(174 + 174, 75, 4)).cumsum(axis=1).astype(np.float32)
    labels = np.arange(len(bars)) % 2
    windows = LabelledWindows(bars, bars, labels, 2)
    first, last = np.arange(174), np.arange(174, len(bars))
    resources = FitResources(0, lambda inputs: inputs.reshape(len(inputs), -1), "cpu")

    def ours() -> float:
        with one_thread():
            return seconds(lambda: MiniRocket().fit(windows[first], resources).predict_proba(windows[last]))

    def alone() -> None:
        model: Any = MiniRocketClassifier(random_state=0, n_jobs=1)
        model.fit(channels_first(bars[first]), labels[first])
        model.predict(channels_first(bars[last]))

    def reference() -> float:
        with one_thread():
            return seconds(alone)

    return compare(
        "MiniRocket: fit on 174 windows of 75x4, predict 174",
        "s",
        ours,
        reference,
        "aeon's MiniRocketClassifier",
        higher_is_better=False,
        target=None,
        repeats=repeats,
    )


def _accuracy_rows() -> Iterator[Row]:
    """MultiRocket-Hydra as the bench runs it, beside aeon's own on the cases as they are: whether it is weakened."""
    from aeon.classification.convolution_based import MultiRocketHydraClassifier

    from moola.models import FitResources
    from moola.models.hydra import MultiRocketHydra
    from moola.models.rocket import channels_first

    for name in SIDE_BY_SIDE:
        cases = LabelledSet.read(name)
        figures: dict[str, list[float]] = {"ours": [], "reference": []}
        for seed in (0, 1, 2):
            resources = FitResources(seed, lambda inputs: inputs.reshape(len(inputs), -1), "cpu")
            said: Any = MultiRocketHydra().fit(cases.train, resources).predict_proba(cases.test.without_labels())
            alone = MultiRocketHydraClassifier(random_state=seed, n_jobs=1)
            alone.fit(channels_first(cases.train.bars), cases.train.labels)
            others = alone.predict(channels_first(cases.test.bars))
            figures["ours"].append(float((said.argmax(axis=1) == cases.test.labels).mean()))
            figures["reference"].append(float((others == cases.test.labels).mean()))
        ours, reference = (float(np.mean(figures[side])) for side in ("ours", "reference"))
        spread = {side: (min(values), max(values)) for side, values in figures.items()}
        work = f"{name}: MultiRocket-Hydra, accuracy"
        yield Row(work, "accuracy", ours, reference, "aeon's own, raw", True, ours / reference, None, spread)


def _moola(folder: Path, *words: str) -> Path:
    """Run a command to its end; what its last line names."""
    command = [sys.executable, "-m", "moola", *words]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return Path(done.stdout.splitlines()[-1])


def _stage_seconds(run: Path, stage: str) -> float:
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    return next(one["seconds"] for one in stages if one["stage"] == stage)


def _once(work: str, unit: str, value: float, target: float | None) -> Row:
    return Row(work, unit, value, None, None, False, None, target, {"ours": (value, value)})


def _several(work: str, unit: str, values: Sequence[float], target: float) -> Row:
    middle = float(np.median(values))
    return Row(work, unit, middle, None, None, False, None, target, {"ours": (min(values), max(values))})


if __name__ == "__main__":
    raise SystemExit(benchmark_main(str(__doc__), measure))
