"""A named public set, from the cache, a local mirror or its address; its bytes are checked before they are used."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from moola.config import reject
from moola.data.sources import BarScan, Source
from moola.data.sources.https_download import DownloadFailed, download, unpacked
from moola.data.sources.public_sets import SETS, Download, PublicFile, PublicSet, find_set, public_sets
from moola.errors import DataError, StorageError, did_you_mean
from moola.layout import digest_file, replace_file_atomically, write_bytes

__all__ = ["CACHE", "MIRROR", "Fetch", "PublicSet", "is_at_hand", "mirror_folder", "obtain", "public_sets"]

CACHE = "data/raw/unlabeled/fetched"
"""Where fetched files are kept, relative to the working directory."""

MIRROR = "MOOLA_DATA_MIRROR"
"""Environment variable: a folder with one file a name, each plain or gzip, that is asked before the network."""

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
"""How systems refuse a new folder inside one that exists; the last is what Linux says of its own, such as /proc."""

TIMEOUT_S = 30.0

Progress = Callable[[str], None]
"""Takes one line for people."""


@dataclass(frozen=True)
class Fetch:
    """A public set of the catalogue (`moola.data.sources.public_sets`), read with the options that stand there.

    Attributes:
        name: of the set, such as ``ETTh1``.
        cache: folder that keeps the files, one folder a set.
    """

    name: str
    cache: str = CACHE

    def __post_init__(self) -> None:
        reject(
            (self.name not in SETS, f"name: there is no public set '{self.name}'; {did_you_mean(self.name, SETS)}"),
            (not self.cache, "cache: names no folder"),
        )

    def fingerprint(self) -> str:
        """Digest of names and contents of the files, which are fetched if they are not there.

        Raises:
            DataError: as `obtain`.
        """
        return self._source().fingerprint()

    def scan(self) -> BarScan:
        """Obtain the files, then read them.

        Raises:
            DataError: as `obtain`.
        """
        return self._source().scan()

    def _source(self) -> Source:
        from moola.data.sources.files import Files
        from moola.data.sources.series_files import SeriesFiles

        public = find_set(self.name)
        folder = obtain(public, Path(self.cache), mirror_folder(), _to_stderr)
        first, *rest = (str(folder / file.name) for file in public.files)
        if public.reader == "series_files":
            return SeriesFiles(train=first, test=rest[0], **public.options)
        return Files(glob.escape(first), **public.options)


def mirror_folder() -> Path | None:
    """The folder named by ``MOOLA_DATA_MIRROR``, or None.

    Raises:
        DataError: it names something that is no folder.
    """
    name = os.environ.get(MIRROR)
    if name and not Path(name).is_dir():
        raise DataError(f"{MIRROR}={name} is not a folder", "", f"name an existing folder, or unset {MIRROR}")
    return Path(name) if name else None


def obtain(
    public: PublicSet,
    cache: Path = Path(CACHE),
    mirror: Path | None = None,
    progress: Progress = lambda line: None,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Have every file of a set in the cache, whole and with the digest of the catalogue.

    A file is taken from the cache, else from the mirror, else from its address. A file that is not what the catalogue
    says is never kept.

    Args:
        public: the set.
        cache: its files lie in a folder of its name inside.
        mirror: folder to look in before the network is asked.
        progress: told the licence and each tenth of what comes in; nothing where all files are cached.
        timeout_s: longest silence of a server.

    Returns:
        The folder with the files.

    Raises:
        DataError: files cannot be had, or a mirror's copy has another digest; every problem of every file.
        StorageError: a cached file was changed, or the cache cannot be written.
    """
    folder = cache / public.name
    lacking = [file for file in public.files if not _is_cached(folder / file.name, file)]
    if lacking:
        progress(f"{public.name}: licence {public.licence}; cite {public.citation}")
    problems = [problem for file in lacking for problem in _bring(file, folder, mirror, progress, timeout_s)]
    if problems:
        names = ", ".join(f"{file.name} (SHA-256 {file.sha256})" for file in lacking)
        raise DataError(
            f"the public set '{public.name}' cannot be had",
            "\n".join(f"- {problem}" for problem in problems),
            f"connect to the network, or set {MIRROR} to a folder that holds {names}, each plain or as .gz",
        )
    return folder


def is_at_hand(public: PublicSet, cache: Path = Path(CACHE), mirror: Path | None = None) -> bool:
    """Whether `obtain` would need no network.

    Raises:
        StorageError: a cached file was changed.
    """
    return all(_is_cached(cache / public.name / file.name, file) or _mirrored(file, mirror) for file in public.files)


