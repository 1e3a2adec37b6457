"""``moola runs``: every run there is, filtered and sorted by any figure or key."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence

from moola.commands.layout import add_artifacts, artifacts_of
from moola.errors import EXIT_OK

_LINES = 30
_EPILOG = """\
KEY is a field (name, status, seconds, started, cost, alarms, ...), a key of the configuration (encoder.hidden), or a
figure: finetuned/test/balanced_accuracy, without a model that of the model which each run chose, the best out of fold
that is no baseline or control, without a split out of fold, where balanced accuracy is on the labels as given, as in
`moola compare`. Figures come with their intervals.
  moola runs 'market-*' --where 'encoder.hidden>=64' --where status=finished --sort headline
  moola runs --columns +encoder.hidden,test/macro_f1 --csv > runs.csv
A status is running, finished, failed, interrupted, stopped (its process is gone without a word), broken (its files are
not what a run leaves) or foreign (no run made the folder). What was read is kept in artifacts/metadata/runs-1.sqlite,
which may be deleted at any time.
"""


def main(words: Sequence[str]) -> int:
    """Print the runs that are asked for."""
    arguments = _parser().parse_args(words)
    from moola.config import reject

    limit: int | None = arguments.limit
    reject((limit is not None and limit < 0, f"--limit: {limit} must not be negative; 0 shows all"))
    from moola.dashboard.run_index import open_index
    from moola.dashboard.run_keys import known_keys
    from moola.dashboard.run_listing import DEFAULT_COLUMNS, run_csv, run_json, run_table
    from moola.dashboard.run_query import RunQuery, query_runs
    from moola.dashboard.sweep_folder import runs_of_sweep
    from moola.pipelines.sweep_record import find_sweep

    artifacts = artifacts_of(arguments)
    index = open_index(artifacts, _tell)
    if arguments.keys:
        keys = known_keys(index)
        lines = [f"{kind:9}{key}" for kind, names in keys.items() for key in names]
        print(json.dumps(keys, indent=2, ensure_ascii=False) if arguments.json else "\n".join(lines))
        return EXIT_OK
    added = [key for key in (arguments.columns or "").removeprefix("+").split(",") if key]
    first = DEFAULT_COLUMNS if not added or arguments.columns.startswith("+") else ()
    used = [arguments.sort] if arguments.sort not in ("started", "name") else []
    columns = tuple(key for key in dict.fromkeys((*first, *added, *used)) if key != "name")  # it is always the first
    only = None if arguments.sweep is None else runs_of_sweep(find_sweep(arguments.sweep, artifacts / "results"))
    query = RunQuery(arguments.names, arguments.where, arguments.sort, arguments.reverse, columns, only)
    runs = query_runs(index, query)
    for warning in runs.warnings:
        print(f"beware: {warning}", file=sys.stderr)
    on_terminal = sys.stdout.isatty()
    shown = limit if limit is not None else _LINES if on_terminal else 0
    if arguments.json or arguments.csv:
        kept = type(runs)(runs.entries[: limit or None], runs.columns)
        print((run_json if arguments.json else run_csv)(kept).rstrip("\n"))
    elif runs.entries:
        print(run_table(runs, shutil.get_terminal_size().columns if on_terminal else None, [*added, *used], shown))
    elif index.entries:
        print("\n".join([f"none of {len(index.entries):,} runs is like that", *runs.hints]))
    else:
        print(f"there are no runs in {index.results} yet: make one with `moola run`, or name --artifacts FOLDER")
    return EXIT_OK


def _tell(number: int) -> None:
    print(f"reading {number:,} run folders, which is done once ...", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola runs",
        description="List runs with the headline figure of the model that each of them chose, the latest first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="run id, experiment, or a pattern: 'market-*'")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="KEY and one of = != < <= > >= ~ (holds the word) and a value; may be given more than once",
    )
    parser.add_argument("--sort", default="started", metavar="KEY", help="default: started; figures: the best first")
    parser.add_argument("--reverse", action="store_true", help="the other end first")
    parser.add_argument("--columns", metavar="KEYS", help="parted by commas; +KEYS come beside the usual ones")
    parser.add_argument("--limit", type=int, metavar="N", help=f"default: {_LINES} on a terminal, else all (0)")
    parser.add_argument("--sweep", metavar="SWEEP", help="runs of one sweep: its id, first letters, or folder")
    parser.add_argument("--keys", action="store_true", help="list every key there is")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    add_artifacts(parser)
    return parser
