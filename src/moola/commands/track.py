"""``moola track``: send trackers what the journals of runs hold and they were not told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moola.commands.layout import add_artifacts
from moola.errors import EXIT_OK, ConfigError, DataError, MoolaError, did_you_mean
from moola.layout import spoken_folder

_EPILOG = """\
A RUN is a run id or a run folder, or searches/NAME; without any, all runs and searches are looked at. A run that came
from a pod does not say where its figures go, you do:
  moola track sync RUN tracker=mlflow tracker.mlflow.uri=http://127.0.0.1:5000
"""

_NOTHING_LEFT = "nothing was left to send"
_MOST_TOLD = 5
"""Numbers of lines that cannot be read."""


def main(words: Sequence[str]) -> int:
    """``sync``; the exit code is that of the last tracker that failed."""
    parser = argparse.ArgumentParser(prog="moola track", description="What trackers were told, and what not.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sync = commands.add_parser(
        "sync",
        help="send what a tracker was not told yet",
        description="Send trackers what they were not told, because they were away or the run was elsewhere.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sync.add_argument(
        "runs", nargs="*", metavar="RUN", help="or KEY=VALUE of the section tracker, in place of the run's"
    )
    sync.add_argument("--tracker", metavar="NAME", help="only this one")
    add_artifacts(sync)
    if words and not words[0].startswith("-") and words[0] not in commands.choices:
        near = did_you_mean(words[0], commands.choices)
        raise MoolaError(f"there is no command '{words[0]}'; {near}", "", "see `moola track --help`")
    arguments = parser.parse_args(words)
    overrides = [word for word in arguments.runs if "=" in word]
    named = [word for word in arguments.runs if "=" not in word]
    return sync_runs(named, arguments.artifacts, arguments.tracker, overrides)


def sync_runs(named: Sequence[str], artifacts: Path, only: str | None, overrides: Sequence[str] = ()) -> int:
    """Tell the trackers of some runs what they do not know, and print how much it was.

    Args:
        named: run ids or folders, or names of searches; empty: all that have a journal.
        artifacts: folder in which ids are looked up.
        only: name of the one tracker that is told; None: all of each run.
        overrides: ``tracker=...`` and ``tracker.NAME.KEY=VALUE``, in place of what the runs were configured with.

    Raises:
        MoolaError: of the last tracker that failed; what went wrong with others has been printed.
    """
    from moola.tracking.tracker import TRACKERS

    known = [name for name in TRACKERS.names() if name != "local"]
    if only is not None and only not in known:
        raise ConfigError([f"--tracker: there is no tracker named '{only}'; {did_you_mean(only, known)}"])
    failures: list[MoolaError] = []
    section = _composed(overrides) if overrides else None
    folders, was_any = _folders(named, artifacts), False
    for folder in folders:
        try:
            for name, said in sync_run(folder, only, section, pass_over=not named):
                was_any = True
                print(f"{spoken_folder(folder)}  {name}: {said}", flush=True)
        except MoolaError as error:
            failures.append(error)
    if not (was_any or failures):
        wanted = f"to tell {only}" if only else "to tell a tracker"
        print(f"no run in {artifacts / 'results'} was {wanted}; tracker={only or 'NAME'} makes one do so")
    for failure in failures[:-1]:
        print(failure.spoken(), file=sys.stderr)
    if failures:
        raise failures[-1]
    return EXIT_OK


def sync_run(
    folder: Path, only: str | None, section: Mapping[str, Any] | None, *, pass_over: bool = False
) -> Iterator[tuple[str, str]]:
    """Tell the trackers of one run the rest: name of each, and what became of it.

    Args:
        folder: of the run.
        only: name of the one tracker that is told; None: all.
        section: name of a tracker -> keys; None: as the run has it.
        pass_over: a run without the tracker `only` is none to be told.

    Raises:
        DataError: the run comes from a pod, its trackers were not told all and no section is given, or it has no such
            tracker.
        TrackerError: a tracker fails; those after it are not told.
    """
    from moola.pipelines.rented import journal_rent, rent_figures
    from moola.tracking.delivery import Delivery
    from moola.tracking.journal import JOURNAL, damaged_lines, read_calls
    from moola.tracking.tracker import check_packages, trackers_from_config

    if damaged := damaged_lines(folder):
        told = ", ".join(map(str, damaged[:_MOST_TOLD])) + (", ..." if len(damaged) > _MOST_TOLD else "")
        print(f"moola: {folder / JOURNAL}: cannot be read, so nobody is told of line {told}", file=sys.stderr)
    starts = [call for call in read_calls(folder) if call.method == "start"]
    own: Mapping[str, Any] = starts[-1].arguments["config"].get("tracker", {}) if starts else {}
    if section is None and rent_figures(folder):
        yield from _told_from_pod(folder, [name for name in own if name != "local" and only in (None, name)])
        return
    trackers = trackers_from_config(own if section is None else section)
    trackers.pop("local", None)
    if only is not None and only not in trackers:
        if pass_over:
            return
        told = ", ".join(trackers) or "none"
        raise DataError(
            f"{spoken_folder(folder)} has no tracker '{only}'", f"it has {told}", f"give it one: tracker={only}"
        )
    chosen = {name: tracker for name, tracker in trackers.items() if only in (None, name)}
    check_packages(chosen)
    journal_rent(folder)
    for name, tracker in chosen.items():
        count = Delivery(name, tracker, folder, _tell).deliver_rest()
        yield name, tracker.still_to_do(folder) or (f"{count} calls sent" if count else _NOTHING_LEFT)


def _told_from_pod(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What there is to say of a run from a pod: its word counts for what was told, and not for where to tell more.

    Raises:
        DataError: a tracker was not told all of it.
    """
    from moola.tracking.delivery import left_of
    from moola.tracking.tracker import TRACKERS

    left = [name for name in names if left_of(folder, name)]
    if left:
        known = [name for name in left if name in TRACKERS.names()] or ["NAME"]
        word = f"tracker={known[0]}" if len(known) == 1 else f"'tracker=[{','.join(known)}]'"
        raise DataError(
            f"{folder.name} came from a pod, and whoever has a pod writes what comes back",
            "so its word is not taken for where figures, and your keys with them, are sent",
            f"say where: moola track sync {folder.name} {word}",
        )
    for name in names:
        yield name, _NOTHING_LEFT


