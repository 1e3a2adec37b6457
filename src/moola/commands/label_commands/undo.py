"""``moola labels undo``: take one decision back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moola.commands.label_commands.options import add_annotator, add_log, annotator_of, log_of, read_log
from moola.errors import EXIT_OK, DataError

if TYPE_CHECKING:
    from moola.labels.events import LabelEvent

_SHOWN, _ID_SIGNS = 5, 12


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
        what = f"{len(found)} events begin with '{arguments.event}'" if found else f"no event is '{arguments.event}'"
        shown = "\n".join(_spoken(one) for one in (found or events)[-_SHOWN:])
        why = f"{'they are' if 1 < len(found) <= _SHOWN else 'the last ones are'}:\n{shown}"
        raise DataError(what, why, "give more of the id of one of them" if found else "give the id of one of them")
    target, standing = found[0], in_effect(events)
    if target not in standing:
        raise _undone_already(target, standing)
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


def _spoken(event: LabelEvent) -> str:
    return f"- {event.event_id[:_ID_SIGNS]} {event.decision} {event.window_id} by {event.annotator}"


def _undone_already(target: LabelEvent, standing: Sequence[LabelEvent]) -> DataError:
    undo = next((event for event in standing if event.undoes == target.event_id), None)
    what = f"{target.event_id} is undone already"
    if undo is None:  # undone in a circle
        return DataError(what, "", "decide anew in `moola review`")
    way_out = f"to bring it back undo that: moola labels undo {undo.event_id[:_ID_SIGNS]}"
    return DataError(what, f"{undo.event_id} of {undo.annotator} undid it", way_out)
