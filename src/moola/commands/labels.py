"""``moola labels``: question labels, decide about them, and keep what was decided."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.subcommands import listed, run_subcommand

PACKAGE = "moola.commands.label_commands"
COMMANDS = {
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

{listed(COMMANDS, 11)}
Decisions are events in data/corrections/review_corrections/events.jsonl, a log that only grows. To train on them:
  moola run task.corrections=data/corrections/review_corrections/events.jsonl
`moola review` shows the windows and takes the decisions; `moola labels COMMAND --help` tells of each command.
"""


def main(words: Sequence[str]) -> int:
    """Run one of the commands."""
    return run_subcommand("labels", PACKAGE, COMMANDS, _HELP, words)
