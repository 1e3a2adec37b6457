"""``moola bench``: all models on the labelled sets of the field, with published figures beside ours."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, ConfigError, DataError, MoolaError, did_you_mean

if TYPE_CHECKING:
    from moola.bench.sets import BenchSet
    from moola.bench.table import BenchTable
    from moola.config import RunConfig

_HELP = """\
usage: moola bench ucr [--sets SETS] [--models MODELS] [KEY=VALUE ...]

  --sets GunPoint,ArrowHead   these; default: bundled
  --sets bundled              the sets of aeon that have published figures, and ECG200 where it is at hand
  --sets all data.path=FOLDER every set in a folder with NAME_TRAIN.ts and NAME_TEST.ts (.tsv, .csv, .gz)
  --models minirocket,dtw     only these; default: every model there is (model=all)

Runs experiment=ucr on one set after the other and takes the overrides of `moola run`:
  moola bench ucr seeds=[0] trainer.pretrain.epochs=10
Finished stages and fits are reused, so the same command goes on after a crash and costs little when it is repeated.
Nothing is downloaded: ECG200 comes from `moola data fetch ECG200`, or from the folder that MOOLA_DATA_MIRROR names.
A set that fails is told, the others go on, and the exit code is 1. The last line on stdout is the folder with the
table as CSV, JSON, Markdown, LaTeX and a page.
"""


_PASSED_ON = ("--cfg", "--config-dir", "--force", "--package", "--resolve")
"""Flags of `moola run` that work here, too."""


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What stands on the command line."""

    sets: tuple[str, ...]
    models: tuple[str, ...]
    folder: Path | None
    overrides: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Planned:
    """One set, ready to run."""

    one: BenchSet
    config: RunConfig
    config_yaml: str
    line: str


def main(words: Sequence[str]) -> int:
    """Run a bench."""
    name, rest = (words[0], list(words[1:])) if words else ("--help", [])
    if name in ("-h", "--help") or {"-h", "--help"} & set(rest):
        print(_HELP, end="")
        return EXIT_OK
    if name != "ucr":
        print(f"moola bench: there is no bench '{name}'; {did_you_mean(name, ['ucr'])}", file=sys.stderr)
        return EXIT_USAGE
    return _ucr(rest)


def _ucr(words: list[str]) -> int:
    from moola.bench.published import published
    from moola.bench.results import SetResult, read_set
    from moola.bench.table import make_table
    from moola.pipelines.console_run import run_once

    asked = _read(words)
    planned = _plan(asked)
    if planned is None:  # --cfg: Hydra has answered
        return EXIT_OK
    results: list[SetResult] = []
    failed: dict[str, str] = {}
    for number, plan in enumerate(planned, start=1):
        name = plan.one.name
        print(f"\n{name}, set {number} of {len(planned)}", file=sys.stderr, flush=True)
        try:
            results.append(read_set(name, run_once(plan.config, plan.config_yaml, None, plan.line)))
        except MoolaError as error:
            print(error.spoken(), file=sys.stderr)
            failed[name] = error.what
        except Exception as error:  # a defect on one set must not cost the table of the others
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
    if not results:
        print(
            "moola: no set has a result",
            *(f"  - {name}: {why}" for name, why in failed.items()),
            sep="\n",
            file=sys.stderr,
        )
        return EXIT_FAILED
    line = shlex.join(["moola", "bench", "ucr", *words])
    _tell(make_table(results, failed, published()), Path(planned[0].config.paths.artifacts), line)
    return EXIT_FAILED if failed else EXIT_OK


def _tell(table: BenchTable, artifacts: Path, line: str) -> None:
    """Write the table and show what matters of it."""
    from moola.bench.text_tables import text_tables
    from moola.bench.writing import bench_folder, target_lines, write_bench

    folder = bench_folder(artifacts.absolute() / "results", "ucr", table)
    write_bench(folder, table, line)
    first, *_ = text_tables(table)
    print(f"\n{first.markdown()}")
    for said, what in target_lines(table):
        print(f"{said}: {what}")
    for name, why in table.failed.items():
        print(f"failed: {name}: {why}")
    print(f"\nopen {folder / 'bench.html'}")
    print(folder)


