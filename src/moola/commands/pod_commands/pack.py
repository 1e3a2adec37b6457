"""``moola pod pack``: what would travel to a pod, and storing it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.commands.pod_commands.pod_options import add_gpu_options, given_keys
from moola.commands.pod_commands.pod_parser import PodParser, number
from moola.errors import EXIT_OK

if TYPE_CHECKING:
    from moola.pods.bundle import Bundle, BundledFile
    from moola.pods.packing import Packed, PackLimits

_DESCRIPTION = """\
Pack this folder and the data that a run names: HEAD with its changes, new files that git does not ignore, and what the
configuration reads. KEY=VALUE words are those of `moola run`. Keys, passwords and pickles that run code are refused."""
_EPILOG = """\
.moolaignore           files that git keeps and a pod does not need; rules as in .gitignore
.moolasecretsignore    findings that are harmless: PATH or PATH:LINE, one a line
The last line on stdout is the folder of the bundle (with --dry-run its id).
"""
_SHOWN = 20
_MB = 1e6
_UPLINK_MBIT = 20.0


def main(words: Sequence[str]) -> int:
    """Pack, or say what would be packed."""
    parser = PodParser(
        prog="moola pod pack",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as of `moola run`, or pod.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="say what would travel and cost, and write nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object: every file, every fact")
    parser.add_argument(
        "--uplink-mbit", type=number, default=_UPLINK_MBIT, metavar="N", help="of your line, for the estimate (20)"
    )
    add_gpu_options(parser)
    add_limits(parser)
    arguments, others = parser.parse_known_args(words)
    strange = [word for word in others if word.startswith("-") and word.partition("=")[0] != "--force"]
    if strange:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    from moola.config import reject
    from moola.pods.composed_run import compose, layout_of, words_of
    from moola.pods.estimating import estimate_now
    from moola.pods.packing import BUNDLES, pack, plan
    from moola.pods.settings import load_settings, split_words

    reject((arguments.uplink_mbit <= 0, f"--uplink-mbit: {arguments.uplink_mbit:g} must be positive"))
    of_pod, overrides = split_words([*arguments.overrides, *others])
    settings = load_settings(of_pod, given_keys(arguments))
    project = Path.cwd()
    layout = layout_of(compose(words_of(overrides), project), project)
    work = plan if arguments.dry_run else pack
    packed = work(project, overrides, layout, limits=limits_of(arguments))
    folder = None if arguments.dry_run else layout.room(BUNDLES) / packed.bundle.bundle_id
    seconds = sum(file.size for file in packed.bundle.files) * 8 / (arguments.uplink_mbit * 1e6)
    estimate, told = estimate_now(settings) if arguments.dry_run else (None, "")
    if arguments.json:
        plan_of = _as_json(packed, folder, seconds) | {"estimate": estimate and estimate.plain}
        print(json.dumps(plan_of, allow_nan=False))
        return EXIT_OK
    for line in _told(packed):
        print(line)
    print(f"\nfirst push at {arguments.uplink_mbit:g} Mbit/s: {_duration(seconds)}; later ones send what changed")
    if told:
        print(told)
    print(folder or packed.bundle.bundle_id)
    return EXIT_OK


def add_limits(parser: argparse.ArgumentParser) -> None:
    """The options that say how much and what may travel."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PATH[:LINE]",
        help="a finding of the scans that is harmless; may be repeated",
    )
    parser.add_argument("--max-file-mb", type=number, metavar="N", help="largest file of the project (50)")
    parser.add_argument("--max-data-mb", type=number, metavar="N", help="largest file of data (20,000)")
    parser.add_argument("--max-total-mb", type=number, metavar="N", help="of everything (50,000)")


def limits_of(arguments: argparse.Namespace) -> PackLimits:
    """The limits that the options name.

    Raises:
        ConfigError: one is not positive.
    """
    from moola.pods.packing import PackLimits

    sizes = {
        "code_file_mb": arguments.max_file_mb,
        "data_file_mb": arguments.max_data_mb,
        "total_mb": arguments.max_total_mb,
    }
    given = {name: size for name, size in sizes.items() if size is not None}
    return PackLimits(**given, allowed=tuple(arguments.allow))


def _as_json(packed: Packed, folder: Path | None, seconds: float) -> dict[str, Any]:
    bundle = packed.bundle
    return {
        "bundle_id": bundle.bundle_id,
        "folder": folder and str(folder),
        "files": [asdict(file) for file in bundle.files],
        "bytes": sum(file.size for file in bundle.files),
        "facts": bundle.facts,
        "left_out": packed.left_out,
        "allowed_findings": [asdict(finding) for finding in packed.findings],
        "first_push_s": round(seconds, 1),
    }


def _told(packed: Packed) -> Iterator[str]:
    """All of it in lines."""
    from moola.pods.bundle import path_in_words

    bundle, facts = packed.bundle, packed.bundle.facts
    yield f"bundle {bundle.bundle_id} of run {facts['run_id']}, {_origin(facts['git'])}"
    yield f"on the pod: {shlex.join(['moola', 'run', *facts['overrides']])}"
    yield ""
    yield from _tree(bundle)
    yield "\nbiggest"
    yield from (f"{_size(file.size)}  {path_in_words(file.path)}" for file in packed.biggest)
    data = [file for file in bundle.files if file.kind == "data"]
    if data:
        yield "\ndata"
        yield from (_data_line(file, facts["rows"].get(file.path)) for file in data)
    stays = [f"{path_in_words(path)}  ({why})" for path, why in sorted(packed.left_out.items())]
    yield from _some("left out", stays)
    yield from _some("findings that were allowed", [f"{path_in_words(f.place)}  ({f.rule})" for f in packed.findings])


def _origin(git: dict[str, Any] | None) -> str:
    if git is None:
        return "no git repository"
    commit = git["commit"][:12] if git["commit"] else "before the first commit"
    return f"{commit}{' with changes' if git['dirty'] else ''}" + (f" on {git['branch']}" if git["branch"] else "")


def _tree(bundle: Bundle) -> Iterator[str]:
    """Folders at the top, with what they hold."""
    from moola.pods.bundle import path_in_words

    tops: dict[str, list[BundledFile]] = defaultdict(list)
    for file in bundle.files:
        top, below, _ = file.path.partition("/")
        tops[f"{top}/" if below else "(top)"].append(file)
    yield from (_count(files, path_in_words(top)) for top, files in sorted(tops.items()))
    yield _count(bundle.files, "in all")


def _count(files: Sequence[BundledFile], name: str) -> str:
    return f"{_size(sum(file.size for file in files))}  {len(files):7,} files  {name}"


def _data_line(file: BundledFile, rows: int | None) -> str:
    from moola.pods.bundle import path_in_words

    counted = "" if rows is None else f"  {rows:,} rows"
    return f"{_size(file.size)}  {path_in_words(file.path)}{counted}  sha256 {file.sha256[:12]}"


def _some(title: str, lines: Sequence[str]) -> Iterable[str]:
    """A title and the first lines, if there are any."""
    if not lines:
        return []
    more = [f"  and {len(lines) - _SHOWN:,} more: --json names all"] if len(lines) > _SHOWN else []
    return [f"\n{title}", *(f"  {line}" for line in lines[:_SHOWN]), *more]


def _size(n_bytes: int) -> str:
    return f"{n_bytes / _MB:10,.3f} MB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
