"""``moola wandb``: what W&B needs beside the tracker."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.subcommands import listed, run_subcommand

PACKAGE = "moola.commands.wandb_commands"
COMMANDS = {
    "sync": ("sync", "send runs that W&B was not told of: offline, without a network, or on a pod"),
    "sweep": ("sweep", "a W&B sweep over overrides of `moola run`, as a file for `wandb sweep`"),
    "dashboard": ("dashboard", "a workspace and a report with a panel for everything that runs tell"),
}
"""Command -> its module below `moola.commands.wandb_commands`, and what it does."""
_HELP = f"""\
usage: moola wandb COMMAND ...

{listed(COMMANDS, 11)}
`moola run tracker=wandb` tells W&B of a run: online where WANDB_API_KEY or ~/.netrc has a key, else offline.
`moola wandb COMMAND --help` tells of each command.
"""


def main(words: Sequence[str]) -> int:
    """Run one of the commands."""
    return run_subcommand("wandb", PACKAGE, COMMANDS, _HELP, words)
