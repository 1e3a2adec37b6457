"""Keys, ssh, account and disk: what a run on a pod would miss here. The pod itself is examined before each run."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["pod", "doctor", *sys.argv[1:]]))
