"""The folder of a search: what was asked and how far it is, also while it goes on and after it was interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moola.config import structure
from moola.errors import ConfigError, DataError, MoolaError, did_you_mean
from moola.layout import read_json, write_json
from moola.pipelines.events import now
from moola.sweeps.search.locks import is_locked, locked
from moola.sweeps.search.settings import SearchSettings
from moola.sweeps.search.storage import lacks_secret, spoken_place
from moola.sweeps.search.study import TrialRecord, read_records

RECORD, TRIALS = "search.json", "trials.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class SearchRecord:
    """A search as its folder has it.

    Attributes:
        folder: of it.
        status: how far it is.
        told: what ``search.json`` says; before the first end of the search what was asked, and nothing that was found.
        trials: every trial; none where they are in a database whose password is not kept.
    """

    folder: Path
    status: Literal["under way", "interrupted", "finished"]
    told: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]


@contextlib.contextmanager
def recorded(folder: Path, settings: SearchSettings, study: str, place: str, line: str) -> Iterator[None]:
    """Let others see that a search is under way in the block, and what it asks.

    Args:
        folder: of it.
        settings: of it.
        study: id of its study.
        place: of its storage.
        line: the command, without secrets.

    Raises:
        ConfigError: the folder holds what another study of the same name found.
    """
    with locked(folder / _LOCK, shared=True):
        before: dict[str, Any] = read_json(folder / RECORD) if (folder / RECORD).exists() else {}
        _refuse_other(folder, before, study, spoken_place(place))
        if "finished" not in before:
            asked = {"name": settings.name, "command": line, "model": settings.model, "metric": settings.metric}
            asked |= {"study": study, "storage": spoken_place(place)}
            write_json(folder / RECORD, {**asked, "started": now()})
        yield


def _refuse_other(folder: Path, before: Mapping[str, Any], study: str, place: str) -> None:
    """Refuse to replace what another study found; one that was moved, or has another password, is the same."""
    known = before.get("study")
    is_same = before.get("storage") == place if known is None else known == study
    if not before or is_same:
        return
    if "finished" not in before and not lacks_secret(before["storage"]) and not _trials_so_far(before):
        return  # it found nothing yet
    where = f"it is in {before['storage']}, and this one in {place}"
    gone = f"it is not in {place} any more, where another one has begun"
    raise ConfigError(
        [
            f"search.name: {folder} holds what another study named {folder.name} found; "
            f"{gone if before['storage'] == place else where}"
        ],
        "give the storage of before, or another name with search.name=OTHER; or remove that folder",
    )


def read_search(folder: Path) -> SearchRecord:
    """The search of a folder."""
    told: dict[str, Any] = read_json(folder / RECORD)
    status = "under way" if is_locked(folder / _LOCK) else "finished" if "finished" in told else "interrupted"
    if "finished" in told:
        trials = [structure(TrialRecord, one, TRIALS) for one in read_json(folder / TRIALS)]
    else:
        trials = _trials_so_far(told)
    return SearchRecord(folder, status, told, tuple(trials))


def searches_in(artifacts: Path) -> list[Path]:
    """Folders of searches, the one that was written last behind."""
    files = (artifacts.absolute() / "results" / "searches").glob(f"*/{RECORD}")
    return [file.parent for file in sorted(files, key=lambda file: (file.stat().st_mtime, file.parent.name))]


def find_search(name: str | None, artifacts: Path) -> Path:
    """The folder of a search; without a name of the one that was written last.

    Raises:
        DataError: there is none; near names are given.
    """
    folders = searches_in(artifacts)
    if not folders:
        raise DataError("there is no search here", "", "begin one: moola search search=logistic_regression")
    if name is None:
        return folders[-1]
    known = {folder.name: folder for folder in folders}
    if name not in known:
        raise DataError(f"there is no search '{name}'", did_you_mean(name, known), "see `moola search ls`")
    return known[name]


def _trials_so_far(told: Mapping[str, Any]) -> Sequence[TrialRecord]:
    """From where the study is; none where that cannot be reached from here."""
    place = told["storage"]
    if lacks_secret(place):  # a server may lock out who comes with a wrong password again and again
        return []
    with contextlib.suppress(MoolaError):
        if "://" in place or Path(place).exists():
            return read_records(place, told["name"])
    return []
