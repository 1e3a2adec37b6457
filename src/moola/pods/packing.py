"""From a project and its overrides to a bundle: what travels, what stays, and what must not leave this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import moola
from moola.config import config_folder, reject
from moola.data.sources.problems import Problems, refuse
from moola.errors import did_you_mean
from moola.layout import Layout, digest_file
from moola.pods.bundle import OBJECTS, OWN_FOLDER, Bundle, BundledFile, Kind, path_in_words
from moola.pods.composed_run import RunName, compose, words_of
from moola.pods.outside_files import OutsideFiles, list_outside_files
from moola.pods.pickle_scan import scan_pickles
from moola.pods.project_files import ProjectFiles, list_project
from moola.pods.requirements import pins
from moola.pods.run_naming import RunNaming
from moola.pods.secret_scan import Finding, key_file, scan_text

BUNDLES = "artifacts/runpod_bundles"
"""Folder of the layout with the bundles and their objects."""
ALLOWED_FILE = ".moolasecretsignore"
"""Findings that somebody looked at: one ``PATH`` or ``PATH:LINE`` a line, at the top of the project; # is a comment."""
_SOURCE = f"{OWN_FOLDER}/source"
_BIGGEST = 10
_SMALLER = "name it in .moolaignore, or raise the limit with --max-file-mb"
_FEWER = "leave some out with .moolaignore; `moola pod pack --dry-run --json` lists all"
_PROBED_BYTES = 8192
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class PackLimits:
    """How much may travel, and which findings may.

    Attributes:
        code_file_mb: largest file of the project; larger ones are data that nobody named, more often than code.
        data_file_mb: largest file that the configuration names.
        total_mb: of everything.
        files: how many.
        allowed: findings that may travel, ``PATH`` or ``PATH:LINE``, beside those of `ALLOWED_FILE`.
    """

    code_file_mb: float = 50.0
    data_file_mb: float = 20_000.0
    total_mb: float = 50_000.0
    files: int = 20_000
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = {
            "code_file_mb (--max-file-mb)": self.code_file_mb,
            "data_file_mb (--max-data-mb)": self.data_file_mb,
            "total_mb (--max-total-mb)": self.total_mb,
        }
        reject(
            *((value <= 0, f"{name}: {value:g} must be positive") for name, value in given.items()),
            (self.files < 1, f"files: {self.files} must be at least 1"),
        )


@dataclass(frozen=True)
class Packed:
    """A bundle and what there is to say about it.

    Attributes:
        bundle: what travels.
        left_out: path -> why it stays; a folder ends in ``/`` and stands for all in it.
        findings: what the scans found and somebody allowed.
        biggest: the largest files, the largest first; moola's own, where they travel beside the project, come last.
    """

    bundle: Bundle
    left_out: Mapping[str, str]
    findings: tuple[Finding, ...]
    biggest: tuple[BundledFile, ...]


@dataclass
class PackedSeries:
    """Runs of one project that all take the files along that the first of them was packed with.

    Attributes:
        tree: what of the project travels.
        moola: the folder to import moola from, and what of it travels beside the project.
        rooms: of the stages of the first run.
        files: by path and kind, as they were then; their contents are among the objects.
        findings: of the scans, by path.
    """

    tree: ProjectFiles | None = None
    moola: tuple[str, dict[str, Path]] | None = None
    rooms: Mapping[str, str] | None = None
    files: dict[tuple[str, Kind], BundledFile] = field(default_factory=dict[tuple[str, Kind], BundledFile])
    findings: dict[str, list[Finding]] = field(default_factory=dict[str, list[Finding]])


def pack(
    project: Path,
    overrides: Sequence[str],
    layout: Layout,
    *,
    limits: PackLimits,
    series: PackedSeries | None = None,
    run_id: str = "",
) -> Packed:
    """Make the bundle of a run and store it below ``artifacts/runpod_bundles``.

    Args:
        project: folder whose files travel, and in which the overrides mean what they mean.
        overrides: as for `moola run`.
        layout: of the project.
        limits: sizes, and findings that may travel.
        series: of the runs that take the same files along; None: it is alone.
        run_id: of a run that was named already; heeded from the second of a series on.

    Raises:
        ConfigError: every problem of the configuration.
        DataError: every file that must not or cannot travel: secrets, pickles that run code, links that lead out,
            submodules with changes, files over a limit; all in one go.
        StorageError: a file changed meanwhile, or cannot be read or written.
    """
    room = layout.room(BUNDLES)
    packed = _packed(project, overrides, layout, limits, room / OBJECTS, series, run_id)
    packed.bundle.write(room / packed.bundle.bundle_id)
    return packed


