"""``moola labels issues``: which labels are doubtful, in the order in which to look at them."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.commands.encoder_lines import table_lines
from moola.commands.label_commands.named_run import named_run
from moola.commands.layout import add_artifacts
from moola.config import reject
from moola.errors import EXIT_OK, StorageError

if TYPE_CHECKING:
    import polars as pl

_LAYOUTS = ("cleanlab", "label_studio")
_FILES = ("label_issues.csv", "review_queue.csv", "consensus.json")
_HEAD = ("rank", "priority", "window", "given", "predicted", "quality", "agreement", "reason")
_EPILOG = """\
RUN is a run id or a run folder; without one, the run with a queue that was finished last. Overrides instead of it make
the run as far as it takes, and reuse what is finished:
  moola labels issues seeds=[0] stage.label_issues.log=data/corrections/review_corrections/events.jsonl
Priority 3: people differ, the same window has two labels, or two thirds of models and seeds are against the label.
2: an issue that fewer stand by, or pointers that cannot be right. 1: an outlier. 0: nothing speaks against the label.
The last line on stdout is the run folder; label_issues.csv, review_queue.csv and consensus.json are in it.
"""


def main(words: Sequence[str]) -> int:
    """Show the head of the review queue of a finished run, or of the run that overrides describe."""
    arguments, others = _parser().parse_known_args(list(words))
    reject(
        (arguments.head < 0, f"--head: {arguments.head} must not be negative"),
        (arguments.first is not None and arguments.first < 1, f"--first: {arguments.first} must be at least 1"),
        (arguments.first is not None and arguments.to is None, "--first: says how many windows --to writes"),
    )
    folder = named_run(others, arguments.artifacts, "labels issues", "label_issues", _FILES[1])
    if folder is None:  # --cfg: Hydra has answered
        return EXIT_OK
    files = _files(folder)
    from moola.labels.queue import read_queue
    from moola.layout import read_json

    queue, told = read_queue(files["review_queue.csv"]), read_json(files["consensus.json"])
    if arguments.to is not None:
        from moola.pipelines.exported_issues import export_issues

        n = export_issues(folder, arguments.to, arguments.layout, arguments.first)
        print(f"{n} windows: {arguments.to}", file=sys.stderr)
    if arguments.json:
        places = {name: str(path) for name, path in files.items()}
        rows = queue.head(arguments.head).to_dicts()
        print(json.dumps({"run": str(folder), **told, "files": places, "queue": rows}, indent=2, ensure_ascii=False))
    else:
        print("\n".join([*_queue_lines(queue.head(arguments.head)), "", *_summary_lines(told), ""]))
        print(folder)
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola labels issues",
        usage="moola labels issues [RUN | KEY=VALUE ...] [OPTION ...]",
        description="Doubtful labels, in the order in which to look at them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--head", type=int, default=20, metavar="N", help="windows to show (default 20)")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write the queue for another tool")
    parser.add_argument(
        "--as", dest="layout", choices=_LAYOUTS, default="cleanlab", help="its layout: default cleanlab"
    )
    parser.add_argument("--first", type=int, metavar="N", help="windows that --to writes (default: all)")
    add_artifacts(parser)
    return parser


def _files(folder: Path) -> dict[str, Path]:
    """What the stage publishes.

    Raises:
        StorageError: the run has no such files.
    """
    files = {name: folder / name for name in _FILES}
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise StorageError(
            f"{folder} does not say which labels are doubtful",
            f"it has no {', '.join(missing)}: the stage label_issues was left out, or an older moola made the run",
            f"moola labels issues --config-path {shlex.quote(str(folder))}",
        )
    return files


def _queue_lines(queue: pl.DataFrame) -> list[str]:
    rows = [
        [
            str(row["rank"]),
            str(row["priority"]),
            row["window_id"],
            row["given_label"],
            row["pred_label"],
            f"{row['label_quality']:.3f}",
            f"{row['agreement']:.0%}",
            row["reason"] or "-",
        ]
        for row in queue.iter_rows(named=True)
    ]
    return table_lines([_HEAD, *rows])


def _summary_lines(told: Mapping[str, Any]) -> list[str]:
    """How many labels are flagged, with the interval; and who judged them."""
    low, high = told["flagged_interval"]
    interval = "not known" if low is None or high is None else f"{low:.0f} to {high:.0f}"
    priorities = ", ".join(f"{n} of priority {level}" for level, n in told["priorities"].items())
    judges = ", ".join(f"{name} {weight:.0%}" for name, weight in told["models"].items())
    return [
        f"{told['flagged']} of {told['judged']} labels are flagged (95 % interval {interval}); {priorities}",
        f"judged by {judges}",
    ]
