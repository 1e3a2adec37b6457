"""Fine-tune classifiers on all given labels. Takes Hydra overrides; the last line on stdout is the run folder."""

import sys

from moola.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["finetune", *sys.argv[1:]]))
