"""``moola labels diff``: what differs between two versions, or between two logs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from moola.commands.encoder_lines import table_lines
from moola.commands.layout import add_folders, layout_of
from moola.errors import EXIT_OK, ConfigError

_SHOWN = 20


def main(words: Sequence[str]) -> int:
    """Print how many labels changed from what to what, and the windows."""
    parser = argparse.ArgumentParser(
        prog="moola labels diff",
        description="Compare two exported versions (v001, or a folder), or two logs of decisions (.jsonl).",
    )
    parser.add_argument("before", metavar="A")
    parser.add_argument("after", metavar="B")
    parser.add_argument("--json", action="store_true", help="print JSON, with every window, and nothing else on stdout")
    add_folders(parser)
    arguments = parser.parse_args(words)
    are_logs = [word.endswith(".jsonl") for word in (arguments.before, arguments.after)]
    if are_logs[0] != are_logs[1]:
        raise ConfigError(["A, B: one is a log and the other a version"], "a version holds its log as events.jsonl")
    from moola.labels.versions import diff_labels

    room = layout_of(arguments).data
    words = (arguments.before, arguments.after)
    (before, why_before), (after, why_after) = (_labels(word, room, is_log=are_logs[0]) for word in words)
    changed = diff_labels(before, after, (why_before, why_after))
    counts = changed.group_by("before", "after").len("windows").sort("windows", "before", descending=[True, False])
    if arguments.json:
        told = {"before": len(before), "after": len(after), "counts": counts.to_dicts(), "windows": changed.to_dicts()}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return EXIT_OK
    print(f"{len(before)} windows before, {len(after)} after, {len(changed)} differ")
    if len(changed):
        print("\n" + "\n".join(table_lines([counts.columns, *([str(cell) for cell in row] for row in counts.rows())])))
        print("\n" + "\n".join(table_lines([changed.columns, *map(list, changed.head(_SHOWN).rows())])))
    if len(changed) > _SHOWN:
        print(f"... and {len(changed) - _SHOWN} more; --json names all")
    return EXIT_OK


def _labels(word: str, data: Path, *, is_log: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Window -> label, or what else a log says of it; and window -> why it has none."""
    from moola.commands.label_commands.options import read_log
    from moola.labels.folding import fold
    from moola.labels.versions import ROOM, open_version, said_in

    if is_log:
        return said_in(fold(read_log(Path(word)).events)), {}
    version = open_version(word, data / ROOM)
    table = version.table()
    return dict(zip(table["window_id"], table["label"], strict=True)), version.reasons()
