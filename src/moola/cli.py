"""The one `moola` command. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import io
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

import moola
from moola.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    EXTRAS,
    LostProcessError,
    MoolaError,
    StorageError,
    did_you_mean,
    missing_extras,
    storage_error,
)

JOBS = {
    "run": "every stage: bars to report (the default job needs no further words)",
    "ingest": "bars, checked and stored",
    "windows": "windows, their names and labels",
    "pretrain": "the encoder and what it needs",
    "finetune": "classifiers on all given labels, saved for use",
    "oof": "out-of-fold and test predictions of every model",
    "stack": "the stacked model",
    "evaluate": "figures with intervals, comparisons, alarms and the verdict",
    "report": "report.html: all of it on one page",
}
COMMANDS = {
    "bench": "all models on labelled sets of the field, with published figures beside ours",
    "compare": "two runs on the same windows, or many in one table",
    "dash": "runs and sweeps in a browser, live: curves side by side, comparisons, reports",
    "data": "validate, describe and compare bars; fetch public ones",
    "encoders": "named encoders: list, show, embed windows, export to ONNX",
    "init": "make the data/ and artifacts/ folders",
    "labels": "doubtful labels, batches to annotate, decisions: import, undo, agreement, export, diff, report",
    "layout": "check the folders, or move an old tree into them",
    "pod": "a run on a rented GPU and back: run, attach, logs, pull, cost, reap",
    "review": "look at doubtful labels in a browser and decide with one key",
    "runs": "every run there is, filtered and sorted by any figure or key",
    "search": "the best settings of a model, on folds inside the training windows: search, show, ls",
    "sweep": "grids of runs: list, one table of each, logs of points",
    "track": "send trackers what they were not told while they were away",
    "wandb": "what W&B needs beside tracker=wandb: sync, a sweep, a dashboard",
}
_OTHERS = {
    "stages": "list the stages, what they require and provide",
    "doctor": "versions, device, disk; what is missing and how to get it",
}
_PATIENCE_S = 5.0
"""How long a process lets the one before it speak: longer than they are apart when all find the same error."""
_EPILOG = """\
Jobs take Hydra overrides: moola run experiment=ucr data.name=GunPoint seeds=[0] -m task.draw=0,1,2
  moola run --help       groups, common keys, the composed configuration
  moola run --cfg job    show the configuration and run nothing
  moola run -m KEY=A,B   a run for each combination; the same again runs only what is missing
  moola run --force      build every stage again; --force=pretrain,oof only these
The last line on stdout is the run folder. Finished stages are reused; after a crash the same command goes on.
Tab completion (bash, zsh): eval "$(register-python-argcomplete moola)"

exit codes: 0 done, 1 failed, 2 wrong command or configuration, 3 wrong data, 4 files, 5 missing package or device,
6 no pod, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        atexit.register(gc.freeze)  # else the end of the process looks once more at every object that torch brought
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a minus sign must not end a finished run
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could follow
        importlib.import_module("moola.commands.completion").complete(parser, JOBS, COMMANDS)
    command, rest = (words[0], words[1:]) if words else ("--help", [])
    if command in JOBS:
        return guarded(lambda: importlib.import_module("moola.commands.jobs").main(command, rest), takes_keys=True)
    if command in COMMANDS:
        module = f"moola.commands.{command}"
        as_json = command == "pod" and "--json" in itertools.takewhile(lambda word: word != "--", rest)
        takes_keys = command in ("bench", "data", "search")
        return guarded(lambda: importlib.import_module(module).main(rest), takes_keys, as_json)
    if command.startswith("-"):
        parser.parse_args(words or ["--help"])
        return EXIT_OK
    if command not in _OTHERS:
        of_data = ("describe", "drift", "fetch", "validate")
        known = [*JOBS, *COMMANDS, *_OTHERS]
        near = f"did you mean 'moola data {command}'?" if command in of_data else did_you_mean(command, known)
        print(f"moola: there is no command '{command}'; {near}", file=sys.stderr)
        return EXIT_USAGE
    parser.parse_args(words)
    return guarded(_print_stages if command == "stages" else _examine)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola",
        description="Pretrain on unlabeled windows, fine-tune on few labels, and say what each figure is worth.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"moola {moola.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, words in {**JOBS, **COMMANDS, **_OTHERS}.items():
        commands.add_parser(name, help=words, description=words, add_help=name in _OTHERS)
    return parser


def guarded(work: Callable[[], int], takes_keys: bool = False, as_json: bool = False) -> int:
    """Turn errors that a user can cause into a message and an exit code; defects keep their traceback.

    Args:
        work: what a command or a script does; its exit code.
        takes_keys: whether it takes configuration keys, and so other folders, and goes on when it is repeated.
        as_json: whether who reads stdout awaits JSON: then an error is told there, too.
    """
    try:
        return work()
    except MoolaError as error:
        return _tell(error, as_json)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        return _tell(missing_extras(), as_json)
    except KeyboardInterrupt:
        if not _turn():
            print("\ninterrupted: everything finished is kept, the same command goes on from there", file=sys.stderr)
        if as_json:
            _print_json("interrupted", "", "the same command goes on from what is finished", EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
        return EXIT_OK
    except OSError as error:
        told = storage_error(error, takes_keys) or _without_directory()
        if told is None:
            raise
        return _tell(told, as_json)


def _without_directory() -> StorageError | None:
    """What to tell where the working directory is gone, for then most things fail; None where it is there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return StorageError("the working directory is gone", "it was deleted, or moved away", "cd to one that is there")
    return None


def _tell(error: MoolaError, as_json: bool = False) -> int:
    """Print an error and return its exit code; where ``torchrun`` started several processes, once on each machine.

    Most of what one of them finds, all find. The first speaks and ends, at which torchrun ends those that still wait
    for their turn. What follows from the end of another process has its turn after all else.
    """
    turn = _turn() + isinstance(error, LostProcessError) * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if turn:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        time.sleep(turn * _PATIENCE_S)
    print(error.spoken(), file=sys.stderr)
    if as_json:
        _print_json(error.what, error.why, error.way_out, error.exit_code)
    return error.exit_code


def _print_json(what: str, why: str, way_out: str, exit_code: int) -> None:
    """An error for programs, on stdout."""
    told = {"what": what, "why": why, "way_out": way_out, "exit_code": exit_code}
    print(json.dumps({"error": told}, indent=2), flush=True)


def _turn() -> int:
    """When this process speaks among those that ``torchrun`` started on this machine: 0 is at once."""
    return int(os.environ["LOCAL_RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def _print_stages() -> int:
    from moola.pipelines.stage import STAGES

    for name in STAGES.names():
        stage = STAGES.get(name)
        reads = ", ".join(stage.requires) + "".join(f", {other} if there" for other in stage.uses)
        print(f"{name:14}{(stage.__doc__ or '').splitlines()[0]}")
        print(f"{'':14}{reads.lstrip(', ') or '(nothing)'} -> {stage.provides}")
    return EXIT_OK


def _examine() -> int:
    from moola.doctor import examine

    return EXIT_OK if examine() else EXIT_FAILED
