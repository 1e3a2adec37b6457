"""Which runs have looked at which sealed test: a list that only grows."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from moola.errors import StorageError
from moola.pipelines.events import now


@dataclass(frozen=True)
class Opening:
    """One look.

    Attributes:
        digest: of the sealed windows and their labels.
        run_id: of the run that scored models on them.
        at: when it did so first.
    """

    digest: str
    run_id: str
    at: str


def open_sealed_test(path: Path, digest: str, run_id: str) -> list[Opening]:
    """Write down that a run looks at a sealed test, and say which other runs had done so before.

    Whoever looks, changes something and looks again chooses on the test, whatever the folds say.

    Args:
        path: the list, a line of JSON an opening; made where it is not there.
        digest: of the sealed windows and their labels.
        run_id: of the run; the same run may look as often as it likes.

    Raises:
        StorageError: the list is not what was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        lines = handle.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):  # a kill in the middle of a line: that run looks again
            handle.truncate(sum(len(line.encode()) for line in lines[:-1]))
            lines.pop()
        before = [one for one in _parsed(lines, path) if one.digest == digest]
        if all(one.run_id != run_id for one in before):
            handle.seek(0, os.SEEK_END)
            handle.write(json.dumps(asdict(Opening(digest, run_id, now()))) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
    earlier = next((number for number, one in enumerate(before) if one.run_id == run_id), len(before))
    return before[:earlier]


def read_openings(path: Path) -> list[Opening]:
    """Everything on the list, the earliest first; nothing where there is no list.

    Raises:
        StorageError: the list is not what was written.
    """
    if not path.exists():
        return []
    return _parsed([line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")], path)


def _parsed(lines: list[str], path: Path) -> list[Opening]:
    try:
        return [Opening(**json.loads(line)) for line in lines]
    except (ValueError, TypeError, RecursionError) as error:
        raise StorageError(
            f"{path} is not what was written",
            f"{type(error).__name__}: {error}",
            "put it back, or move it away: what was opened before is then forgotten",
        ) from error
