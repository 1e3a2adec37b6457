"""``moola pod export``: the same run as a task for SkyPilot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from moola.commands.layout import layout_of
from moola.commands.pod_commands.pack import add_limits, limits_of
from moola.commands.pod_commands.pod_options import add_gpu_options, given_keys
from moola.commands.pod_commands.run_options import parser_of
from moola.errors import EXIT_OK


def main(words: Sequence[str]) -> int:
    """Pack, and write the files with the task; the last line on stdout is the task file."""
    parser = parser_of(
        "export",
        "Write a run's files and a task file that runs them elsewhere: `sky launch task.yaml` in that folder.",
        run=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as of `moola pod run`")
    parser.add_argument("--to", choices=["skypilot"], default="skypilot", help="default: skypilot")
    parser.add_argument("--to-folder", type=Path, metavar="FOLDER", help="default: skypilot-RUN here; must not exist")
    add_gpu_options(parser)
    add_limits(parser)
    arguments = parser.parse_intermixed_args(words)
    from moola.pods.packing import pack
    from moola.pods.settings import load_settings, split_words
    from moola.pods.skypilot import export_skypilot

    of_pod, overrides = split_words(arguments.overrides)
    settings = load_settings(of_pod, given_keys(arguments))
    bundle = pack(Path.cwd(), overrides, layout_of(arguments), limits=limits_of(arguments)).bundle
    folder = arguments.to_folder or Path(f"skypilot-{bundle.facts['run_id']}")
    task = export_skypilot(bundle, settings, folder)
    print(json.dumps({"run": bundle.facts["run_id"], "task": str(task)}) if arguments.json else task)
    return EXIT_OK
