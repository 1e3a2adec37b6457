"""``moola pod``: a run on a rented GPU, on a host, or in a folder that stands for one, and everything around it."""

from __future__ import annotations

from collections.abc import Sequence

from moola.commands.subcommands import listed, run_subcommand

PACKAGE = "moola.commands.pod_commands"
COMMANDS = {
    "doctor": ("doctor", "what is missing here, at RunPod or on a host, and how to get it"),
    "offers": ("offers", "GPUs that RunPod has now, the cheapest first"),
    "pack": ("pack", "what would travel: files, sizes, what is left out and why"),
    "run": ("run", "a run on a pod and back: takes the overrides of `moola run`"),
    "ps": ("ps", "pods that have not ended, their runs, and what they cost"),
    "logs": ("logs", "what a run says; -f follows it"),
    "attach": ("attach", "follow a run to its end, and bring back what it leaves"),
    "exec": ("execute", "a program in a run's folder on its pod"),
    "ssh": ("shell", "a shell on a run's pod"),
    "pull": ("pull", "bring here what a run has left so far"),
    "resume": ("resume", "go on with a run, on a new pod where the old one is gone"),
    "stop": ("stop", "end a run with its checkpoint, and its pod"),
    "down": ("down", "end the pod of a run, or all, at once"),
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

exit codes: 0 done, 1 failed, 2 wrong command or configuration, 3 wrong data, 4 files, 5 missing package or device,
6 a pod could not be had, reached or ended, 130 interrupted; `exec` and `ssh` end as what they run does
"""


def main(words: Sequence[str]) -> int:
    """Run one of the commands."""
    return run_subcommand("pod", PACKAGE, COMMANDS, _HELP, words)
