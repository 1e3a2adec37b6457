"""Lines of a run's log as the pod wrote them, believed only where each is what a supervisor writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from moola.errors import printable

STRANGE = "?"
"""Step of a line that no supervisor writes; its text is the line."""


def read_record(line: str) -> Mapping[str, Any]:
    """What a line says: ``n``, ``at`` (ISO 8601), ``step`` and ``text``.

    One that says nothing of the kind, because a kill or a full disk tore it or because the pod is not what it seems,
    is shown as it is and stops nobody who follows.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    match record:
        case {"n": int(), "at": str(at), "step": str(), "text": str()} if _is_time(at):
            return record
        case _:
            return {"n": 0, "at": "", "step": STRANGE, "text": line}


def log_line(record: Mapping[str, Any]) -> str:
    """A line of a run as people read it: its step, and what it said."""
    return printable(f"{record['step']:>11} | {record['text']}", keep="\t")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
