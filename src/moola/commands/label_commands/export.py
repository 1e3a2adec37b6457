"""``moola labels export``: the labels as they are now, as a numbered version."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from moola.commands.label_commands.options import add_classes, add_log, classes_of, log_of, must_exist, run_of
from moola.commands.layout import layout_of
from moola.errors import EXIT_OK, did_you_mean

_EPILOG = """\
With RUN (a run id or folder): all labels of that run, its training windows as people corrected them; train on them with
  moola run task=label_file task.path=data/processed/labeled/v001/labels.parquet
Without: only the windows that people decided about. The version holds the log too, so that it corrects another task:
  moola run task.corrections=data/processed/labeled/v001
A decision for a label that is no class of the run does nothing, and is told; --classes allows new ones.
data/corrections/window_blacklist.csv is brought up to date. The last line on stdout is the folder of the version.
"""


def main(words: Sequence[str]) -> int:
    """Write the next version."""
    parser = argparse.ArgumentParser(
        prog="moola labels export",
        description="Write the labels as the next version; no earlier one is touched.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run whose labels were reviewed")
    add_classes(parser)
    add_log(parser)
    arguments = parser.parse_args(words)
    from moola.pipelines.label_export import export_labels

    log = log_of(arguments)
    if arguments.log is not None:
        must_exist(log)  # one that is not named may be missing: then nobody has decided anything yet
    done = export_labels(layout_of(arguments), log, run_of(arguments), classes_of(arguments))
    for label, windows in done.unknown.items():
        named = ", ".join(windows[:5]) + (", ..." if len(windows) > 5 else "")
        print(
            f"note: '{label}' is no class of the run and was left out ({named}); {did_you_mean(label, done.classes)}; "
            f"`moola labels undo` takes it back, --classes {label} allows it",
            file=sys.stderr,
        )
    if done.torn:
        print(f"note: {log} ends in the rest of a decision that a crash cut off: {done.torn[:80]}", file=sys.stderr)
    if done.unlisted:
        named = ", ".join(done.unlisted[:5])
        print(
            f"note: window_blacklist.csv was left as it is: it has {len(done.unlisted)} windows that the log does not "
            f"know ({named}); `moola labels import` takes them over",
            file=sys.stderr,
        )
    if done.counts is not None:
        print(done.counts.sentence())
    labels = ", ".join(f"{n} {name}" for name, n in done.version.manifest["labels"].items())
    print(f"{done.version.manifest['windows']} labels: {labels}")
    print(done.version.folder)
    return EXIT_OK
