"""The table of label issues of a run in cleanlab's layout: export_for_cleanlab.py FILE.csv [RUN | KEY=VALUE ...]."""

import sys

from moola.cli import main

if __name__ == "__main__":
    file, *others = sys.argv[1:] or ["--help"]
    raise SystemExit(main(["labels", "issues", *(["--help"] if file == "--help" else ["--to", file]), *others]))
