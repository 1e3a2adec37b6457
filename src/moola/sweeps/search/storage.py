"""Where a study is kept: Optuna's journal in a file, or a database that machines share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import ConfigError, MissingPackageError, StorageError, did_you_mean
from moola.sweeps.search.locks import locked

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_DATABASES = {
    "postgresql": ("psycopg", "postgresql+psycopg"),
    "mysql": ("pymysql", "mysql+pymysql"),
    "mariadb": ("pymysql", "mariadb+pymysql"),
    "sqlite": ("", "sqlite"),
}
"""Database -> a driver that pip installs whole, and the URL that asks for it."""
_HIDDEN = "***"
_WAITS_S = (0.2, 0.5, 1.0)
"""Between tries to open a database whose tables another process is making."""


class StudyStorage:
    """An open storage.

    Args:
        place: file of a journal, or URL of a database.

    Raises:
        ConfigError: it is no URL that is understood.
        MissingPackageError: Optuna or the database's driver is not installed.
        StorageError: the file or the server cannot be reached.

    Attributes:
        optuna: what studies are made with.
        spoken: the place without a password.
    """

    def __init__(self, place: str) -> None:
        self.optuna: BaseStorage
        self.spoken = spoken_place(place)
        self._lock_path: Path | None = None
        if "://" not in place:
            self.optuna = _journal(Path(place))
            self._lock_path = _beside(Path(place))
        else:
            self.optuna = _database(place, self.spoken)
            file = _sqlite_file(place)
            self._lock_path = _beside(file) if file else None

    @property
    def in_file(self) -> bool:
        """Whether all who use it see one file, and so `alone` keeps them apart."""
        return self._lock_path is not None

    def close(self) -> None:
        """Let go of connections to a server."""
        from optuna.storages import RDBStorage, _CachedStorage

        kept = self.optuna._backend if isinstance(self.optuna, _CachedStorage) else self.optuna
        if isinstance(kept, RDBStorage):
            kept.remove_session()
            kept.engine.dispose()

    def alone(self) -> AbstractContextManager[object]:
        """One process at a time, where the storage is a file; a server has no such thing to give."""
        return locked(self._lock_path) if self._lock_path else contextlib.nullcontext()


def spoken_place(place: str) -> str:
    """A place that may be printed and kept: the password of a URL is hidden."""
    head, scheme, rest = place.partition("://")
    if not scheme:
        return place
    address, question, _ = rest.partition("?")  # options may hold a password, too
    authority, slash, path = address.partition("/")
    access, at, host = authority.rpartition("@")
    if rest.count("@") > authority.count("@") and not (question and at and "@" not in path):
        return f"{head}://{_HIDDEN}"  # a sign of the password is not escaped, and where it ends is a guess
    user, colon, _ = access.partition(":")
    return f"{head}://{user}{colon and f':{_HIDDEN}'}{at}{host}{slash}{path}{question and f'?{_HIDDEN}'}"


def lacks_secret(spoken: str) -> bool:
    """Whether a place, as `spoken_place` has it, cannot be opened because something of it is hidden."""
    return "://" in spoken and _HIDDEN in spoken


class _FileLock:
    """Optuna's lock of a journal: the system's, which a killed process does not leave behind.

    A line that was torn by a kill is cut off: Optuna reads no further than to what it cannot read.
    """

    def __init__(self, journal: Path) -> None:
        self._journal, self._path = journal, journal.with_name(f".{journal.name}.write-lock")
        self._held: Any = None

    def acquire(self) -> bool:
        """Wait for it."""
        self._held = self._path.open("a")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        _cut_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Let others have it."""
        self._held.close()


def _cut_torn_line(journal: Path) -> None:
    with journal.open("r+b") as handle:
        end = size = handle.seek(0, os.SEEK_END)
        while end and _byte(handle, end - 1) != b"\n":
            end -= 1
        if end < size:
            handle.truncate(end)


def _byte(handle: Any, place: int) -> bytes:
    handle.seek(place)
    return handle.read(1)


def _journal(path: Path) -> BaseStorage:
    require_optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if not path.parent.is_dir():
        raise StorageError(
            f"search.storage: there is no folder {path.parent}",
            f"the study's journal {path.name} is to lie in it, and folders are made among the artifacts alone",
            "make it, or choose another file with search.storage=FILE",
        )
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_FileLock(path)))  # type: ignore[arg-type]
    except OSError as error:
        raise StorageError(
            f"the study's journal cannot be opened: {path}",
            error.strerror or str(error),
            "choose another file with search.storage=FILE",
        ) from error
    except (ValueError, KeyError) as error:
        raise StorageError(
            f"{path} is no journal of Optuna", str(error), "choose another file with search.storage=FILE"
        ) from error


def _database(url: str, spoken: str) -> BaseStorage:
    require_optuna()
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    kind = url.partition("://")[0].partition("+")[0]
    try:
        file = _sqlite_file(url)
        with locked(_beside(file)) if file and file.parent.is_dir() else contextlib.nullcontext():
            return _made(url)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        told = _told(error, url) if kind in _DATABASES else did_you_mean(kind, _DATABASES)
        raise ConfigError(
            [f"search.storage: {spoken} is no URL of a database; {told}"],
            "as in postgresql+psycopg://USER@HOST/NAME or sqlite:////FOLDER/study.db; or name a file without ://",
        ) from error
    except ImportError as error:
        driver, instead = _DATABASES.get(kind, ("", kind))
        install = f"pip install '{driver}[binary]'" if driver == "psycopg" else f"pip install {driver}"
        raise MissingPackageError(
            f"the driver for {spoken} is not installed", _told(error, url), f"{install}, and write {instead}://..."
        ) from error
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        raise StorageError(
            f"the study's database cannot be used: {spoken}",
            _told(error, url),
            "see that the server runs, and that user, password and database are right; or leave out search.storage",
        ) from error


def _made(url: str) -> BaseStorage:
    """The storage; of several processes that find an empty database, all but one find that its tables are there."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for wait_s in _WAITS_S:
        try:
            return RDBStorage(url, engine_kwargs=_patience(url.partition("://")[0]))
        except (IntegrityError, ProgrammingError):
            time.sleep(wait_s)
    return RDBStorage(url, engine_kwargs=_patience(url.partition("://")[0]))


def _beside(file: Path) -> Path:
    """The lock of a file."""
    return file.with_name(f"{file.name}.lock")


def _patience(scheme: str) -> dict[str, Any]:
    """Processes that write to one file wait for each other; a server that does not answer is not waited for long."""
    if scheme.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    known = scheme in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql", "mariadb+pymysql")
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10} if known else {}}


def _sqlite_file(url: str) -> Path | None:
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _told(error: BaseException, url: str) -> str:
    """The first line of an error, without the password of the URL, whoever wrote it."""
    from urllib.parse import unquote

    cause = error.__cause__ or error
    said = (str(cause).splitlines() or [type(cause).__name__])[0].replace(url, spoken_place(url))
    authority = url.partition("://")[2].rpartition("@")[0]
    password = authority.partition(":")[2]
    for secret in {password, unquote(password)} - {""}:
        said = said.replace(secret, _HIDDEN)
    return said


def require_optuna() -> None:
    """Refuse before anything runs; and let Optuna say nothing by itself.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(
            "optuna is not installed", "searches ask it", "pip install 'moola[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
