"""``moola labels report``: what a review changed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.label_commands.options import add_log, log_of, read_log
from moola.commands.layout import layout_of
from moola.commands.pages import plain_name, write_page
from moola.errors import EXIT_OK, ConfigError, DataError

if TYPE_CHECKING:
    from moola.pipelines.results import FinishedRun
    from moola.pipelines.review_report import ReviewReport

PAGE = "review-report.html"
_EPILOG = """\
BEFORE and AFTER are run ids or run folders; AFTER was trained on the decisions:
  moola run task.corrections=data/processed/labeled/v001    # and the overrides of the run before
Both are judged on the same test windows, which no correction touches, and their figures are compared window by window.
The decisions are read from what AFTER was corrected by. Without runs: what the log alone tells.
The last line on stdout is the page; a JSON file lies beside it.
"""


def main(words: Sequence[str]) -> int:
    """Write the page."""
    arguments = _parser().parse_args(words)
    if (arguments.before is None) != (arguments.after is None):
        raise ConfigError(["AFTER: is missing"], "moola labels report BEFORE AFTER, or no run at all")
    from moola.layout import write_json
    from moola.pipelines.review_report import report_json
    from moola.pipelines.review_report_page import render_review, review_text

    report, folder = _report(arguments)
    page = arguments.page or layout_of(arguments).results / folder / PAGE
    told = {**report_json(report), "page": str(page)}
    if arguments.json:
        print(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(f"{review_text(report)}\n")
    write_page(page, render_review(report))
    write_json(page.with_suffix(".json"), told)
    if not arguments.json:
        print(f"open {page}\n{page}")
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola labels report",
        usage="moola labels report [BEFORE AFTER] [OPTION ...]",
        description="What a review changed: labels, time, agreement, and figures before and after on the same windows.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", nargs="?", metavar="BEFORE", help="a run on the labels from before the review")
    parser.add_argument("after", nargs="?", metavar="AFTER", help="a run on the labels after it")
    parser.add_argument("--metric", default="balanced_accuracy", help="default: balanced_accuracy")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    parser.add_argument("--page", type=Path, metavar="FILE", help="default: a folder beside the runs")
    add_log(parser)
    return parser


def _report(arguments: argparse.Namespace) -> tuple[ReviewReport, str]:
    """The report, and the folder that is its own."""
    from moola.pipelines.review_report import report_log, report_runs

    if arguments.before is None:
        log = log_of(arguments)
        read_log(log)
        return report_log(log), "labels-review"
    before, after = _runs(arguments)
    report = report_runs(before, after, arguments.log, arguments.metric)
    return report, f"labels-{plain_name(before)}-{plain_name(after)}"


def _runs(arguments: argparse.Namespace) -> tuple[FinishedRun, FinishedRun]:
    from moola.pipelines.results import find_runs, open_run

    results, words = layout_of(arguments).results, (arguments.before, arguments.after)
    find_runs(words, results)  # both unknown names in one go
    folders = [find_runs([word], results) for word in words]
    for word, found in zip(words, folders, strict=True):
        if len(found) != 1:
            raise DataError(f"{word} is {len(found)} runs", "", "name one of them")
    return open_run(folders[0][0]), open_run(folders[1][0])
