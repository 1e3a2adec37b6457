"""Write what labels are after review as a new version; takes the words of `moola labels export`."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["labels", "export", *sys.argv[1:]]))
