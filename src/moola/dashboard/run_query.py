"""Runs that are asked for: by name, by conditions, in an order, with what the order must not be taken for."""

from __future__ import annotations

import fnmatch
import itertools
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.dashboard.run_folder import STATUSES, Figure, RunEntry
from moola.dashboard.run_index import RunIndex
from moola.dashboard.run_keys import GIVEN, TEST, Key, UnknownKeyError, find_key
from moola.errors import DataError, MoolaError, ask_for, did_you_mean, near_names
from moola.pipelines.sealed_tests import read_openings

_CONDITION = re.compile(r"(?s)(?P<key>[^=!<>~]+)(?P<sign>==|!=|>=|<=|=|<|>|~)(?P<value>.*)")
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}
_FEW = 8
"""Values of a key that are told one by one."""
_TIMES, _COUNTS = ("started", "finished"), ("seconds", "attempts", "seeds", "alarms", "cost")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2}(T.*)?)?")
SIGNS = "= != < <= > >= ~"


class QueryError(MoolaError):
    """What is asked for cannot be understood; `why` lists every problem, one a line."""

    def __init__(self, problems: Iterable[str]) -> None:
        told, way_out = tuple(problems), "keys: `moola runs --keys`"
        if any(one.startswith("condition") for one in told):
            way_out = f"a condition is a key, one of {SIGNS} and a value: 'encoder.hidden>=64'; {way_out}"
        super().__init__("runs cannot be listed like this", "\n".join(f"- {one}" for one in told), way_out)


@dataclass(frozen=True)
class RunQuery:
    """What is asked for.

    Attributes:
        names: run ids, experiments or patterns (``market-*``); none: all.
        where: conditions, all of which have to hold: ``encoder.hidden>=64``, ``status=failed``, ``name~market``.
        sort: key; runs without a value come last.
        reverse: the other end first.
        columns: keys that are told of each run.
        only: folders that count, e.g. those of a sweep; None: all.
    """

    names: Sequence[str] = ()
    where: Sequence[str] = ()
    sort: str = "started"
    reverse: bool = False
    columns: Sequence[str] = ()
    only: Collection[str] | None = None


@dataclass(frozen=True)
class RunList:
    """The runs that were asked for.

    Attributes:
        entries: in order.
        columns: what is told of each.
        warnings: what their order must not be taken for.
        hints: where no run is left, conditions that no run meets, with what there is instead.
    """

    entries: tuple[RunEntry, ...]
    columns: tuple[Key, ...]
    warnings: tuple[str, ...] = field(default=())
    hints: tuple[str, ...] = field(default=())


def query_runs(index: RunIndex, query: RunQuery) -> RunList:
    """The runs of an index that a query asks for.

    Raises:
        QueryError: a key is known of no run, or a condition cannot be understood; all of them are named.
        DataError: a name names no run.
    """
    keys = _Keys(index)
    asked = [keys.condition(words) for word in query.where if (words := word.strip())]
    conditions = [condition for condition in asked if condition is not None]
    order = keys.get(query.sort, "order")
    columns = [keys.get(name, "column") for name in query.columns]
    if keys.problems or order is None:  # an unknown key is a problem
        raise QueryError(keys.problems)
    folders = _named(index, query.names) if query.names else list(index.entries)
    folders = [folder for folder in folders if query.only is None or folder in query.only]
    folders = [folder for folder in folders if all(one.holds(folder) for one in conditions if not one.of_test)]
    considered = [index.entries[folder] for folder in folders]
    folders = [folder for folder in folders if all(one.holds(folder) for one in conditions if one.of_test)]
    folders = _sorted(folders, order.values, large_first=order.large_first != query.reverse)
    entries = tuple(index.entries[folder] for folder in folders)
    shown = tuple(column for column in columns if column is not None)
    warnings = tuple(_warnings(index, considered, entries, order, [*keys.found.values()]))
    hints = [hint for one in conditions if not entries and (hint := _hint(one, index.entries))]
    return RunList(entries, shown, warnings, tuple(hints))


