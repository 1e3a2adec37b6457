"""Options that commands about the log of decisions share."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.layout import add_folders, layout_of
from moola.errors import DataError, ask_for, near_names

if TYPE_CHECKING:
    from moola.labels.events import LogContent


def add_log(parser: argparse.ArgumentParser) -> None:
    """The options ``--log``, ``--data`` and ``--artifacts``."""
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="default: corrections/review_corrections/events.jsonl in the data folder",
    )
    add_folders(parser)


def add_annotator(parser: argparse.ArgumentParser) -> None:
    """The option ``--annotator``."""
    parser.add_argument("--annotator", metavar="NAME", help="who decided; default: the name you are logged in with")


def add_classes(parser: argparse.ArgumentParser) -> None:
    """The option ``--classes``."""
    parser.add_argument("--classes", default="", metavar="A,B", help="labels there may be besides those of the run")


def classes_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The new classes that the options name."""
    return tuple(dict.fromkeys(name.strip() for name in arguments.classes.split(",") if name.strip()))


def log_of(arguments: argparse.Namespace) -> Path:
    """The log that the options name."""
    from moola.labels.events import LOG_PLACE

    return arguments.log or layout_of(arguments).data / LOG_PLACE


def annotator_of(arguments: argparse.Namespace) -> str:
    """The person that the options name.

    Raises:
        DataError: nobody is named, and nobody is logged in.
    """
    try:
        return arguments.annotator or getpass.getuser()
    except (KeyError, OSError) as error:
        raise DataError("nobody says who decides", str(error), "name a person with --annotator NAME") from error


def read_log(path: Path) -> LogContent:
    """What is in a log that must be there.

    Raises:
        DataError: it is not.
        StorageError: it is not what was written.
    """
    from moola.labels.events import LabelLog

    must_exist(path)
    return LabelLog(path).read()


def must_exist(log: Path) -> None:
    """Refuse a log that is not there.

    Raises:
        DataError: it is not; near names beside it are suggested.
    """
    if log.exists():
        return
    near = near_names(log.name, (path.name for path in log.parent.glob("*")))
    why = ask_for(near) if near else "nobody has decided anything yet"
    way_out = "review labels with `moola review`, or name the log with --log FILE"
    raise DataError(f"there is no log of decisions {log}", why, way_out)


def run_of(arguments: argparse.Namespace) -> Path | None:
    """Folder of the run that the argument ``run`` names, by id or folder; None where it names none.

    Raises:
        DataError: there is no such run, or several.
    """
    if arguments.run is None:
        return None
    from moola.pipelines.results import find_runs

    found = find_runs([arguments.run], layout_of(arguments).results)
    if len(found) != 1:
        raise DataError(f"'{arguments.run}' names {len(found)} runs", "", "name one of them")
    return found[0]
