# ruff: noqa: A005 (the name is that of the standard library, see below)
"""Quality of self-supervised encoders on labelled sets: `python benchmarks/ssl.py [--quick] [--all] [--json FILE]`.

What it measures is in `ssl_fits.py`, what it prints in `ssl_tables.py`. The name of this file is that of a module of
Python's library, which the benchmarks beside it need: imported, it stands aside.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_HERE = str(Path(__file__).parent)
sys.path = [*(place for place in sys.path if place != _HERE), _HERE]  # the library before this folder

if __name__ == "ssl":
    del sys.modules["ssl"]
    importlib.import_module("ssl")

if __name__ == "__main__":
    raise SystemExit(importlib.import_module("ssl_tables").main())
