"""Where things are at W&B, as options of commands."""

from __future__ import annotations

import argparse
from typing import Any


def add_target(parser: argparse.ArgumentParser, default: str) -> None:
    """The options ``--project``, ``--entity`` and ``--base-url``.

    Args:
        parser: of the command.
        default: what counts where the first two are not given, for the help.
    """
    parser.add_argument("--project", metavar="NAME", help=f"default: {default}")
    parser.add_argument("--entity", metavar="NAME", help=f"user or team; default: {default}")
    parser.add_argument(
        "--base-url", metavar="URL", help="of the server's API; default: WANDB_BASE_URL, else W&B's own"
    )


def given_target(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys of the tracker that the options give."""
    return {key: value for key in ("project", "entity", "base_url") if (value := getattr(arguments, key))}