@dataclass(frozen=True)
class _Condition:
    """What a run has to be like."""

    key: Key
    sign: str
    value: str

    @property
    def of_test(self) -> bool:
        """Whether it looks at the sealed test."""
        return self.key.split == TEST

    def holds(self, folder: str) -> bool:
        return _holds(self.key.values.get(folder), self.sign, self.value)


def _hint(condition: _Condition, folders: Iterable[str]) -> str:
    """What a key is where no run has it as a condition says; "" where some run has, or values are no words."""
    key = condition.key
    if condition.sign not in ("=", "==") or key.kind == "figure" or key.asked in _TIMES:
        return ""
    if any(map(condition.holds, folders)):
        return ""
    values = {_spoken(value): _plain(value) for value in key.values.values()}
    known = sorted(values, key=lambda word: (values[word] if isinstance(values[word], float) else math.inf, word))
    none = f"no run has {condition.value or 'none'}"
    if len(known) <= _FEW:
        return f"{key.asked} is {', '.join(known) or 'told of no run'}; {none}"
    near = near_names(condition.value, known)
    return f"{key.asked}: {none}; {ask_for(near) if near else f'there are {len(known)} others'}"


def _spoken(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Keys:
    """Looks keys up, each once, and collects what is wrong."""

    def __init__(self, index: RunIndex) -> None:
        self.index, self.found, self.problems = index, dict[str, Key](), list[str]()

    def get(self, asked: str, where: str) -> Key | None:
        if asked not in self.found:
            try:
                self.found[asked] = find_key(self.index, asked)
            except UnknownKeyError as error:
                if self.index.entries:  # nothing is known where there are no runs
                    problem = f"no run has '{asked}'; {error}"
                    if not any(told.endswith(problem) for told in self.problems):
                        self.problems.append(f"{where}: {problem}")
                    return None
                self.found[asked] = Key(asked, "setting", asked, {})
        return self.found[asked]

    def condition(self, words: str) -> _Condition | None:
        """What the words say; None where they say nothing, which is a problem."""
        parts = _CONDITION.fullmatch(words)
        if parts is None:
            self.problems.append(f"condition: '{words}' is none")
            return None
        key, sign, value = self.get(parts["key"].strip(), "condition"), parts["sign"], parts["value"].strip()
        if key is None:
            return None
        if key.kind == "field" and key.asked in _TIMES:
            value = value.replace(" ", "T", 1)  # as lists show them
        problem = _problem(key, sign, value)
        self.problems += [f"condition: '{words}': {problem}"] if problem else []
        return _Condition(key, sign, value)


def _problem(key: Key, sign: str, value: str) -> str:
    """Why no run could ever be like that, or all would be; "" where nothing is wrong."""
    if value[:1] in ("<", ">", "="):
        return f"it has two signs; one of {SIGNS} is meant"
    is_number = isinstance(_plain(value), float)
    if key.kind == "figure" and (sign == "~" or not is_number):
        return "a figure is compared with a number by = != < <= > >="
    if sign in _ORDERS and not value:
        return f"what {key.asked} is compared with is missing"
    if sign in _ORDERS and key.kind != "figure" and key.values:
        wanted, found = type(_plain(value)), list(key.values.values())
        is_time = key.kind != "field" or key.asked not in _TIMES or _DATE.fullmatch(value)
        if not is_time or wanted not in (float, str) or not any(isinstance(_plain(one), wanted) for one in found):
            return f"no {key.asked} is above or below '{value}': one is {json.dumps(found[0], ensure_ascii=False)}"
    if key.kind == "field" and key.asked in _COUNTS and sign in ("=", "==", "!="):
        return "" if is_number or _plain(value) is None else f"{key.asked} is a number, not '{value}'"
    if key.kind == "field" and key.asked == "status" and sign in ("=", "==", "!="):
        known = any(fnmatch.fnmatchcase(status, value) for status in STATUSES)
        return "" if known else f"there is no such status; {did_you_mean(value, STATUSES)}"
    return ""


def _holds(found: Any, sign: str, value: str) -> bool:
    found = found.value if isinstance(found, Figure) else found
    wanted = _plain(value)
    if sign in ("=", "==", "!="):
        same = _plain(found) == wanted or (isinstance(found, str) and fnmatch.fnmatchcase(found, value))
        return same != (sign == "!=")
    if found is None:
        return False
    if sign == "~":
        return value.casefold() in (found if isinstance(found, str) else json.dumps(found)).casefold()
    found = _plain(found)
    return isinstance(found, type(wanted)) and isinstance(found, (float, str)) and _ORDERS[sign](found, wanted)


def _plain(value: Any) -> Any:
    """A value as it is compared: numbers as floats, words of JSON as what they stand for."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None if value in ("None", "") else {"True": True, "False": False}.get(value, value)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _sorted(folders: Iterable[str], values: Mapping[str, Any], *, large_first: bool) -> list[str]:
    """Folders by their values: numbers before words, what has no value last, and equal ones by name."""
    numbers: dict[str, float] = {}
    words: dict[str, str] = {}
    without: list[str] = []
    for folder in sorted(folders):
        found = values.get(folder)
        value = found.value if isinstance(found, Figure) else found
        if value is None or (isinstance(value, float) and math.isnan(value)):
            without.append(folder)
        elif isinstance(value, (int, float)):
            numbers[folder] = value
        else:
            words[folder] = value if isinstance(value, str) else json.dumps(value)
    by_value = (sorted(known, key=known.__getitem__, reverse=large_first) for known in (numbers, words))
    return [*itertools.chain.from_iterable(by_value), *without]


def _named(index: RunIndex, names: Iterable[str]) -> list[str]:
    """Folders that are named by id, by experiment or by a pattern.

    Raises:
        DataError: a name is that of no run; near names are suggested, all in one go.
    """
    found: dict[str, None] = {}
    unknown: list[str] = []
    known = {name for entry in index.entries.values() for name in (entry.folder, entry.experiment) if name}
    for name in names:
        own = [
            folder
            for folder, entry in index.entries.items()
            if name in (folder, entry.run_id, entry.experiment) or fnmatch.fnmatchcase(folder, name)
        ]
        found |= dict.fromkeys(own)
        if not own:
            near = near_names(name, known)
            unknown.append(
                f"- '{name}': {ask_for(near) if near else f'none of {len(index.entries):,} runs has a name like it'}"
            )
    if unknown:
        raise DataError("there are no such runs", "\n".join(unknown), f"run ids are looked up in {index.results}")
    return list(found)


def _warnings(
    index: RunIndex, considered: Sequence[RunEntry], entries: Sequence[RunEntry], order: Key, keys: Sequence[Key]
) -> Iterable[str]:
    """What is to be said of `entries`, which were chosen among those `considered`, perhaps by the sealed test."""
    judged = {entry.judged for entry in entries if entry.judged and entry.folder in order.values}
    if order.kind == "figure" and len(judged) > 1:
        yield (
            f"these runs were judged on {len(judged)} different sets of windows: figures of different sets cannot be "
            "ranked against each other."
        )
    opened = _openings(index.results.parent, considered) if any(key.split == TEST for key in keys) else 0
    if opened:
        yield (
            f"{opened} {'runs have' if opened > 1 else 'run has'} opened the sealed test. To choose among runs by it "
            "is to choose on the test, and the best of them then flatters: choose out of fold."
        )


def _openings(artifacts: Path, entries: Sequence[RunEntry]) -> int:
    """How many runs have looked at the sealed tests of these: they themselves, and others on the list beside them."""
    own = {entry.run_id for entry in entries if entry.alarms is not None}
    listed = read_openings(artifacts / "metadata" / "sealed_tests.jsonl")
    digests = {one.digest for one in listed if one.run_id in own}
    return len(own | {one.run_id for one in listed if one.digest in digests})


def judged_on(key: Key) -> str:
    """Whose word a figure is held against."""
    return "labels as given" if key.split == GIVEN else "truth"
