"""``moola data``: look at bars before anything is learned from them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.errors import EXIT_DATA, EXIT_OK, EXIT_USAGE, ConfigError, did_you_mean

if TYPE_CHECKING:
    from moola.config import RunConfig

COMMANDS = {
    "fetch": "list the public sets, or get some of them: moola data fetch [NAME ...]",
    "validate": "judge every bar; quarantine.csv lists the bad ones with their reasons (exit code 3)",
    "describe": "rows, spans, gaps, sessions, labels, windows and near duplicates, with a picture",
    "drift": "how far two sets are apart: training span against sealed test, or moola data drift ... -- OTHER ...",
}
_HELP = f"""\
usage: moola data COMMAND [KEY=VALUE ...]

{"".join(f"  {name:10}{words}" + chr(10) for name, words in COMMANDS.items())}
validate, describe and drift take the overrides of `moola run`:
  moola data validate data=files data.path='bars/*.csv' data.timezone=America/New_York
  moola data drift data=files data.path=2016.csv -- data.path=2017.csv
  moola data drift +data.drift.block_bars=400    blocks of time; at least ten times as long as bars remember
The last line on stdout is the folder with what was found, as JSON and as a page.
Storing bars and cutting windows are stages: moola ingest, moola windows.
"""


def main(words: Sequence[str]) -> int:
    """Run one of the data commands."""
    command, rest = (words[0], list(words[1:])) if words else ("--help", [])
    if command in ("-h", "--help") or (command == "fetch" and {"-h", "--help"} & set(rest)):
        print(_HELP, end="")
        return EXIT_OK
    if command not in COMMANDS:
        print(f"moola data: there is no command '{command}'; {did_you_mean(command, COMMANDS)}", file=sys.stderr)
        return EXIT_USAGE
    if command == "fetch":
        return _fetch(rest)
    if command == "validate":
        return _validate(rest)
    if command == "describe":
        return _describe(rest)
    return _drift(rest)


def _validate(words: list[str]) -> int:
    from moola.commands.jobs import for_each

    bad: list[Path] = []

    def work(config: RunConfig, config_yaml: str) -> None:
        from moola.pipelines.data_reports import validate_data, validation_table

        report, folder = validate_data(config)
        print(validation_table(report))
        if report.quarantine is not None:
            print(f"\nevery bad row, with its reasons: {_near(report.quarantine)}")
        if not report.passed:
            bad.append(folder)
        print(f"\nopen {_near(folder / 'validation.html')}")
        print(folder)

    for_each("data validate", words, work)
    return EXIT_DATA if bad else EXIT_OK


def _describe(words: list[str]) -> int:
    from moola.commands.jobs import for_each
    from moola.pipelines.console_run import run_once

    line = shlex.join(["moola", "data", "describe", *words])

    def work(config: RunConfig, config_yaml: str) -> None:
        from moola.pipelines.stages.describe import description_lines

        folder = run_once(config, config_yaml, "describe", line)
        print(description_lines(folder))
        print(f"\nopen {_near(folder / 'description.html')}")
        print(folder)

    for_each("data describe", words, work)
    return EXIT_OK


def _drift(words: list[str]) -> int:
    from moola.commands.jobs import for_each

    cut = words.index("--") if "--" in words else len(words)
    first, second = words[:cut], words[cut + 1 :]
    if cut < len(words) and not second:
        raise ConfigError(["--: is followed by nothing; name what differs in the other set, e.g. data.path=FILE"])
    configs: list[RunConfig] = []
    for_each("data drift", first, lambda config, config_yaml: configs.append(config))
    if second:
        for_each("data drift", [*first, *second], lambda config, config_yaml: configs.append(config))
    if not configs:  # --help or --cfg: Hydra has answered
        return EXIT_OK
    if len(configs) != (2 if second else 1):
        raise ConfigError(["-m: drift compares two sets; name the second after --"])
    from moola.pipelines.data_reports import compare_data, drift_table

    report = compare_data(configs[0], configs[1] if second else None)
    print(drift_table(report))
    print(f"\nopen {_near(report.folder / 'drift.html')}")
    print(report.folder)
    return EXIT_OK


def _near(path: Path) -> Path:
    """A path as short as it can be said from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _fetch(words: list[str]) -> int:
    from moola.data.sources.fetch import mirror_folder, obtain
    from moola.data.sources.public_sets import public_sets

    known = {one.name: one for one in public_sets()}
    if not words:
        for one in known.values():
            print(one.describe())
        print("\nget one: moola data fetch NAME; use it: data=fetch data.name=NAME")
        return EXIT_OK
    unknown = [name for name in words if name not in known]
    if unknown:
        problems = [f"there is no public set named '{name}'; {did_you_mean(name, known)}" for name in unknown]
        raise ConfigError(problems, "`moola data fetch` lists them")
    for name in words:
        print(known[name].describe())
        print(obtain(known[name], mirror=mirror_folder(), progress=lambda line: print(line, file=sys.stderr)))
    return EXIT_OK