def _tell(event: str, **fields: Any) -> None:
    if event == "tracker_refused":
        print(f"moola: {fields['tracker']} leaves out {fields['what']}: {fields['why']}", file=sys.stderr)


def _folders(named: Sequence[str], artifacts: Path) -> list[Path]:
    from moola.pipelines.results import find_runs
    from moola.tracking.journal import JOURNAL, found_search, told_folders

    results = artifacts.absolute() / "results"
    if not named:
        return told_folders(results)
    searches = {word: folder for word in named if (folder := found_search(word, results)) is not None}
    of_runs = [word for word in named if word not in searches]
    folders = [*(find_runs(of_runs, results) if of_runs else ()), *dict.fromkeys(searches.values())]
    bare = [spoken_folder(folder) for folder in folders if not (folder / JOURNAL).exists()]
    if bare:
        raise DataError(
            f"there is nothing to send of {', '.join(bare)}",
            f"a run keeps {JOURNAL} where a tracker other than local is configured",
            "run the same command again with tracker=NAME: it reuses what is finished",
        )
    return folders


def _composed(overrides: Sequence[str]) -> Mapping[str, Any]:
    """The section ``tracker`` that overrides describe."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from moola.composition import is_hydras, spoken
    from moola.config import config_folder

    strange = [
        f"{word}: is no key of the section tracker" for word in overrides if not word.lstrip("+~").startswith("tracker")
    ]
    if strange:
        raise ConfigError(strange, "give tracker=NAME or tracker.NAME.KEY=VALUE")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            composed = compose("config", list(overrides))
    except Exception as error:
        if not is_hydras(error):
            raise
        way_out = "keys of a tracker want the tracker, too: tracker=NAME tracker.NAME.KEY=VALUE"
        raise ConfigError([spoken(error, overrides)], way_out) from error
    found: Any = OmegaConf.to_container(composed.tracker, resolve=True)
    return found
