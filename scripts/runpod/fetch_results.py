"""What a run on a pod has left so far. Takes its id, as `moola pod pull` does."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["pod", "pull", *sys.argv[1:]]))
