"""Files of other annotation tools: what people decided there becomes events of the log, and queues go out to them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from moola.config import digest_json
from moola.data.sources.problems import Problems
from moola.labels.events import Decision, LabelEvent


def imported(file: Path, decision: Decision, window_id: str, annotator: str, at: str, **fields: Any) -> LabelEvent:
    """An event that was decided elsewhere.

    Its id is a digest of what it says, so that a file that is imported twice counts once.
    """
    source = f"import:{file.name}"
    told = {"decision": decision, "window_id": window_id, "annotator": annotator, "at": at, "source": source, **fields}
    return LabelEvent(event_id=digest_json(told)[:32], **told)


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
