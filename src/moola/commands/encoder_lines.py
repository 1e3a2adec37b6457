"""A named encoder as a terminal shows it: what is known of it, and the figures of the epoch whose weights were kept."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moola.encoders.record import EncoderRecord

_LABEL = 14
"""Columns of what each fact is called."""
_TRIVIAL = ("val_copy_last", "val_mean")


def fact_lines(record: EncoderRecord) -> list[str]:
    """What there is to know, each fact behind what it is, no line wider than the terminal where words allow it."""
    width = max(shutil.get_terminal_size((120, 24)).columns, 60)
    lines: list[str] = []
    for name, fact in _facts(record).items():
        for number, line in enumerate(fact):
            words = line.lstrip()
            lead = _LABEL + len(line) - len(words)
            lines += textwrap.wrap(
                words,
                width,
                initial_indent=f"{'' if number else name:{lead}}",
                subsequent_indent=" " * (lead + 2),
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines


def figure_lines(record: EncoderRecord) -> list[str]:
    """The kept epoch of each seed, a line a figure; trivial predictors are said to be what they are."""
    names = dict.fromkeys(name for figures in record.figures.values() for name in figures)
    head = "the epoch whose weights were kept"
    if trivial := [name for name in _TRIVIAL if name in names]:
        head += f"; {' and '.join(trivial)}: trivial predictors, in the units of val_reconstruction"
    rows = [
        [name, *(f"{figures[name]:.5g}" if name in figures else "-" for figures in record.figures.values())]
        for name in names
    ]
    return [head, *table_lines([["", *(f"seed {seed}" for seed in record.figures)], *rows])]


def table_lines(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _facts(record: EncoderRecord) -> dict[str, list[str]]:
    lineage = record.lineage
    times = [f"{_moment(lineage.first_time)} to {_moment(lineage.last_time)}"] if lineage.first_time else []
    state = {True: ", changed since", False: "", None: ""}[lineage.git_dirty]
    return {
        "name": [record.name],
        "encoder": list(section_lines(record.encoder)),
        "objective": list(section_lines(record.objective)),
        "transform": list(section_lines(record.configured_transform)),
        "inputs": [f"{', '.join(record.inputs)} (from {', '.join(record.source_channels)})"],
        "visible bars": [str(record.visible_bars)],
        "windows": [", ".join(f"{n:,} {what}" for what, n in record.windows.items())],
        "not trained": [", ".join(record.remarks.get("untrained", [])) or "every layer was trained"],
        "learned from": times or ["cases without times"],
        "seeds": [", ".join(map(str, record.seeds))],
        "created": [_moment(record.created)],
        "run": [lineage.run_id],
        "code": [f"moola {lineage.moola}, commit {lineage.git_commit or 'unknown'}{state}"],
        "versions": [", ".join(f"{name} {version}" for name, version in lineage.versions.items())],
        "digests": [f"bars {lineage.bars[:16]}, splits {lineage.splits[:16]}, artifact {lineage.artifact[:16]}"],
        "files": [f"{name} {digest[:12]}" for name, digest in record.files.items()],
    }


def section_lines(section: Mapping[str, Any], key: str = "") -> Iterator[str]:
    """A component: its name and its plain values on a line, and the components that are inside it indented below."""
    plain: list[str] = []
    inside: list[tuple[str, Mapping[str, Any]]] = []
    for name, value in _own_keys(section):
        components = value if isinstance(value, list | tuple) else [value]
        if components and all(isinstance(one, Mapping) for one in components):
            inside += [(name, one) for one in components]
        else:
            plain.append(f"{name}={_value(value)}")
    title = section.get("name") or str(section.get("class", "")).rpartition(":")[2]
    yield (f"{key}: " if key else "") + title + (f" ({', '.join(plain)})" if plain else "")
    for name, one in inside:
        yield from (f"  {line}" for line in section_lines(one, name))


def _own_keys(section: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values without what names the component; a group of keys without a name is no component of its own."""
    for key, value in section.items():
        if isinstance(value, Mapping) and "name" not in value:
            yield from _own_keys(value)
        elif key not in ("name", "class"):
            yield key, value


def _value(value: Any) -> str:
    """As a configuration writes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _moment(text: str | None) -> str:
    """ISO 8601 to the minute, in UTC."""
    return datetime.fromisoformat(str(text)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
