"""``moola layout``: look at the folders, or move an old tree into them."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.errors import EXIT_OK, EXIT_STORAGE, MoolaError, StorageError, ask_for, near_names
from moola.layout import Layout

if TYPE_CHECKING:
    from moola.migration import Step

FOLDER_OPTIONS = "--data FOLDER --artifacts FOLDER"
USUAL_ARTIFACTS = Path("artifacts")


def main(words: Sequence[str]) -> int:
    """``check`` or ``migrate``; exit code 4 when something needs a person."""
    parser = argparse.ArgumentParser(prog="moola layout", description="Check the folders, or move an old tree in.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="name strays and duplicates; changes nothing")
    migrate = commands.add_parser("migrate", help="move an old tree into the folders; nothing is lost")
    migrate.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
    for each in (check, migrate):
        add_folders(each)
    arguments = parser.parse_args(words)
    layout = layout_of(arguments)
    return _check(layout) if arguments.command == "check" else _migrate(layout, dry=arguments.dry_run)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The options ``--data`` and ``--artifacts``."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", default=Path("data"), help="default: data")
    add_artifacts(parser)


def add_artifacts(parser: argparse.ArgumentParser) -> None:
    """The option ``--artifacts``."""
    parser.add_argument("--artifacts", type=Path, metavar="FOLDER", default=USUAL_ARTIFACTS, help="default: artifacts")


def artifacts_of(arguments: argparse.Namespace) -> Path:
    """The folder that ``--artifacts`` names, for who only looks; the usual one may not be there yet.

    Raises:
        MoolaError: there is no such folder, or it is that of the results; near names are given.
    """
    named: Path = arguments.artifacts
    if named != USUAL_ARTIFACTS and not named.is_dir():
        beside = [path.name for path in named.absolute().parent.glob("[!.]*") if path.is_dir()]
        near = near_names(named.name, beside)
        why = ask_for(str(named.parent / name) for name in near) if near else ""
        raise MoolaError(f"--artifacts {named}: there is no such folder", why, "name the one that runs are made in")
    if not (named / "results").is_dir() and (any(named.glob("*/manifest.json")) or (named / "sweeps").is_dir()):
        above = Path(os.path.relpath(named.absolute().parent))
        raise MoolaError(
            f"--artifacts {named}: these are the results themselves",
            "the folder that holds them is wanted",
            f"did you mean --artifacts {above}",
        )
    return named.absolute()


def check_folder_of(option: str, file: Path | None) -> None:
    """Refuse a file to be written into a folder that is not there: whoever misspells a path wants no new folder.

    Args:
        option: that names the file.
        file: None: none is to be written.

    Raises:
        StorageError: there is no such folder.
    """
    if file is not None and not file.absolute().parent.is_dir():
        raise StorageError(
            f"{option} {file}: there is no folder {file.absolute().parent}", "", "make it, or name another"
        )


def layout_of(arguments: argparse.Namespace) -> Layout:
    """The two folders that the options name."""
    return Layout(arguments.data.absolute(), arguments.artifacts.absolute())


def _check(layout: Layout) -> int:
    from moola.migration import plan_migration
    from moola.tree import check_tree

    found = check_tree(layout)
    for path in found.strays:
        print(f"stray      {path}")
    for group in found.duplicates:
        print("duplicates " + "\n           ".join(map(str, group)))
    for path in found.unfinished:
        size = sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
        print(f"unfinished {path}  ({size / 1e6:,.1f} MB; the same command goes on from it, or delete it)")
    if found.missing:
        print(f"{len(found.missing)} folders are not there yet; stages make them when they need them, `moola init` now")
    if found.is_clean:
        print("nothing lies where it should not")
        return EXIT_OK
    old = {step.source for step in plan_migration(layout) if step.kind in ("move", "drop_copy")}
    print(
        f"{len(found.strays)} strays, {len(found.duplicates)} groups of duplicates. `moola layout migrate` moves "
        f"{len(old)} files of an old tree; what else is named here is for you to move or delete: "
        f"{layout.data / 'README.md'} and {layout.artifacts / 'README.md'} say what each folder is for (`moola init`)"
    )
    return EXIT_STORAGE


def _migrate(layout: Layout, *, dry: bool) -> int:
    from moola.migration import migrate, plan_migration

    steps = plan_migration(layout)
    if not steps:
        print("no old folders here: nothing to move")
        return EXIT_OK
    for step in steps:
        print(_spoken(step))
    counts = Counter(step.kind for step in steps)
    waiting = counts["conflict"] + counts["review"]
    summary = (
        f"{counts['move']} files to move, {counts['drop_copy']} copies to drop, {counts['conflict']} conflicts, "
        f"{counts['review']} to review"
    )
    if dry:
        print(f"{summary}; nothing was changed")
    else:
        layout.check_writable(FOLDER_OPTIONS)
        journal = layout.artifacts / "metadata" / "migration.jsonl"
        migrate(steps, journal)
        print(f"{summary}: done, written to {journal}")
    return EXIT_STORAGE if waiting else EXIT_OK


def _spoken(step: Step) -> str:
    words = {"move": "move", "drop_copy": "drop copy", "remove_empty": "remove when empty"}
    target = "" if step.target is None else f" -> {step.target}" if step.kind == "move" else f" = {step.target}"
    if step.kind in ("conflict", "review"):
        met = f" (meets {step.target})" if step.target else ""
        return f"{step.kind:18}{step.source}{met}: {step.why}"
    return f"{words[step.kind]:18}{step.source}{target}"
