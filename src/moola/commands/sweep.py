"""``moola sweep``: sweeps that ``moola JOB -m`` has made, as tables and logs."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.subcommands import listed, run_subcommand

PACKAGE = "moola.commands.sweep_commands"
COMMANDS = {
    "ls": ("ls", "every sweep, and how far it is"),
    "show": ("show", "one table: what differs between the points, and what each came to"),
    "logs": ("logs", "what a point printed"),
}
"""Command -> its module below `moola.commands.sweep_commands`, and what it does."""
_HELP = f"""\
usage: moola sweep COMMAND ...

{listed(COMMANDS, 6)}
A sweep is made by `moola run -m encoder=bilstm_8x1,gru_64x1 seeds=[0],[1]`, and by any other job with -m. The same
command again runs only what is missing. docs/sweeps.md tells of launchers: processes here, pods, Slurm, Ray.
"""


def main(words: Sequence[str]) -> int:
    """Run one of the commands."""
    return run_subcommand("sweep", PACKAGE, COMMANDS, _HELP, words)
