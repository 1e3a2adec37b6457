"""``moola labels import``: decisions from a file of another tool, or from another log."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.label_commands.options import (
    add_annotator,
    add_classes,
    add_log,
    annotator_of,
    classes_of,
    log_of,
    run_of,
)
from moola.errors import EXIT_OK

if TYPE_CHECKING:
    from moola.labels.events import LabelEvent
    from moola.pipelines.dataset import Dataset

_FORMATS = ("corrections", "blacklist", "events", "cleanlab", "label_studio", "candlesticks")
_EPILOG = """\
corrections   CSV: window_id, corrected_label, and perhaps corrected_start, corrected_end, skip, annotator, note
blacklist     CSV: window_id, and perhaps raw_start_idx, raw_end_idx, reason, blacklisted_date, first_time, last_time,
              series
events        another log of decisions, merged event by event
cleanlab      CSV of label issues: notes, since no person decided anything
label_studio  JSON export of a Label Studio project
candlesticks  JSON of an annotation batch
What was imported before changes nothing when its file, grown or copied, is imported again: later decisions hold. With
--run, events say which bars they are about, also those that were imported without it: a decision is then not put on
other bars of the same name, and a blacklisted window stands for its span of time whatever the stride. Windows that the
run does not have, labels that are none of its classes and marks outside its zone are refused. The zone in which a batch
may mark spans is that of its file, else that of the run, else bars 30 to 74.
"""


def main(words: Sequence[str]) -> int:
    """Append the events of a file that the log does not have yet."""
    parser = argparse.ArgumentParser(
        prog="moola labels import",
        description="Take decisions over from a file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--as", dest="kind", choices=_FORMATS, help="what the file is; default: what it looks like")
    parser.add_argument("--run", metavar="RUN", help="the run whose windows the file speaks of")
    add_classes(parser)
    add_annotator(parser)
    add_log(parser)
    arguments = parser.parse_args(words)
    from moola.config import reject
    from moola.labels.events import LabelLog
    from moola.labels.exchange.batch_json import ALSO_MARKED
    from moola.labels.imports import completing, located, read_decisions, recognise

    new = classes_of(arguments)
    reject((bool(new) and arguments.run is None, "--classes: are new ones beside those of --run RUN"))
    kind = arguments.kind or recognise(arguments.file)
    data = _data(arguments)
    store, zone = (data.store, data.windows.zone) if data else (None, None)
    events = read_decisions(arguments.file, kind, annotator_of(arguments), store, zone)
    if data is not None and kind != "events":  # those of a log say themselves what they are about
        given = dict(data.table.drop_nulls("true_label").select("window_id", "true_label").iter_rows())
        given |= dict(data.labels.select("window_id", "label").iter_rows())
        events = located(events, data.store, data.windows, data.table, given)
    if data is not None:
        _check(events, data, new, arguments, shared=kind == "events")
    log = LabelLog(log_of(arguments))
    before = log.read().events
    written = events if kind == "events" else completing(events, before)
    log.append(*written)
    known = {event.event_id for event in before}
    fresh = [event for event in events if event.event_id not in known]
    kinds = ", ".join(f"{n} {name}" for name, n in sorted(Counter(event.decision for event in fresh).items()))
    print(f"{kind}: {len(events)} events, {len(events) - len(fresh)} of them in the log already")
    print(f"new: {kinds or 'none'}")
    if len(written) > len(events):
        print(f"{len(written) - len(events)} of those in the log say now which bars they are about")
    several = [event.window_id for event in events if ALSO_MARKED in event.note]
    if several:
        named = ", ".join(several[:5]) + (", ..." if len(several) > 5 else "")
        print(
            f"note: of several spans in a window the first of the best grade counts, a note names the others: {named}",
            file=sys.stderr,
        )
    print(log.path)
    return EXIT_OK


def _check(
    events: Sequence[LabelEvent], data: Dataset, new: Sequence[str], arguments: argparse.Namespace, *, shared: bool
) -> None:
    from moola.labels.decision_checks import RunWindows

    classes = (*data.classes, *new) if data.classes else ()  # where nothing is labelled yet there may be any
    run = RunWindows(data.table["window_id"], data.store.series, classes, data.windows.zone)
    run.check(f"the decisions in {arguments.file} do not fit {arguments.run}", events, shared=shared)


def _data(arguments: argparse.Namespace) -> Dataset | None:
    """Windows and labels of the run that is named."""
    folder = run_of(arguments)
    if folder is None:
        return None
    from moola.pipelines.dataset import Dataset
    from moola.pipelines.run_artifacts import open_artifacts

    return Dataset.open(open_artifacts(folder))
