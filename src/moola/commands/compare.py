"""``moola compare``: two runs on the same windows, or many runs in one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.layout import add_artifacts
from moola.errors import EXIT_OK, DataError, StorageError

if TYPE_CHECKING:
    from moola.pipelines.results import FinishedRun

_EPILOG = """\
A RUN is a run id, a run folder (of another artifacts folder, or pulled from elsewhere), or a folder of run folders.
Two runs: what differs in their configurations, both verdicts, and every model of A minus the same of B on the same
windows, on a page whose path is the last line. Otherwise: one figure of each run, the best first.
"""


def main(words: Sequence[str]) -> int:
    """Compare the runs that are named."""
    arguments = _parser().parse_args(words)
    from moola.pipelines.results import find_runs, open_runs

    results = arguments.artifacts.absolute() / "results"
    runs, broken = open_runs(find_runs(arguments.runs, results))
    for error in broken:
        print(f"moola: left out: {error.what}" + (f" ({error.why})" if error.why else ""), file=sys.stderr)
    if not runs:
        raise DataError("none of the runs can be compared", "\n".join(f"- {error.what}" for error in broken))
    if len(runs) == 2 and arguments.model is None and arguments.split is None and arguments.csv is None:
        return _pair(runs[0], runs[1], arguments, results)
    return _table(runs, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola compare",
        description="Compare finished runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--metric", default="balanced_accuracy", help="default: balanced_accuracy")
    parser.add_argument("--model", help="whose figure, in a table; default: what each run would choose out of fold")
    parser.add_argument("--split", choices=("test", "oof"), help="of a table; default: test, where a run has one")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table too")
    add_artifacts(parser)
    return parser


def _pair(a: FinishedRun, b: FinishedRun, arguments: argparse.Namespace, results: Path) -> int:
    from moola.layout import write_text
    from moola.pipelines.run_pair import compare_runs
    from moola.pipelines.run_pair_page import pair_json, pair_text, render_pair

    page = results / f"compare-{_plain_name(a)}-{_plain_name(b)}" / "compare.html"
    pair = compare_runs(a, b, arguments.metric)
    write_text(page, render_pair(pair))
    if arguments.json:
        print(json.dumps({**pair_json(pair), "page": str(page)}, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(pair_text(pair))
        print(f"\nopen {page}")
        print(page)
    return EXIT_OK


def _plain_name(run: FinishedRun) -> str:
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


def _table(runs: list[FinishedRun], arguments: argparse.Namespace) -> int:
    from moola.layout import replace_atomically
    from moola.pipelines.run_table import tabulate_runs

    table = tabulate_runs(runs, arguments.metric, arguments.model, arguments.split)
    for why in table.skipped:
        print(f"moola: left out: {why}", file=sys.stderr)
    for warning in table.warnings:
        print(f"beware: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(table.frame().to_dicts(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(table.text())
    if arguments.csv is not None:
        with replace_atomically(arguments.csv) as handle:
            table.frame().write_csv(handle)
        print(arguments.csv, file=sys.stderr if arguments.json else sys.stdout)
    return EXIT_OK
