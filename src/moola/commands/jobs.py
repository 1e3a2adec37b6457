"""The jobs of the pipeline: compose the configuration, run it as far as the job goes, print what came out."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import EXIT_OK, MoolaError
from moola.pipelines.console_run import end_on_signals, run_once
from moola.sweeps.multirun import is_multirun, multirun

if TYPE_CHECKING:
    from moola.config import RunConfig


_QUESTIONS = {"-h", "--help", "--cfg", "-c", "--info", "--shell-completion", "-sc", "--hydra-help"}
"""Flags with which nothing runs."""

LEAVES = {
    "run": "Runs every stage, from bars to report. The run folder then holds report.html with its pictures/ and "
    "tables/, figures (metrics.json, leaderboard.csv), predictions (oof.parquet, stack.parquet) and label_issues.csv.",
    "ingest": "Reads bars, judges every one and stores them once, as one array. manifest.json in the run folder says "
    "where; bad rows that were left out, and why, are in quarantine.csv there.",
    "windows": "Cuts stored bars into windows, names them and labels what the task can label. windows.parquet lies in "
    "the folder that manifest.json in the run folder gives for the stage.",
    "pretrain": "Pretrains one encoder a seed on windows without their labels. Leaves a named encoder: "
    "`moola encoders ls` lists it, encoder_from=NAME uses it.",
    "finetune": "Fits one classifier a seed on all given labels and saves it for use: the folders classifier-seedN, in "
    "the folder that manifest.json in the run folder gives for the stage.",
    "oof": "Fits every model on every fold, and asks it about windows that it did not train on. The run folder then "
    "holds oof.parquet (predictions out of fold and on the sealed test), models.json and costs.json.",
    "stack": "Fits every model on every fold, and stacks of their predictions. The run folder then holds oof.parquet "
    "and stack.parquet, predictions out of fold and on the sealed test.",
    "evaluate": "Judges the predictions of every model: figures with intervals, comparisons, alarms and the verdict. "
    "The run folder then holds metrics.json, leaderboard.csv and .tex, summary.json and calibration.json, and no page.",
    "report": "Puts all figures and what they rest on on one page. The run folder then holds report.html, pictures/ "
    "and tables/, beside what `moola evaluate` leaves.",
}
"""What each job does and leaves, for its help."""


def main(command: str, words: Sequence[str]) -> int:
    """Run a job, e.g. ``main("oof", ["seeds=[0]"])``; with ``-m`` once for each combination."""
    if {"-h", "--help"} & set(words):
        print(f"{textwrap.fill(LEAVES[command], 100)}\n")
    if is_multirun(words) and not _QUESTIONS & {word.partition("=")[0] for word in words}:
        end_on_signals()
        multirun(command, words)
        return EXIT_OK
    line = shlex.join(["moola", command, *words])

    def job(config: RunConfig, config_yaml: str) -> None:
        folder = run_once(config, config_yaml, None if command == "run" else command, line, words)
        if _speaks(os.environ):
            _print_outcome(folder)

    for_each(command, words, job, lambda config: _assemble(config, command))
    return EXIT_OK


def _assemble(config: RunConfig, command: str) -> None:
    from moola.pipelines.assembly import assemble

    assemble(config, None if command == "run" else command)


def _speaks(environment: Mapping[str, str]) -> bool:
    """Whether this process tells the outcome: of those that ``torchrun`` started, the first one does."""
    return "TORCHELASTIC_RUN_ID" not in environment or environment.get("RANK") == "0"


def for_each(
    command: str,
    words: Sequence[str],
    work: Callable[[RunConfig, str], None],
    sections: Callable[[RunConfig], None] | None = None,
) -> None:
    """Call `work` with each composed configuration, checked, and as YAML; `sections` as of `from_omegaconf`.

    Raises:
        MoolaError: of the last configuration that failed; what went wrong in the others has been printed.
    """
    from moola.composition import compose_and_call

    end_on_signals()
    failures: list[BaseException] = []

    def job(composed: Any) -> None:
        from omegaconf import OmegaConf

        from moola.config import from_omegaconf

        try:
            config = from_omegaconf(composed, sections)
            kept = OmegaConf.merge(composed, {"force": []})  # to repeat is not to force
            work(config, OmegaConf.to_yaml(kept, resolve=True))
        except Exception as error:  # Hydra would print its own words around it; raised again below
            failures.append(error)

    compose_and_call(command, list(words), job)
    for failure in failures[:-1]:
        if not isinstance(failure, MoolaError):
            raise failure
        print(failure.spoken(), file=sys.stderr)
    if failures:
        raise failures[-1]


def _print_outcome(folder: Path) -> None:
    from moola.layout import read_json

    if (folder / "summary.json").exists():
        summary = read_json(folder / "summary.json")
        print()
        for sentence in summary["verdict"]:
            print(sentence + "\n")
        for alarm in summary["alarms"]:
            print(f"{alarm['severity']}: {alarm['message']}")
        if (folder / "report.html").exists():  # `moola evaluate` ends before the page
            print(f"\nopen {folder / 'report.html'}")
    print(folder)