def plan(project: Path, overrides: Sequence[str], layout: Layout, *, limits: PackLimits) -> Packed:
    """What `pack` would store, and nothing is written."""
    return _packed(project, overrides, layout, limits, None)


def _packed(
    project: Path,
    overrides: Sequence[str],
    layout: Layout,
    limits: PackLimits,
    objects: Path | None,
    series: PackedSeries | None = None,
    run_id: str = "",
) -> Packed:
    """What travels; stored among the objects, where they are given, while the run is being named."""
    project = Path(os.path.abspath(project))
    layout = Layout(Path(os.path.abspath(layout.data)), Path(os.path.abspath(layout.artifacts)))
    series = series or PackedSeries()
    named = RunName(run_id, series.rooms) if run_id and series.rooms is not None else None
    with RunNaming(project, named) as naming:
        run = compose(words_of(overrides), project)
        naming.begin(run)
        problems = Problems()
        tree = series.tree = series.tree or list_project(project, layout, problems)
        outside = list_outside_files(run, project, layout, problems)
        words = outside.rewrite(run.words)
        there = run if words == run.words else compose(words, project)
        source, moola_files = series.moola = series.moola or moola_itself(project, tree)
        bundled, places = _digested(tree, outside, moola_files, limits, problems, series)
        scanned = {file.path: places[file.sha256] for file in bundled if file.kind != "run"}
        findings = _scan(scanned, {file.path for file in outside.files}, series)
        findings += scan_text("overrides", "\n".join(words))
        _refuse_findings(findings, _allowed(project, limits), problems)
        _refuse_idle(limits.allowed, findings, problems)
        _refuse_sizes(bundled, limits, problems)
        refuse("the bundle cannot be made", problems)
        facts = {
            "git": tree.git,
            "overrides": list(words),
            "config": there.text,
            "requirements": pins(Path(moola.__file__).parent),
            "rows": {file.path: file.rows for file in outside.files if file.rows is not None},
            "moola": {"version": moola.__version__, "path": source},
        }
        unnamed = Bundle.of(bundled, facts, None, places)
        bundle = (unnamed if objects is None else unnamed.stored(objects)).named(name := naming.name())
        series.rooms = name.rooms
    biggest = tuple(sorted(bundled, key=lambda file: (file.kind == "run", -file.size, file.path))[:_BIGGEST])
    return Packed(bundle, tree.left_out, tuple(sorted(findings, key=str)), biggest)


