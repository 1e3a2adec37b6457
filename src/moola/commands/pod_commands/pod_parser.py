"""The parser of pod commands: what is wrong with a line is told as every error is, with near names."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any, NoReturn

from moola.errors import MoolaError, ask_for, did_you_mean, near_names

_UNKNOWN = "unrecognized arguments: "
_CHOICE = re.compile(r"argument (?P<name>\S+): invalid choice: '(?P<value>.*)' \(choose from (?P<known>.*)\)")


class PodParser(argparse.ArgumentParser):
    """Takes flags by their whole names only, and raises a `MoolaError` instead of ending the process.

    So that a command with ``--json`` tells of a wrong line as it does of all else.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Tell what argparse has to say.

        Raises:
            MoolaError: always.
        """
        if message.startswith(_UNKNOWN):
            problems = [self._unknown(word) for word in message.removeprefix(_UNKNOWN).split()]
        elif choice := _CHOICE.fullmatch(message):
            known = re.findall(r"[\w-]+", choice["known"])
            problems = [f"{choice['name']}: '{choice['value']}'; {did_you_mean(choice['value'], known)}"]
        else:
            problems = [re.sub("^argument (?=-)", "", message)]
        why = "\n".join(f"- {problem}" for problem in problems)
        raise MoolaError(f"`{self.prog}` cannot be run as it is written", why, f"see `{self.prog} --help`")

    def _unknown(self, word: str) -> str:
        name = word.partition("=")[0]
        if name in ("-m", "--multirun"):
            from moola.pods.composed_run import NO_SWEEPS

            return f"{name}: {NO_SWEEPS}"
        if not name.startswith("-"):
            return f"'{word}': nothing takes this word"
        flags = {flag.lstrip("-"): flag for action in self._actions for flag in action.option_strings}
        near = [flags[found] for found in near_names(name.lstrip("-"), flags)]
        return f"{name}: there is no such flag" + (f"; {ask_for(near)}" if near else "")


def number(text: str) -> float:
    """The number of a flag.

    Raises:
        ArgumentTypeError: it is none, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is no number")
    return value


def whole(text: str) -> int:
    """The whole number of a flag.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None


def count(text: str) -> int:
    """How many, 0 or more.

    Raises:
        ArgumentTypeError: it is no whole number, or negative.
    """
    value = whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} must not be negative")
    return value
