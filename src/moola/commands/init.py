"""``moola init``: make the folders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from moola.commands.layout import FOLDER_OPTIONS, add_folders, layout_of
from moola.errors import EXIT_OK


def main(words: Sequence[str]) -> int:
    """Make ``data/`` and ``artifacts/`` with every folder of the contract; what is there stays."""
    parser = argparse.ArgumentParser(prog="moola init", description=main.__doc__)
    add_folders(parser)
    layout = layout_of(parser.parse_args(words))
    from moola.tree import make_tree

    layout.check_writable(FOLDER_OPTIONS)
    made = make_tree(layout)
    for path in made:
        print(path)
    print(f"{len(made)} made" if made else f"everything is there: {layout.data}, {layout.artifacts}")
    return EXIT_OK
