"""List public sets, or get those that are named."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["data", "fetch", *sys.argv[1:]]))
