"""``moola compare``: two runs on the same windows, or many runs in one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.layout import add_artifacts, check_folder_of
from moola.commands.pages import plain_name, write_page
from moola.errors import EXIT_OK, ConfigError, DataError, MoolaError, StorageError

if TYPE_CHECKING:
    import polars as pl

    from moola.pipelines.results import FinishedRun

_EPILOG = """\
A RUN is a run id, a run folder (of another artifacts folder, or pulled from elsewhere), or a folder of run folders.
Two runs: what differs in their configurations, both verdicts, and every model of A minus the same of B on the same
windows, on a page whose path is the last line. Otherwise: one figure of each run, the best first.
"""


def main(words: Sequence[str]) -> int:
    """Compare the runs that are named."""
    arguments = _parser().parse_args(words)
    check_folder_of("--csv", arguments.csv)
    from moola.pipelines.results import find_runs, open_runs

    results = arguments.artifacts.absolute() / "results"
    folders = find_runs(arguments.runs, results)
    if len(folders) == 1 < len(arguments.runs):
        raise DataError(
            f"these are {len(arguments.runs)} names of one run", str(folders[0]), "name another run beside it"
        )
    runs, broken = open_runs(folders)
    if broken and (not runs or len(folders) == len(arguments.runs) == 2):
        raise _all_of(broken)
    for error in broken:
        print(f"moola: left out: {error.what}" + (f" ({error.why})" if error.why else ""), file=sys.stderr)
    if len(runs) == 2 and arguments.model is None and arguments.split is None:
        return _pair(runs[0], runs[1], arguments, results)
    if arguments.page is not None:
        raise ConfigError(["--page: a page is made of two runs, without --model and --split"])
    return _table(runs, arguments)


def _all_of(broken: Sequence[MoolaError]) -> MoolaError:
    """One error of all."""
    if len(broken) == 1:
        return broken[0]
    return StorageError("none of the runs can be compared", "\n".join(f"- {error.what}" for error in broken))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola compare",
        description="Compare finished runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--metric", default="balanced_accuracy", help="default: balanced_accuracy")
    parser.add_argument(
        "--model", help="whose figure, in a table; default: of the best out of fold but baselines and controls"
    )
    parser.add_argument("--split", choices=("test", "oof"), help="of a table; default: test, where a run has one")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table, or the paired differences of two runs, too"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="of two runs; default: a folder beside the runs")
    add_artifacts(parser)
    return parser


def _pair(a: FinishedRun, b: FinishedRun, arguments: argparse.Namespace, results: Path) -> int:
    from moola.pipelines.run_pair import compare_runs
    from moola.pipelines.run_pair_page import pair_frame, pair_json, pair_text, render_pair

    if a.run_id == b.run_id:
        print(f"beware: both folders hold the same run, {a.run_id}", file=sys.stderr)
    page = arguments.page or results / f"compare-{plain_name(a)}-{plain_name(b)}" / "compare.html"
    pair = compare_runs(a, b, arguments.metric)
    if arguments.json:
        print(json.dumps({**pair_json(pair), "page": str(page)}, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(f"{pair_text(pair)}\n")
    if arguments.csv is not None:
        _write_csv(pair_frame(pair), arguments)
    write_page(page, render_pair(pair))
    if not arguments.json:
        print(f"open {page}\n{page}")
    return EXIT_OK


def _write_csv(table: pl.DataFrame, arguments: argparse.Namespace) -> None:
    from moola.layout import replace_atomically

    with replace_atomically(arguments.csv) as handle:
        table.write_csv(handle)
    print(arguments.csv, file=sys.stderr if arguments.json else sys.stdout)


def _table(runs: list[FinishedRun], arguments: argparse.Namespace) -> int:
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
        _write_csv(table.frame(), arguments)
    return EXIT_OK
