"""Compare two sets of bars. Takes Hydra overrides, those of the other set after --."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["data", "drift", *sys.argv[1:]]))