def moola_itself(project: Path, tree: ProjectFiles) -> tuple[str, dict[str, Path]]:
    """Moola on the pod, where it is the project as well as where it is not.

    Args:
        project: absolute.
        tree: what of it travels.

    Returns:
        The folder to import moola from, relative to the project, and path -> file of what travels beside the project.
    """
    package = Path(moola.__file__).resolve().parent
    if package.is_relative_to(project.resolve()):
        inside = package.parent.relative_to(project.resolve())
        if f"{inside / package.name / '__init__.py'}" in tree.files:
            return str(inside), {}
    parts = {"moola": package, "moola/configs": config_folder()}
    files = {
        f"{_SOURCE}/{name}/{path.relative_to(folder).as_posix()}": path
        for name, folder in parts.items()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return _SOURCE, files


def _digested(
    tree: ProjectFiles,
    outside: OutsideFiles,
    moola_files: Mapping[str, Path],
    limits: PackLimits,
    problems: Problems,
    series: PackedSeries,
) -> tuple[list[BundledFile], dict[str, Path]]:
    """Every file with its digest, and where each digest's content is. What is named as data is no code."""
    data = {file.path for file in outside.files}
    bundled = [BundledFile(file.path, file.sha256, file.size, False, "data") for file in outside.files]
    places = {file.sha256: file.source for file in outside.files}
    kinds: tuple[tuple[Kind, Mapping[str, Path]], ...] = (("code", tree.files), ("run", moola_files))
    for kind, files in kinds:
        for name, path in files.items():
            if name in data:
                continue
            if (known := series.files.get((name, kind))) is not None:
                bundled.append(known)
                places.setdefault(known.sha256, path)
                continue
            try:
                status = path.stat()
                if kind == "code" and status.st_size > limits.code_file_mb * 1e6:
                    problems.say(_too_large(name, status.st_size, limits.code_file_mb), _SMALLER)
                    continue
                file = BundledFile(name, digest_file(path), status.st_size, bool(status.st_mode & stat.S_IXUSR), kind)
            except OSError as error:
                problems.say(f"{path_in_words(name)} cannot be read: {error.strerror}", "mend its permissions")
                continue
            bundled.append(file)
            series.files[name, kind] = file
            places.setdefault(file.sha256, path)
    return bundled, places


def _too_large(name: str, size: int, limit_mb: float) -> str:
    return f"{path_in_words(name)} has {size / 1e6:,.1f} MB, more than {limit_mb:,g}"


def _scan(files: Mapping[str, Path], data: Iterable[str], series: PackedSeries) -> list[Finding]:
    """What must not travel unseen; files that take part as they were are known."""
    named = set(data)
    found: list[Finding] = []
    for name, path in sorted(files.items()):
        if name in named:
            found += _findings(name, path, is_data=True)
            continue
        if name not in series.findings:
            series.findings[name] = list(_findings(name, path, is_data=False))
        found += series.findings[name]
    return found


def _findings(name: str, path: Path, *, is_data: bool) -> Iterator[Finding]:
    """Of one file. Tables are not read for secrets: they hold numbers, and gigabytes of them."""
    by_name = key_file(name)
    if by_name is not None:
        yield by_name
    yield from scan_pickles(name, path)
    if not is_data:
        content = path.read_bytes()
        if b"\0" not in content[:_PROBED_BYTES]:
            yield from scan_text(name, content.decode("utf-8", "replace"))
    with path.open("rb") as handle:
        if handle.read(len(_LFS)) == _LFS:
            yield Finding(name, None, "a Git LFS pointer, not the file itself (`git lfs pull` brings it)")


def _allowed(project: Path, limits: PackLimits) -> set[str]:
    file = project / ALLOWED_FILE
    lines = file.read_text("utf-8", errors="surrogateescape").splitlines() if file.is_file() else []
    return {*limits.allowed, *(line.strip() for line in lines if not line.startswith("#") and line.strip())}


def _refuse_findings(findings: Sequence[Finding], allowed: set[str], problems: Problems) -> None:
    for finding in findings:
        if finding.path not in allowed and finding.place not in allowed:
            problems.say(
                f"{path_in_words(finding.place)}: {finding.rule}",
                f"take it out, name the file in .moolaignore, or, where it is harmless, name it in {ALLOWED_FILE} or "
                "with --allow PATH:LINE",
            )


def _refuse_idle(allowed: Sequence[str], findings: Sequence[Finding], problems: Problems) -> None:
    """What was allowed and is not there: with a typo in it, the next one would look for the finding elsewhere."""
    places = {place for finding in findings for place in (finding.path, finding.place)}
    for one in allowed:
        if one not in places:
            near = f"; {did_you_mean(one, places)}" if places else ""
            problems.say(f"--allow {path_in_words(one)}: nothing was found there{near}", "leave such an --allow out")


def _refuse_sizes(bundled: Sequence[BundledFile], limits: PackLimits, problems: Problems) -> None:
    for file in bundled:
        if file.kind == "data" and file.size > limits.data_file_mb * 1e6:
            problems.say(_too_large(file.path, file.size, limits.data_file_mb), "raise the limit with --max-data-mb")
    if len(bundled) > limits.files:
        problems.say(f"{len(bundled):,} files would travel, more than {limits.files:,}", _FEWER)
    total_mb = sum(file.size for file in bundled) / 1e6
    if total_mb > limits.total_mb:
        problems.say(f"{total_mb:,.1f} MB would travel, more than {limits.total_mb:,g}", _FEWER)
