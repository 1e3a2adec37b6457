"""A pod's log as RunPod streams it: server-sent events, the data of each a JSON object with one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from moola.errors import printable


@dataclass(frozen=True)
class LogLine:
    """One line of a pod's log.

    Attributes:
        event: the cursor behind it.
        text: the line.
    """

    event: str
    text: str


def read_log_stream(lines: Iterator[str]) -> Iterator[LogLine]:
    """The lines of a stream; events that hold none are passed over.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    event, data = "", list[str]()
    for line in lines:
        name, _, value = line.partition(":")
        if name == "id":
            event = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            parsed = _line_of("\n".join(data))
            if parsed is not None:
                yield LogLine(event, parsed)
            data = []


def _line_of(data: str) -> str | None:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict) or "line" not in parsed:
        return None
    return printable(str(parsed["line"]).rstrip(), keep="\t")  # a line is one line, whatever a pod printed
