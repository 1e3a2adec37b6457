"""``moola labels``: question labels, decide about them, and keep what was decided."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from moola.errors import EXIT_OK, EXIT_USAGE, did_you_mean

_COMMANDS = {
    "issues": ("issues", "which labels are doubtful, in the order in which to look at them"),
    "batch": ("batch", "the next windows to annotate"),
    "import": ("imports", "decisions from a file of another tool"),
    "undo": ("undo", "take one decision back"),
    "agreement": ("agreement", "Cohen's kappa of every two annotators, and of what they see with what they say"),
    "export": ("export", "the labels as they are now, as a numbered version that never changes"),
    "diff": ("diff", "what differs between two versions, or between two logs"),
    "report": ("report", "what the review changed: labels, time, agreement, and the figures before and after"),
}
"""Command -> its module below `moola.commands.label_commands`, and what it does."""
_HELP = f"""\
usage: moola labels COMMAND ...

{"".join(f"  {name:11}{words}" + chr(10) for name, (_, words) in _COMMANDS.items())}
Decisions are events in data/corrections/review_corrections/events.jsonl, a log that only grows. To train on them:
  moola run task.corrections=data/corrections/review_corrections/events.jsonl
`moola review` shows the windows and takes the decisions; `moola labels COMMAND --help` tells of each command.
"""


def main(words: Sequence[str]) -> int:
    """Run one of the commands."""
    command, rest = (words[0], list(words[1:])) if words else ("--help", [])
    if command in ("-h", "--help"):
        print(_HELP, end="")
        return EXIT_OK
    if command not in _COMMANDS:
        print(f"moola labels: there is no command '{command}'; {did_you_mean(command, _COMMANDS)}", file=sys.stderr)
        return EXIT_USAGE
    module, _ = _COMMANDS[command]
    return importlib.import_module(f"moola.commands.label_commands.{module}").main(rest)
