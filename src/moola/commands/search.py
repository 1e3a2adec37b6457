"""``moola search``: settings of one model, tried on folds inside the training windows."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from moola.errors import EXIT_OK, ConfigError, did_you_mean

T = TypeVar("T")
PACKAGE = "moola.commands.search_commands"
COMMANDS = {
    "ls": ("ls", "every search, and how far it is"),
    "show": ("show", "the best trials of a search, what failed, and what the winner is worth"),
}
"""Command -> its module below `moola.commands.search_commands`, and what it does; any other words are a search."""
_HELP = """\
usage: moola search search=SPACE [experiment=NAME] [KEY=VALUE ...] [search.KEY=VALUE ...] [--write FOLDER]
       moola search show [NAME]
       moola search ls

Tries settings of one model with Optuna, on folds inside the training windows alone, and writes the winner as an
experiment. The same command goes on after a crash; several machines that name one search.storage=URL share a study.

  search=finetune             a space: {spaces}; or a file of your own, --config-dir FOLDER
  search.n_trials=50          finished, pruned and failed ones, over all workers and machines
  search.timeout_s=3600       begin no trial after so long
  search.workers=4            processes that try at once
  search.outer=all            besides, a study in each fold of the split: an honest figure of what searching gives
  search.storage=URL          postgresql+psycopg://USER@HOST/NAME, sqlite:////FOLDER/study.db, or the file of a journal
  search.sampler=random       tpe, random;  search.pruner=none: none, median, halving, hyperband
  search.name=NAME            of the study and of the experiment
  --write FOLDER              put experiment/NAME.yaml there, too

The last line on stdout is the path of the winner's experiment file. `moola run --help` has the other keys.
"""
_LOG = "events.jsonl"
_OWN = re.compile(r"\+*search[.=]")


def main(words: Sequence[str]) -> int:
    """Search, or show what was found."""
    if words and words[0] in COMMANDS:
        return importlib.import_module(f"{PACKAGE}.{COMMANDS[words[0]][0]}").main(words[1:])
    if words and re.fullmatch(r"\w+", words[0]):
        known = [*COMMANDS, "search=SPACE"]
        raise ConfigError(
            [f"{words[0]}: is no command of `moola search`, and no KEY=VALUE; {did_you_mean(words[0], known)}"]
        )
    if not words or {"-h", "--help"} & set(words):
        from moola.sweeps.search.base import shipped_spaces

        print(_HELP.format(spaces=", ".join(shipped_spaces())), end="")
        return EXIT_OK
    return _search(list(words))


def _search(words: list[str]) -> int:
    from moola.layout import remove_torn_files
    from moola.pipelines.console_run import end_on_signals, watched
    from moola.pipelines.events import EventLog
    from moola.sweeps.search.base import compose_words
    from moola.sweeps.search.folder import recorded
    from moola.sweeps.search.results import table_of, verdict, write_results
    from moola.sweeps.search.running import Search
    from moola.sweeps.search.tracked import tell_outcome, tracked_search

    rest, write = _without_write(words)
    of_run, of_search = _parted(rest)
    own = _as_typed(words, lambda: compose_words([*of_run, *of_search]))
    if own is None:  # --cfg: Hydra has answered
        return EXIT_OK
    search = Search(of_run, own)
    end_on_signals()
    study = search.study_id
    search.folder.mkdir(parents=True, exist_ok=True)
    events = EventLog(search.folder / _LOG)
    line = _without_secrets(words, search.settings.storage)
    with watched() as listener:
        events.listen(listener)
        with (
            recorded(search.folder, search.settings, study, search.place, line),
            tracked_search(search, events) as feed,
        ):
            outcome = search.run(events)
            remove_torn_files(search.folder)
            experiment = write_results(search, outcome, line, write)
            if feed is not None:
                tell_outcome(feed, search, outcome, search.folder / "experiment" / experiment.name)
    print(f"\n{table_of(outcome.found.records, search.higher_is_better, search.settings.metric)}\n")
    for sentence in verdict(outcome):
        print(sentence)
    for warning in outcome.evidence.warnings:
        print(f"note: {warning}")
    print(f"\nopen {search.folder / 'search.html'}")
    print(experiment)
    return EXIT_OK


def _as_typed(words: Sequence[str], compose: Callable[[], T]) -> T:
    """What composing gives; errors name words of the search as the user typed them, without the signs for Hydra.

    Raises:
        ConfigError: it cannot be composed.
    """
    try:
        return compose()
    except ConfigError as error:
        if any(re.match(r"\++search[.=]", word) for word in words):
            raise
        told = [re.sub(r"\++(?=search[.=])", "", str(problem)) for problem in error.problems]
        raise ConfigError(told, error.way_out) from error


def _without_write(words: list[str]) -> tuple[list[str], Path | None]:
    parser = argparse.ArgumentParser(prog="moola search", add_help=False, allow_abbrev=False)
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    arguments, rest = parser.parse_known_args(words)
    return rest, arguments.write


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of the run, and those of the group ``search`` as Hydra takes them where it is no part of the defaults.

    Raises:
        ConfigError: no space is chosen, or the words make several searches.
    """
    from moola.sweeps.search.base import shipped_spaces

    own = [word for word in words if _OWN.match(word)]
    multirun = [f"{word}: a search makes its own runs" for word in words if word in ("-m", "--multirun")]
    if multirun:
        raise ConfigError(multirun, "leave it out")
    chosen = [word for word in own if word.lstrip("+").startswith("search=")]
    if not chosen:
        known = ", ".join(f"search={name}" for name in shipped_spaces())
        raise ConfigError(["search: names the space and is missing"], f"choose one of {known}, or a file of your own")
    prefixed = [("+" if word in chosen else "++") + word.lstrip("+") for word in own]
    return [word for word in words if word not in own], [
        *(word for word in prefixed if word.startswith("+search=")),
        *(word for word in prefixed if not word.startswith("+search=")),
    ]


def _without_secrets(words: Sequence[str], storage: str | None) -> str:
    """The command line; a word about the storage has its place as that is spoken, however it was typed."""
    from moola.sweeps.search.storage import spoken_place

    def told(word: str) -> str:
        key, _, value = word.partition("=")
        if key.lstrip("+") != "search.storage":
            return word
        return f"{key}={spoken_place(value if '${' in value else storage or value)}"

    return shlex.join(["moola", "search", *map(told, words)])
