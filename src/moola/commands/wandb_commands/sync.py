"""``moola wandb sync``: send what W&B does not have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from moola.commands.layout import add_artifacts
from moola.commands.wandb_commands.options import add_target, given_target
from moola.errors import EXIT_OK, DataError, MoolaError, did_you_mean, printable
from moola.layout import spoken_folder


def main(words: Sequence[str]) -> int:
    """Send runs; the exit code of the last that failed."""
    parser = argparse.ArgumentParser(
        prog="moola wandb sync",
        description="Send runs to W&B that were offline, without a network, or on a pod. What was sent stays sent: "
        "run it as often as you like. Each run takes a bounded time (tracker.wandb.init_s and wait_s).",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="id or folder, or of a search searches/NAME; default: all with tracker=wandb",
    )
    add_target(parser, "the run's own")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    from moola.pipelines.rented import rent_figures
    from moola.tracking.wandb_sync import runs_to_send, send

    results: Path = arguments.artifacts.absolute() / "results"
    folders = [_folder(run, results) for run in arguments.runs] or runs_to_send(results)
    if not folders:
        print(f"no run in {results} was to tell W&B; tracker=wandb among the overrides makes one do so")
    code = EXIT_OK
    for folder in folders:
        try:
            sent = send(folder, given_target(arguments), is_own=not rent_figures(folder))
        except MoolaError as error:
            print(error.spoken(), file=sys.stderr)
            code = error.exit_code
            continue
        print(_spoken(spoken_folder(folder), sent.calls, sent.place))
        for line in sent.left_out:
            print(f"  left out: {printable(line, keep='')}", file=sys.stderr)
    return code


def _spoken(run: str, calls: int, place: str) -> str:
    return f"{run}: {place or 'sent'}" if calls else f"{run}: W&B has all of it"


def _folder(run: str, results: Path) -> Path:
    """The folder of a run that is named by its id or by its folder, or of a search.

    Raises:
        DataError: there is none; near ids are named.
    """
    from moola.tracking.journal import found_search, told_folders

    if search := found_search(run, results):
        return search
    for folder in (results / run, Path(run).absolute()):
        if (folder / "manifest.json").is_file():
            return folder
    known = [path.parent.name for path in results.glob("*/manifest.json")]
    known += map(spoken_folder, told_folders(results))
    raise DataError(f"there is no run '{run}'", did_you_mean(run, known), "name one of them, or its folder")
