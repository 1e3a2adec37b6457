"""``moola pod exec``: a program in a run's folder on its pod."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import IO

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened


def main(words: Sequence[str]) -> int:
    """Its output and exit code are those of the program; words after ``--`` go to it as they are."""
    parser = parser_of("exec", "Run a program in a run's project on its pod: moola pod exec RUN -- nvidia-smi")
    parser.add_argument("argv", nargs="+", metavar="WORD", help="program and arguments, after --; no shell reads them")
    arguments = parser.parse_args(words)
    _, pod = reopened(arguments, Speaker(as_json=True)).found()
    with pod.shell.connection.start(arguments.argv, cwd=pod.project) as process:
        pipes: list[tuple[IO[bytes] | None, IO[bytes]]] = [
            (process.stdout, sys.stdout.buffer),
            (process.stderr, sys.stderr.buffer),
        ]
        threads = [threading.Thread(target=_copy, args=pipe) for pipe in pipes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    pod.shell.connection.close()
    return process.returncode


def _copy(source: IO[bytes] | None, target: IO[bytes]) -> None:
    while source is not None and (block := source.read1(1 << 16)):  # type: ignore[attr-defined] - a buffered pipe
        target.write(block)
        target.flush()
