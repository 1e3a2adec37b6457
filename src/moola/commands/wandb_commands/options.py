"""Where things are at W&B, as options of commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moola.errors import StorageError


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


def write_out(path: Path, content: str) -> None:
    """Write the file of ``--out``.

    Raises:
        StorageError: its folder is not there, or takes no files.
    """
    from moola.layout import write_text

    way_out = "choose another place: --out FILE"
    if not path.parent.is_dir():
        raise StorageError(f"--out: there is no folder {path.parent}", "", f"make it, or {way_out}")
    try:
        write_text(path, content)
    except FileNotFoundError as error:  # of folders that the system alone fills
        raise StorageError(f"--out: {path} cannot be written", error.strerror or "", way_out) from error


def given_target(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys of the tracker that the options give."""
    return {key: value for key in ("project", "entity", "base_url") if (value := getattr(arguments, key))}
