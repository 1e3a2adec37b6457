"""``moola pod exec``: a program in a run's folder on its pod."""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from moola.commands.pod_commands.run_options import Speaker, parser_of, reopened

if TYPE_CHECKING:
    from moola.pods.session import RunOnPod


def main(words: Sequence[str]) -> int:
    """Its output and exit code are those of the program; words after ``--`` go to it as they are."""
    parser = parser_of("exec", "Run a program in a run's project on its pod; its exit code is that of this command.")
    parser.usage = "moola pod exec [-h] [--json] [--data FOLDER] [--artifacts FOLDER] RUN -- PROGRAM [ARGUMENT ...]"
    parser.add_argument("argv", nargs="+", metavar="PROGRAM", help="and its arguments; no shell reads them")
    arguments = parser.parse_args(words)
    run = reopened(arguments, Speaker(as_json=True))
    try:
        return _executed(run.found()[1], arguments)
    finally:
        run.close()


def _executed(pod: RunOnPod, arguments: argparse.Namespace) -> int:
    output, errors = (io.BytesIO(), io.BytesIO()) if arguments.json else (sys.stdout.buffer, sys.stderr.buffer)
    with pod.shell.connection.start(arguments.argv, cwd=pod.project) as process:
        pipes: list[tuple[IO[bytes] | None, IO[bytes]]] = [(process.stdout, output), (process.stderr, errors)]
        threads = [threading.Thread(target=_copy, args=pipe) for pipe in pipes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if isinstance(output, io.BytesIO) and isinstance(errors, io.BytesIO):
        said = {name: kept.getvalue().decode(errors="replace") for name, kept in (("out", output), ("err", errors))}
        print(json.dumps({"exit_code": process.returncode, "stdout": said["out"], "stderr": said["err"]}))
    return process.returncode


def _copy(source: IO[bytes] | None, target: IO[bytes]) -> None:
    while source is not None and (block := source.read1(1 << 16)):  # type: ignore[attr-defined] - a buffered pipe
        target.write(block)
        target.flush()
