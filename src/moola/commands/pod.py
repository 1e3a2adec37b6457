"""``moola pod``: a run on a rented GPU, on a host, or in a folder that stands for one, and everything around it."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.subcommands import listed, run_subcommand

PACKAGE = "moola.commands.pod_commands"
COMMANDS = {
    "doctor": ("doctor", "keys, ssh, account and disk: what is missing and how to get it"),
    "offers": ("offers", "GPUs to be had, by stock and price"),
    "pack": ("pack", "what would travel: files, sizes, what is left out and why"),
    "run": ("run", "a run on a pod and back: takes the overrides of `moola run`"),
    "ps": ("ps", "pods and their runs"),
    "logs": ("logs", "what a run says; -f follows it"),
    "attach": ("attach", "follow a run to its end, and bring back what it leaves"),
    "exec": ("execute", "a program in a run's folder on its pod"),
    "ssh": ("shell", "a shell on a run's pod"),
    "pull": ("pull", "results as they are now"),
    "resume": ("resume", "go on with a run, on a new pod where the old one is gone"),
    "stop": ("stop", "end a run with its checkpoint, and its pod"),
    "down": ("down", "end the pod of a run, or all"),
    "cost": ("cost", "what runs cost: estimate and bill"),
    "reap": ("reap", "pods of the account that nobody needs any more"),
    "replay": ("replay", "a run done once more from its bundle, its figures held against those recorded"),
    "export": ("export", "the same run as a task for SkyPilot"),
}
"""Command -> its module below `moola.commands.pod_commands`, and what it does."""
_HELP = f"""\
usage: moola pod COMMAND ...

{listed(COMMANDS, 9)}
A laptop may sleep or lose its network: the run goes on, and `moola pod attach RUN`, or the same command again, goes on
with it. `moola pod COMMAND --help` tells of each command.

exit codes: as of `moola run`; 6 where a pod could not be had, reached or ended
"""


def main(words: Sequence[str]) -> int:
    """Run one of the commands."""
    return run_subcommand("pod", PACKAGE, COMMANDS, _HELP, words)
