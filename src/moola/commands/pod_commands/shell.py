"""``moola pod ssh``: a shell on a run's pod."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened
from moola.errors import EXIT_OK
from moola.pods.wire import LocalConnection


def main(words: Sequence[str]) -> int:
    """The exit code is the shell's."""
    description = (
        "Open a shell in a run's project on its pod, its host key verified; --json tells where it is and opens none."
    )
    arguments = parser_of("ssh", description).parse_args(words)
    _, pod = reopened(arguments, Speaker(as_json=True)).found()
    connection = pod.shell.connection
    try:
        if arguments.json:
            target = getattr(connection, "target", None)  # a folder here has none
            print(json.dumps({"folder": pod.project, **(asdict(target) if target else {})}, default=str))
            return EXIT_OK
        if isinstance(connection, LocalConnection):
            return subprocess.call([os.environ.get("SHELL", "/bin/sh")], cwd=pod.project)
        return subprocess.call(connection.shell_argv(pod.project))  # type: ignore[attr-defined] - the other one is ssh
    finally:
        connection.close()
