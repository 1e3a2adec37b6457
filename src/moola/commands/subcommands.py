"""Commands of commands: a table of names, each with a module of its own that is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from moola.errors import EXIT_OK, MoolaError, did_you_mean

Table = Mapping[str, tuple[str, str]]
"""Command -> its module, and what it does in a line."""


def listed(commands: Table, width: int) -> str:
    """The lines of a help text; names take `width` columns."""
    return "".join(f"  {name:{width}}{words}\n" for name, (_, words) in commands.items())


def run_subcommand(parent: str, package: str, commands: Table, help_text: str, words: Sequence[str]) -> int:
    """Run the command that the first word names with the others; its exit code.

    Args:
        parent: command that it belongs to, as in ``moola PARENT COMMAND``.
        package: in which the modules lie, each with ``main(words)``.
        commands: of the parent.
        help_text: printed where there are no words, or help is asked for.
        words: of the command line, after the parent's name.

    Raises:
        MoolaError: there is no such command; near names are given.
    """
    command, rest = (words[0], list(words[1:])) if words else ("--help", [])
    if command in ("-h", "--help"):
        print(help_text, end="")
        return EXIT_OK
    if command not in commands:
        near = did_you_mean(command, commands)
        raise MoolaError(f"there is no command '{command}'; {near}", "", f"see `moola {parent} --help`")
    module, _ = commands[command]
    return importlib.import_module(f"{package}.{module}").main(rest)
