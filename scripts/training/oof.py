"""Out-of-fold and test predictions of every model. Takes Hydra overrides; the last line on stdout is the run folder."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["oof", *sys.argv[1:]]))