def _read(words: list[str]) -> _Asked:
    """The command's own words, and the overrides that are left.

    Raises:
        ConfigError: a flag is not known or has no value, or an override chooses what the command chooses; all of them.
    """
    own: dict[str, str] = {}
    overrides: list[str] = []
    problems: list[str] = []
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if flag in ("--sets", "--models"):
            own[flag] = value if equals else next(waiting, "")
            if not own[flag]:
                problems.append(f"{flag}: names nothing")
        elif flag == "data.path":
            own[flag] = value
        elif flag in ("-m", "--multirun"):
            problems.append(f"{flag}: a bench is one table; run one for each combination")
        elif flag.startswith("--") and flag not in _PASSED_ON:
            problems.append(f"{flag}: there is no such flag; {did_you_mean(flag, ['--sets', '--models', *_PASSED_ON])}")
        elif flag in ("data", "name"):
            problems.append(f"{flag}: every set has its own; choose with --sets")
        else:
            overrides.append(word)
    if problems:
        raise ConfigError(problems)
    names = {flag: tuple(name for name in own.get(flag, "").split(",") if name) for flag in ("--sets", "--models")}
    folder = Path(own["data.path"]) if "data.path" in own else None
    return _Asked(
        names["--sets"] or (("all",) if folder else ("bundled",)), names["--models"], folder, tuple(overrides)
    )


def _plan(asked: _Asked) -> list[_Planned] | None:
    """Every set with its checked configuration, before the first one runs; None where Hydra only shows it.

    Raises:
        ConfigError: overrides, sets or models are wrong.
        DataError: a set that is asked for by name is not at hand.
    """
    from moola.bench.sets import choose_sets
    from moola.pipelines.assembly import assemble

    planned: list[_Planned] = []
    models: tuple[str, ...] | None = None
    for one in choose_sets(asked.sets, asked.folder):
        words = _words(one, asked)
        if models is None:
            first = _composed(one, words)
            if first is None:
                return None
            models = _model_words(asked, first.config)
        plan = _composed(one, (*words, *models))
        assert plan is not None
        missing = _missing(plan.config)
        if missing and one.name in asked.sets:
            raise DataError(f"the set {one.name} is not here", missing, _WAY_TO_FETCH)
        if missing:
            print(f"{one.name} is left out: {missing}; {_WAY_TO_FETCH}", file=sys.stderr)
            continue
        assemble(plan.config)
        planned.append(plan)
    return planned


_WAY_TO_FETCH = "get it with `moola data fetch ECG200`, or name a folder that has it in MOOLA_DATA_MIRROR"


def _words(one: BenchSet, asked: _Asked) -> tuple[str, ...]:
    """Overrides of a set; experiment and models give way to those on the command line."""
    from moola.config import override

    given = {word.partition("=")[0] for word in asked.overrides}
    usual = [word for word in ("experiment=ucr", "model=all") if word.partition("=")[0] not in given]
    return (*usual, *one.words, override("name", f"ucr-{one.name}"), *asked.overrides)


def _composed(one: BenchSet, words: Sequence[str]) -> _Planned | None:
    """The configuration of a set; None where Hydra only shows it."""
    from moola.commands.jobs import for_each

    found: list[_Planned] = []
    line = shlex.join(["moola", "run", *words])
    for_each("bench", words, lambda config, text: found.append(_Planned(one, config, text, line)))
    return found[0] if found else None


def _model_words(asked: _Asked, config: RunConfig) -> tuple[str, ...]:
    """Overrides that leave out every model that was not asked for, and fit some of the others on few labels, too."""
    from moola.bench.results import FEW, FEW_MODELS
    from moola.bench.sets import unwanted_models
    from moola.config import override

    unwanted = unwanted_models(asked.models, list(config.model)) if asked.models else []
    words = [f"~model.{name}" for name in unwanted]
    if not any(word.startswith("stage.label_efficiency") for word in asked.overrides):
        few = [name for name in FEW_MODELS if name in config.model and name not in unwanted]
        words += [override("stage.label_efficiency.models", few), override("stage.label_efficiency.shares", [FEW])]
    return tuple(words)


def _missing(config: RunConfig) -> str:
    """Why a set cannot be read without a download; empty where it can."""
    from moola.data.sources.fetch import is_at_hand, mirror_folder
    from moola.data.sources.public_sets import find_set

    if config.data.get("source") != "fetch":
        return ""
    public = find_set(config.data["name"])
    here = is_at_hand(public, Path(config.data["cache"]), mirror_folder())
    return "" if here else f"its files are neither in {config.data['cache']} nor in a mirror"
