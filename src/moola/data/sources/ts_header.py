"""The header of a ``.ts`` file: what it says about the cases below ``@data``, and whether they keep to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moola.data.sources.problems import Problems
from moola.errors import did_you_mean

COMMENTS = ("#", "%")
_TAGS = {
    "problemname": "@problemName",
    "timestamps": "@timeStamps",
    "missing": "@missing",
    "univariate": "@univariate",
    "dimensions": "@dimensions",
    "equallength": "@equalLength",
    "serieslength": "@seriesLength",
    "classlabel": "@classLabel",
    "targetlabel": "@targetLabel",
    "data": "@data",
}
_NOT_READ = {
    "timestamps": ("times beside the values", "write the values without times, and @timeStamps false"),
    "targetlabel": ("numbers instead of classes", "choose a set whose cases have classes (@classLabel true)"),
}


@dataclass(frozen=True)
class TsHeader:
    """What a header says; None where it says nothing.

    Attributes:
        n_lines: lines up to and with ``@data``.
        classes: labels that cases may have; None where cases have no label.
        n_channels: dimensions of every case.
        univariate: whether cases have one dimension.
        equal_length: whether all cases have the same number of steps.
        n_steps: that number.
    """

    n_lines: int
    classes: tuple[str, ...] | None
    n_channels: int | None
    univariate: bool | None
    equal_length: bool | None
    n_steps: int | None

    def check(self, shapes: Sequence[tuple[int, int, int]], problems: Problems) -> None:
        """Tell every case that differs from the header or, where that is silent, from the first case.

        Args:
            shapes: line, number of channels, number of steps of each case.
            problems: where to tell it.
        """
        if not shapes:
            return
        first_line, first_channels, first_steps = shapes[0]
        if self.univariate is False and all(n_channels == 1 for _, n_channels, _ in shapes):
            problems.say("@univariate false, and every case has one dimension", "write @univariate true")
        channels = self.n_channels or first_channels
        said_by = "the header says" if self.n_channels else f"line {first_line} has"
        steps = (self.n_steps or first_steps) if self.equal_length else None
        steps_by = "@seriesLength says" if self.n_steps else f"line {first_line} has"
        for line, n_channels, n_steps in shapes:
            if n_channels != channels:
                place = f"line {line} has {n_channels}, {said_by} {channels}"
                way_out = "mend these lines, or @univariate and @dimensions in the header"
                problems.count("cases with another number of dimensions", place, way_out)
            if steps is not None and n_steps != steps:
                place = f"line {line} has {n_steps} steps, {steps_by} {steps}"
                way_out = "mend these lines, or @equalLength and @seriesLength in the header"
                problems.count("cases that break @equalLength true", place, way_out)


@dataclass(frozen=True)
class _Tag:
    line: int
    name: str
    words: tuple[str, ...]


def read_header(lines: list[str], problems: Problems) -> TsHeader | None:
    """The header; None where the cases cannot be read because of what it says or lacks."""
    tags = _read_tags(lines, problems)
    flags = {name: _flag(tags, name, problems) for name in ("univariate", "equallength", "missing")}
    dimensions = _number(tags, "dimensions", problems)
    # files of unequal cases write all kinds of things there
    steps = None if flags["equallength"] is False else _number(tags, "serieslength", problems)
    classes = _classes(tags, problems)
    if "data" not in tags:
        problems.say("there is no @data line", "write @data between the header and the cases")
    elif tags["data"].words:
        problems.say(f"line {tags['data'].line}: @data has something behind it", "begin the cases on the next line")
    for name, (what, way_out) in _NOT_READ.items():
        if _flag(tags, name, problems):
            problems.say(f"line {tags[name].line}: {_TAGS[name]} true: {what} are not read", way_out)
    univariate = flags["univariate"]
    if dimensions is not None and univariate is not None and (dimensions == 1) != univariate:
        told = f"@univariate {str(univariate).lower()} contradicts @dimensions {dimensions}"
        problems.say(f"line {tags['dimensions'].line}: {told}", "mend the header")
    if problems and (classes == () or "data" not in tags or _true(tags, "timestamps") or _true(tags, "targetlabel")):
        return None
    equal = flags["equallength"] if flags["equallength"] is not None or steps is None else True
    n_channels = dimensions or (1 if univariate else None)
    return TsHeader(tags["data"].line, classes, n_channels, univariate, equal, steps)


def _read_tags(lines: list[str], problems: Problems) -> dict[str, _Tag]:
    """Tags by lower-case name, up to @data."""
    tags: dict[str, _Tag] = {}
    strays: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith(COMMENTS):
            continue
        if not words[0].startswith("@"):
            strays.append((number, words[0]))
            continue
        name = words[0][1:].lower()
        if name not in _TAGS:
            near = did_you_mean(words[0].lower(), [tag.lower() for tag in _TAGS.values()])
            problems.count("unknown header lines", f"line {number}: '{words[0][:40]}' ({near})", "mend the header")
        elif name in tags and name != "problemname":  # a name decides nothing
            place = f"line {number}: {_TAGS[name]} stands in line {tags[name].line} already"
            problems.count("header lines given twice", place, "keep one of them")
        else:
            tags[name] = _Tag(number, _TAGS[name], tuple(words[1:]))
        if name == "data":
            break
    for number, word in strays if "data" in tags else []:  # without @data every case would be a stray
        place = f"line {number}: '{word[:40]}'"
        problems.count("lines above @data that are no header", place, "begin comments with #, header lines with @")
    return tags


def _true(tags: dict[str, _Tag], name: str) -> bool:
    return name in tags and [word.lower() for word in tags[name].words] == ["true"]


def _flag(tags: dict[str, _Tag], name: str, problems: Problems) -> bool | None:
    if name not in tags:
        return None
    tag = tags[name]
    words = [word.lower() for word in tag.words]
    if words not in (["true"], ["false"]):
        told = f"line {tag.line}: {tag.name} '{' '.join(tag.words)[:40]}' is neither true nor false"
        problems.say(told, f"write {tag.name} true or {tag.name} false")
        return None
    return words == ["true"]


def _number(tags: dict[str, _Tag], name: str, problems: Problems) -> int | None:
    if name not in tags:
        return None
    tag = tags[name]
    text = " ".join(tag.words)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        told = f"line {tag.line}: {tag.name} '{text[:40]}' is no positive whole number"
        problems.say(told, f"write {tag.name} N, or leave the line out")
        return None
    return int(text)


def _classes(tags: dict[str, _Tag], problems: Problems) -> tuple[str, ...] | None:
    """The labels named by @classLabel; None where it says false, () where it cannot be used."""
    way_out = "write @classLabel true A B C, or @classLabel false for cases without labels"
    if "classlabel" not in tags:
        if not _true(tags, "targetlabel"):
            problems.say("there is no @classLabel line", way_out)
        return ()
    tag = tags["classlabel"]
    kind, names = (tag.words[0].lower() if tag.words else ""), tag.words[1:]
    if kind == "false":
        return None
    if kind != "true" or not names:
        problems.say(f"line {tag.line}: @classLabel '{' '.join(tag.words)[:40]}' names no classes", way_out)
        return ()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.say(f"line {tag.line}: @classLabel names {', '.join(twice)[:80]} twice", "name each class once")
    return names
