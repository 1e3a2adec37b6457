"""Tab completion of the whole command line, by argcomplete, from the parsers that the commands have anyway.

``eval "$(register-python-argcomplete moola)"`` in the start file of bash or zsh turns it on: at each TAB the shell
calls ``moola`` with the line in its environment. Overrides are completed by Hydra. Nothing heavy is imported and no
network asked; a line for which nothing is known is left as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from moola.pods.ledger import LedgerPod

_HYDRA_FLAGS = ("--cfg", "--config-dir", "--config-path", "--force", "--help", "--multirun", "--yes")
_SSH_PORT = 22
_OF_TRACKED_RUNS = {"moola track sync": None, "moola wandb sync": "wandb"}
"""Commands whose words are runs that were to tell a tracker: this one, or any."""
_TAKES_OVERRIDES = ("bench", "data")
"""Commands that are no jobs and take overrides all the same; `search` does where its first word is no command."""


def complete(top: argparse.ArgumentParser, jobs: Collection[str], commands: Collection[str]) -> NoReturn:
    """Answer the shell and end the process.

    Args:
        top: parser of ``moola`` itself.
        jobs: commands that take overrides alone.
        commands: those with a module of their own in this package.
    """
    import argcomplete
    from argcomplete.lexers import split_line

    *_, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    first = int(os.environ["_ARGCOMPLETE"])
    parser, depth = _parser_for(words[first:], top, jobs, commands)
    os.environ["_ARGCOMPLETE"] = str(first + depth)  # the words before are the name of the parser's program
    argcomplete.autocomplete(
        parser,
        always_complete_options=False,
        default_completer=_values,  # pyright: ignore[reportArgumentType] - any function of these arguments does
    )
    raise SystemExit(1)


def _parser_for(
    typed: Sequence[str], top: argparse.ArgumentParser, jobs: Collection[str], commands: Collection[str]
) -> tuple[argparse.ArgumentParser, int]:
    """The parser of the command whose words were typed, and how many words name it.

    Raises:
        SystemExit: there is no such command.
    """
    name = typed[0] if typed else ""
    if name in jobs:
        return _of_overrides(f"moola {name}"), 1
    if not typed:
        return top, 0
    if name not in commands:
        raise SystemExit(1)
    module = importlib.import_module(f"moola.commands.{name}")
    table: dict[str, Any] = getattr(module, "COMMANDS", {})
    if name == "search" and typed[1:2] not in [[command] for command in table]:
        return _of_overrides(f"moola {name}", table), 1
    if table and len(typed) == 1:
        return _of_table(f"moola {name}", table), 1
    if table and typed[1] not in table:
        raise SystemExit(1)
    if name in _TAKES_OVERRIDES:
        return _of_overrides(f"moola {name}"), 2 if table else 1
    if table:
        return _made_by(importlib.import_module(f"{module.PACKAGE}.{table[typed[1]][0]}").main), 2
    return _made_by(module.main), 1


def _of_table(program: str, table: dict[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program)
    commands = parser.add_subparsers()
    for name, words in table.items():
        commands.add_parser(name, help=words if isinstance(words, str) else words[1])
    return parser


def _of_overrides(program: str, commands: Collection[str] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, add_help=False)
    parser.set_defaults(commands=commands)  # that may stand in the place of the first override
    parser.add_argument("overrides", nargs="*")
    for flag in _HYDRA_FLAGS:
        parser.add_argument(flag, action="store_true")
    return parser


class _MadeError(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _made_by(command: Callable[[Sequence[str]], int]) -> argparse.ArgumentParser:
    """The parser that a command makes: it is caught when it is to read its words, before anything is done."""

    def caught(self: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _MadeError(self)

    parse = argparse.ArgumentParser.parse_known_args
    argparse.ArgumentParser.parse_known_args = caught
    try:
        command([])
    except _MadeError as made:
        return made.parser
    finally:
        argparse.ArgumentParser.parse_known_args = parse
    raise SystemExit(1)  # it has no parser


def _values(
    prefix: str, action: argparse.Action, parser: argparse.ArgumentParser, parsed_args: argparse.Namespace, **_: object
) -> Iterable[str]:
    """What an option or a word may be, where its parser does not list it."""
    artifacts = Path(getattr(parsed_args, "artifacts", None) or "artifacts")
    of_pod = parser.prog.startswith("moola pod ")
    if action.dest == "tracker":
        return _trackers()
    if parser.prog in _OF_TRACKED_RUNS:
        return _tracked_runs(artifacts / "results", _OF_TRACKED_RUNS[parser.prog])
    if action.dest in ("run", "runs"):
        return _runs_on_pods(artifacts) if of_pod else _folders(artifacts / "results")
    if action.dest == "search":
        return _folders(artifacts / "results" / "searches")
    if action.dest in ("names", "sweep", "sort") and not of_pod:
        return _of_runs(action.dest, artifacts / "results")
    if action.dest == "name":
        return _folders(artifacts / "encoders" / "pretrained")
    if action.dest == "provider":
        from moola.pods.providers import PROVIDERS

        return PROVIDERS
    if action.dest == "gpu":
        return _gpus(prefix)
    if action.dest == "host":
        return _hosts(prefix, artifacts)
    if action.dest in ("overrides", "pod"):
        typed = getattr(parsed_args, action.dest, None) or []
        commands = [] if typed else list(getattr(parsed_args, "commands", ()))
        of_search = parser.prog == "moola search"
        return [*commands, *_overrides(prefix, typed, run=action.dest == "overrides", pod=of_pod, search=of_search)]
    from argcomplete.completers import FilesCompleter

    return FilesCompleter()(prefix) if str(action.metavar).startswith(("FILE", "FOLDER", "PATH")) else []


def _of_runs(kind: str, results: Path) -> list[str]:
    """Run folders, sweeps, or keys of `moola runs` as its index has them; none is made, and no run is read anew."""
    if kind == "sweep":
        return _folders(results / "sweeps")
    if kind == "names":
        return [name for name in _folders(results) if (results / name / "manifest.json").is_file()]
    from moola.dashboard.run_index import INDEX_PLACE, RunIndex
    from moola.dashboard.run_keys import known_keys

    path = results.parent / INDEX_PLACE
    index = RunIndex(results, path if path.is_file() else None)
    return [key for keys in known_keys(index).values() for key in keys]


def _runs_on_pods(artifacts: Path) -> list[str]:
    """Ids of the runs that the ledger knows, the latest first."""
    return list(dict.fromkeys(pod.run for pod in reversed(_pods(artifacts))))


def _pods(artifacts: Path) -> list[LedgerPod]:
    """Pods that the ledger knows, the oldest first; no ledger is made."""
    from moola.pods.ledger import LEDGER_PLACE, Ledger

    path = artifacts / LEDGER_PLACE
    return Ledger(path).pods() if path.is_file() else []


def _gpus(prefix: str) -> list[str]:
    """The last name of a list that is parted by commas, those before it left out; ``A5000`` also without its RTX."""
    from moola.pods.candidates import COMMON_GPUS

    before, comma, last = prefix.rpartition(",")
    head = before + comma + " " * (len(last) - len(last.lstrip()))
    named = {name.strip().removeprefix("RTX ") for name in before.split(",")}
    offered = [name for name in COMMON_GPUS if name.removeprefix("RTX ") not in named]
    short = [name.removeprefix("RTX ") for name in offered if last.strip() and name.startswith("RTX ")]
    return [f"{head}{name}" for name in dict.fromkeys([*offered, *short])]


def _hosts(prefix: str, artifacts: Path) -> list[str]:
    """``USER@HOST:PORT`` of hosts that had a run, the latest first, then of those that known_hosts names in clear."""
    import getpass

    places = [pod.data_center for pod in reversed(_pods(artifacts)) if pod.provider == "ssh"]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = Path("~/.ssh/known_hosts").expanduser().read_text().splitlines()
        names = [name for line in lines if line[:1] not in ("", "#", "|", "@") for name in line.split()[0].split(",")]
        places += [
            f"{host}:{port or _SSH_PORT}" for host, _, port in (name.strip("[").partition("]:") for name in names)
        ]
    user = prefix.partition("@")[0] if "@" in prefix else getpass.getuser()
    return [f"{user}@{place}" for place in dict.fromkeys(places)]


def _folders(room: Path) -> list[str]:
    return sorted(path.name for path in room.glob("[!.]*") if path.is_dir())


def _of_search(start: str) -> list[str]:
    """Spaces that are shipped, and keys of a search."""
    from moola.config import config_folder
    from moola.sweeps.search.settings import SearchSettings

    spaces = [f"search={path.stem}" for path in sorted((config_folder() / "search").glob("*.yaml"))]
    keys = [f"search.{one.name}=" for one in fields(SearchSettings) if one.init and one.name != "space"]
    return [word for word in [*spaces, *keys] if word.startswith(start)]


def _trackers() -> list[str]:
    """Those that can be told later."""
    from moola.tracking.tracker import TRACKERS

    return [name for name in TRACKERS.names() if name != "local"]


def _tracked_runs(results: Path, tracker: str | None) -> list[str]:
    """Ids of runs, and names of searches, that were to tell a tracker; None: any of them."""
    from moola.layout import spoken_folder
    from moola.tracking.journal import read_calls, told_folders

    found: list[str] = []
    for folder in told_folders(results.absolute()):
        start = next(read_calls(folder), None)
        section = start.arguments.get("config", {}).get("tracker", {}) if start is not None else {}
        if tracker is None or tracker in section:
            found.append(spoken_folder(folder))
    return found


def _tracker_values(prefix: str) -> list[str]:
    """``tracker.NAME.KEY=VALUE`` where the tracker lists the values of a key, which Hydra does not know."""
    import typing

    from moola.tracking.tracker import TRACKERS

    key, _, _ = prefix.partition("=")
    _, name, attribute = key.split(".") if key.count(".") == 2 else ("", "", "")
    if name not in TRACKERS.names():
        return []
    hint = typing.get_type_hints(TRACKERS.get(name)).get(attribute)
    offered = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    return [f"{key}={value}" for value in offered]


def _hooks() -> list[str]:
    """``+stage.hooks.NAME=``, also of hooks that are off."""
    from moola.pipelines.hooks import HOOKS

    return [f"+stage.hooks.{name}=" for name in HOOKS.names()]


def _overrides(prefix: str, typed: Sequence[str], *, run: bool, pod: bool, search: bool = False) -> list[str]:
    """As Hydra completes them: groups, their options, keys and their values; ``pod.KEY=`` from its own group."""
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from moola.composition import launcher_keys
    from moola.config import config_folder, shipped_options

    if prefix.startswith("tracker.") and "=" in prefix and (listed := _tracker_values(prefix)):
        return listed
    if prefix.startswith("+stage.hooks."):
        return _hooks()
    of_pod = OmegaConf.create({"pod": shipped_options("pod")["default"]}) if pod else OmegaConf.create()
    found: list[str] = []
    with contextlib.suppress(HydraException), initialize_config_dir(str(config_folder()), version_base="1.3"):
        hydra = BashCompletion(GlobalHydra.instance().config_loader())

        def query(start: str) -> list[str]:
            if start.startswith("pod."):
                return hydra._get_matches(of_pod, start)
            if start.startswith("hydra.launcher."):
                return [f"{key}=" for key in launcher_keys(typed) if key.startswith(start)]
            if search and start.startswith("search"):
                return _of_search(start)
            own = ("pod.", "pod=", "search.", "search=")
            earlier = [word for word in typed if not word.startswith(own) and not set(word) & set(" \t")]
            answer = hydra._query("config", " ".join([*earlier, start])) if run else []
            others = [word for word in answer if not word.startswith("pod=")]
            return [*others, *hydra._query("config", start)] if pod and start.startswith("pod=") else others

        found = query(prefix)
        if len(found) == 1 and found[0].endswith("."):  # a section: its keys, for a shell would put a space after it
            found = query(found[0])
    return found
