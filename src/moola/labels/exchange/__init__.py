"""Files of other annotation tools: what people decided there becomes events of the log, and queues go out to them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from moola.config import digest_json
from moola.data.sources.problems import Problems
from moola.labels.events import Decision, LabelEvent


def content_id(told: Any) -> str:
    """The id of an event that says this, JSON values: a file that comes again, also grown or copied, counts once."""
    return digest_json(told)[:32]


def imported(
    file: Path, decision: Decision, window_id: str, annotator: str, at: str | None, **fields: Any
) -> LabelEvent:
    """An event that was decided elsewhere; its id is made of what it says (`content_id`), without the file's name.

    Args:
        file: that says it.
        decision: as `LabelEvent` has it.
        window_id: name of the window.
        annotator: who decided.
        at: when, ISO 8601; None: the file does not say. Then the time counts at which it was written, which a copy
            does not keep, so that the id does not hold it.
        fields: others of the event.
    """
    told = {"decision": decision, "window_id": window_id, "annotator": annotator, **fields}
    event_id = content_id(told if at is None else {**told, "at": at})
    if at is None:
        at = datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC).isoformat()
    return LabelEvent(event_id=event_id, at=at, source=f"import:{file.name}", **told)


def read_json_file(path: Path, problems: Problems) -> Any:
    """What a JSON file holds; None where it cannot be read, which is told."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        problems.say(f"it cannot be read ({error.strerror or error})", "give an existing, readable file")
    except ValueError as error:
        problems.say(f"it is no JSON ({error})", "export it again")
    return None


def utc(text: Any) -> str | None:
    """A time in ISO 8601 as UTC, one without a zone taken for UTC; None where it is no time."""
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC).isoformat()
