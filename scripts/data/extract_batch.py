"""Choose the next windows to annotate. Takes a run or Hydra overrides; the last line on stdout is the batch."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["labels", "batch", *sys.argv[1:]]))
