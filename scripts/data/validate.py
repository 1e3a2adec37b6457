"""Judge every bar; bad ones go to a quarantine file. Takes Hydra overrides; the last line on stdout is the folder."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["data", "validate", *sys.argv[1:]]))
