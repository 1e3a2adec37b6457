"""Cut windows and label them. Takes Hydra overrides; the last line on stdout is the run folder."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["windows", *sys.argv[1:]]))
