"""``moola review``: look at doubtful labels in a browser and decide with one key."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.commands.layout import add_folders, layout_of
from moola.errors import EXIT_OK, DataError, StorageError

if TYPE_CHECKING:
    from moola.review.session import ReviewSession
    from moola.web.serving import PageServer

DEFAULT_PORT = 8731
_EPILOG = """\
RUN is a run id or a run folder; without one, the run with a review queue that was finished last. The address that is
printed holds a secret token: whoever has it may decide. Every decision is appended to the log before it is confirmed;
Ctrl-C ends the server.
`moola labels export` writes what the labels are now. For the key m (more windows like this one):
  moola encoders embed NAME --out vectors.npy --index --config-path artifacts/results/RUN
  moola review RUN --embeddings vectors.npy
"""


def main(words: Sequence[str]) -> int:
    """Serve until Ctrl-C."""
    arguments = _parser().parse_args(words)
    layout = layout_of(arguments)
    _check(arguments)
    from moola.labels.batch_files import BATCH_PLACE, find_batch
    from moola.labels.events import LOG_PLACE, LabelLog
    from moola.review.journal import Journal, check_writable
    from moola.review.material import open_material
    from moola.review.session import ReviewSession
    from moola.web.serving import EVERY_ADDRESS, LOOPBACK

    run = _run(arguments.run, layout.results, for_batch=arguments.batch is not None)
    batch = None if arguments.batch is None else find_batch(arguments.batch, layout.data / BATCH_PLACE)
    classes = tuple(name for name in arguments.classes.split(",") if name)
    material = open_material(run, layout, batch, classes, arguments.embeddings)
    path = arguments.log or layout.data / LOG_PLACE
    log = LabelLog(path)
    check_writable(log)
    journal = Journal(log, arguments.annotator, tell=_beware)
    session = ReviewSession(material, journal, arguments.blind)
    server = _server(session, arguments.host, arguments.port)
    before = journal.event_ids
    if journal.torn:
        print(f"note: {path} ended in half a line, left by a crash; everything before it is kept", file=sys.stderr)
    if arguments.host not in LOOPBACK:
        place = "every machine that reaches this one" if arguments.host in EVERY_ADDRESS else arguments.host
        _beware(f"the server can be reached from {place}, unencrypted: whoever sees the address below can decide")
    print(f"{len(material.queue):,} windows of {material.name}; decisions of {arguments.annotator} go to {path}")
    print(f"open {server.url}", flush=True)
    server.serve()
    session.refresh()
    print(f"\n{len(journal.event_ids - before)} new events in {path}, {len(journal.event_ids)} in all")
    return EXIT_OK


def _beware(words: str) -> None:
    print(f"beware: {words}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola review",
        description="Review labels in a browser: the most doubtful first, one key a decision.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", metavar="RUN")
    parser.add_argument("--annotator", metavar="NAME", default=_user(), help="who decides (default: %(default)s)")
    parser.add_argument(
        "--blind", type=float, default=0.0, metavar="SHARE", help="of the windows, shown without anybody's opinion"
    )
    parser.add_argument("--batch", metavar="NAME", help="label the windows of a batch (moola labels batch) instead")
    parser.add_argument("--classes", default="", metavar="A,B", help="labels to choose from, besides those of the run")
    parser.add_argument(
        "--embeddings",
        type=Path,
        metavar="FILE.npy",
        help="of all windows of the run (moola encoders embed --index): the key m finds more like one among them",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="default: in data/corrections/review_corrections")
    parser.add_argument("--port", type=int, help=f"default: {DEFAULT_PORT}, or a free one")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    add_folders(parser)
    return parser


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "reviewer"


def _check(arguments: argparse.Namespace) -> None:
    from moola.config import reject

    reject(
        (not 0 <= arguments.blind <= 1, f"--blind: {arguments.blind} must lie between 0 and 1"),
        (not arguments.annotator.strip(), "--annotator: give a name"),
        (
            arguments.port is not None and not 0 <= arguments.port < 65536,
            f"--port: {arguments.port} must lie between 0 and 65535",
        ),
    )


def _run(word: str | None, results: Path, *, for_batch: bool = False) -> Path:
    """The run of this name; without one the newest, for a review of labels the newest that has a queue."""
    from moola.pipelines.results import find_runs

    if word is None:
        return _newest(results, for_batch=for_batch)
    found = find_runs([word], results)
    if len(found) != 1:
        raise DataError(f"{word} is {len(found)} runs", "", "name one of them")
    return found[0]


def _newest(results: Path, *, for_batch: bool) -> Path:
    from moola.labels.queue import QUEUE_FILE
    from moola.pipelines.run_artifacts import newest_run

    newest = newest_run(results)
    if for_batch:
        return newest
    try:
        found = newest_run(results, QUEUE_FILE)
    except StorageError:
        print(f"note: no finished run has a review queue; this is {newest.name}, finished last", file=sys.stderr)
        return newest
    if found != newest:
        print(f"note: {newest.name}, finished last, has no review queue; this is {found.name}", file=sys.stderr)
    return found


def _server(session: ReviewSession, host: str, port: int | None) -> PageServer:
    from moola.review.app import create_app
    from moola.web.serving import PageServer, open_server

    def tell(free: int) -> None:
        print(
            f"note: port {DEFAULT_PORT} is taken, by another moola review perhaps, so this is {free}: what a browser "
            f"kept for a review on {DEFAULT_PORT} is sent when the review is opened there again",
            file=sys.stderr,
        )

    app = create_app(session)
    return open_server(lambda number: PageServer(app, "review", host, number), port, DEFAULT_PORT, tell)
