"""Pages that commands write beside the runs they are about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moola.errors import StorageError

if TYPE_CHECKING:
    from moola.pipelines.results import FinishedRun


def plain_name(run: FinishedRun) -> str:
    """The id of a run, which may have come from anywhere, as part of a path.

    Raises:
        StorageError: it would lead elsewhere.
    """
    name = run.run_id
    if not isinstance(name, str) or not name or name in (".", "..") or set(name) & {"/", "\\", "\0"}:
        raise StorageError(
            f"{run.folder}: {name!r} is no name of a run",
            "the page would be written to another place than beside the runs",
            "its manifest.json was changed: copy the run folder again",
        )
    return name


def write_page(page: Path, content: str) -> None:
    """The figures were told already, so all that is lost is the page.

    Raises:
        StorageError: it cannot be written.
    """
    from moola.layout import write_text

    try:
        write_text(page, content)
    except OSError as error:
        why = f"{error.strerror or error}; the figures are told above"
        raise StorageError(f"the page cannot be written: {page}", why, "name another place with --page FILE") from error
