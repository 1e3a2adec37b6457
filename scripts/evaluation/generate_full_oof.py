"""Out-of-fold and test predictions of every model of a run, the stack among them; takes Hydra overrides.

The last line on stdout is the run folder; oof.parquet and stack.parquet lie there.
"""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["stack", *sys.argv[1:]]))