def _is_cached(path: Path, file: PublicFile) -> bool:
    """Whether the file is there.

    Raises:
        StorageError: it is there and has other content.
    """
    if not path.is_file():
        return False
    if path.stat().st_size != file.size_bytes or digest_file(path) != file.sha256:
        raise StorageError(
            f"{path} was changed after it was fetched",
            f"its SHA-256 should be {file.sha256}",
            "move it away; the same command then fetches it again",
        )
    return True


def _bring(file: PublicFile, folder: Path, mirror: Path | None, progress: Progress, timeout_s: float) -> list[str]:
    """Put a file into the cache; where that fails, why."""
    copy = _mirrored(file, mirror)
    looked = f"not in the mirror {mirror}" if mirror else f"{MIRROR} is not set"
    try:
        if copy is not None:
            progress(f"{file.name}: from {copy}")
            _keep(_read(copy, file), folder / file.name, file)
        elif file.parts:
            _fetch(file, folder, progress, timeout_s)
        else:
            return [f"{file.name}: {looked}, and it has no address; it exists in mirrors only"]
    except DownloadFailed as error:
        return [f"{file.name}: {error}" if copy else f"{file.name}: {looked}; {error}"]
    except OSError as error:
        raise StorageError(
            f"cannot keep {folder / file.name}",
            _why_not_kept(folder, error),
            "run `moola data fetch` in a folder that you may write to; "
            "a run keeps the set elsewhere with data.cache=FOLDER",
        ) from error
    return []


def _why_not_kept(folder: Path, error: OSError) -> str:
    """What the system says, and the place that is at fault where not even the folder could be made."""
    reason = error.strerror or str(error)
    if folder.is_dir():
        return reason
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if error.errno in _READ_ONLY or not os.access(place, os.W_OK):
        return f"the folder {folder} cannot be made, because {place} is read-only ({reason})"
    return f"the folder {folder} cannot be made in {place} ({reason})"


def _mirrored(file: PublicFile, mirror: Path | None) -> Path | None:
    """The mirror's copy of a file, plain or gzip."""
    copies = [mirror / name for name in (file.name, f"{file.name}.gz")] if mirror else []
    return next((copy for copy in copies if copy.is_file()), None)


def _read(copy: Path, file: PublicFile) -> Iterator[bytes]:
    """The plain bytes of a mirror's copy."""
    try:
        with copy.open("rb") as handle:
            yield from unpacked(handle, file.size_bytes)
    except DownloadFailed as error:
        raise DownloadFailed(f"{copy} is another file: {error}; SHA-256 expected {file.sha256}") from error
    except (EOFError, OSError, zlib.error) as error:
        raise DownloadFailed(f"{copy} cannot be read ({error})") from error


def _fetch(file: PublicFile, folder: Path, progress: Progress, timeout_s: float) -> None:
    """Download a file's parts and make the file of them."""
    if file.recipe is None:
        _keep(_told(file.parts[0], progress, timeout_s), folder / file.name, file.parts[0])
        return
    parts = [b"".join(_checked(_told(part, progress, timeout_s), part)) for part in file.parts]
    content = file.recipe(parts)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DownloadFailed(f"what was made of its parts has not the SHA-256 {file.sha256}: a defect of moola")
    write_bytes(folder / file.name, content)


def _told(part: Download, progress: Progress, timeout_s: float) -> Iterator[bytes]:
    """The blocks of a download; `progress` hears of each tenth, and failures name the address and the digest."""
    progress(f"{part.url}: {part.size_bytes:,} bytes")
    n_bytes = 0
    try:
        for block in download(part.url, part.size_bytes, timeout_s):
            before, n_bytes = n_bytes, n_bytes + len(block)
            if n_bytes * 10 // part.size_bytes > before * 10 // part.size_bytes:
                progress(f"{part.url}: {n_bytes * 100 // part.size_bytes} %")
            yield block
    except DownloadFailed as error:
        raise DownloadFailed(f"{part.url}: {error}; SHA-256 expected {part.sha256}") from error


def _checked(blocks: Iterable[bytes], expected: Download | PublicFile) -> Iterator[bytes]:
    """The same blocks; fails at their end unless size and digest are as expected."""
    digest, n_bytes = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        n_bytes += len(block)
        yield block
    where = expected.url if isinstance(expected, Download) else f"the mirror's copy of {expected.name}"
    if n_bytes < expected.size_bytes:
        raise DownloadFailed(f"{where} broke off after {n_bytes} of {expected.size_bytes} bytes")
    if digest.hexdigest() != expected.sha256:
        raise DownloadFailed(f"{where} has SHA-256 {digest.hexdigest()}, expected {expected.sha256}; nothing was kept")


def _keep(blocks: Iterable[bytes], path: Path, expected: Download | PublicFile) -> None:
    """Write a stream to a file that appears only when it is whole and checked."""
    with replace_file_atomically(path) as handle:
        handle.writelines(_checked(blocks, expected))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
