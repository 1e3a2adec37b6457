"""What would travel to a pod, packed. Takes Hydra overrides, as `moola pod pack` does."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["pod", "pack", *sys.argv[1:]]))
