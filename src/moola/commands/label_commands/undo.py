"""``moola labels undo``: take one decision back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from moola.commands.label_commands.options import add_annotator, add_log, annotator_of, log_of, read_log
from moola.errors import EXIT_OK, DataError


def main(words: Sequence[str]) -> int:
    """Append an undo; an undo can be undone too."""
    parser = argparse.ArgumentParser(
        prog="moola labels undo",
        description="Take one decision back, or an undo. Nothing is deleted: the log gets one more event.",
    )
    parser.add_argument("event", metavar="EVENT", help="its id, or the beginning of it")
    add_annotator(parser)
    add_log(parser)
    arguments = parser.parse_args(words)
    from moola.labels.events import LabelEvent, LabelLog
    from moola.labels.folding import fold, in_effect

    log = log_of(arguments)
    events = read_log(log).events
    found = [event for event in events if event.event_id.startswith(arguments.event)]
    if len(found) != 1:
        last = "\n".join(
            f"- {one.event_id[:12]} {one.decision} {one.window_id} by {one.annotator}" for one in events[-5:]
        )
        what = f"{len(found)} events begin with '{arguments.event}'" if found else f"no event is '{arguments.event}'"
        raise DataError(what, f"the last ones are:\n{last}", "give the id of one of them")
    target = found[0]
    if target not in in_effect(events):
        raise DataError(f"{target.event_id} is undone already", "", "undo that undo to bring it back")
    own = (event for event in events if event.window_id == target.window_id)
    undo = LabelEvent(
        decision="undo",
        window_id=target.window_id,
        annotator=annotator_of(arguments),
        undoes=target.event_id,
        source="command line",
    )
    LabelLog(log).append(undo)
    state = fold([*own, undo]).get(target.window_id)
    said = f"now {state.label or state.decision or 'undecided'}" if state else "nobody has decided about it now"
    print(f"undone: {target.decision} of {target.window_id} by {target.annotator}; {said}")
    print(undo.event_id)
    return EXIT_OK
