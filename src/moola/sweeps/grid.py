"""The points that the words of a sweep stand for, counted before any of them is made."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moola.config import ConfigProblems

_OF_NO_RESULT = ("force", "tracker", "hydra", "processes")
"""Keys that change where and how points run, not which points there are."""


@dataclass(frozen=True)
class Grid:
    """Words that have one value, and words that have several: a point for each combination, the last word fastest.

    Attributes:
        choices: key -> the words with it, e.g. ``"seeds": ("seeds=[0]", "seeds=[1]")``.
    """

    choices: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return math.prod(len(words) for words in self.choices.values())

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return itertools.product(*self.choices.values())

    @property
    def swept(self) -> Mapping[str, tuple[str, ...]]:
        """Keys with several values."""
        return {key: words for key, words in self.choices.items() if len(words) > 1}

    @property
    def samples(self) -> list[tuple[str, ...]]:
        """Points that hold every word of the grid: the first one, and those that differ from it in one word."""
        first = tuple(words[0] for words in self.choices.values())
        others = (
            (*first[:place], word, *first[place + 1 :])
            for place, words in enumerate(self.choices.values())
            for word in words[1:]
        )
        return [first, *others]

    @property
    def repeated(self) -> list[str]:
        """Words that stand there twice."""
        return [word for words in self.choices.values() for word in dict.fromkeys(words) if words.count(word) > 1]


def read_grid(words: Sequence[str], config_loader: Any) -> Grid:
    """The grid of words as Hydra's own sweeper splits them.

    Args:
        words: overrides, the later ones in place of earlier ones with the same key.
        config_loader: of Hydra, for ``glob``.

    Raises:
        ConfigError: a word has no value, so that there is no point; or its values cannot be listed. All of them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    problems = ConfigProblems()
    choices: dict[str, tuple[str, ...]] = {}
    for override in OverridesParser.create(config_loader=config_loader).parse_overrides(list(words)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            word = override.input_line or ""
            choices[key] = (word,)
            if word.endswith("="):
                problems.append(f"{word}: names no value, so there is no point; text without a letter is {word}''")
        elif not override.is_discrete_sweep():
            problems.append(f"{override.input_line}: is a range without steps; `moola search` draws from it")
        else:
            choices[key] = tuple(f"{key}={value}" for value in override.sweep_string_iterator())
            if not choices[key]:
                problems.append(f"{override.input_line}: stands for no value, so there is no point")
    if problems:
        raise problems.error("give each key at least one value: KEY=A,B")
    return Grid(choices)


def identifying(words: Sequence[str]) -> list[str]:
    """The words that say which sweep it is: those about force, trackers and launchers do not."""
    return [word for word in words if re.split(r"[.=/@]", word.lstrip("+~-"), maxsplit=1)[0] not in _OF_NO_RESULT]
