"""A run on a pod and back. Takes Hydra overrides and the options of `moola pod run`."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["pod", "run", *sys.argv[1:]]))
