"""A client that runs a sweep of stand-ins, for tests that kill it: FOLDER POINTS SETTINGS (JSON, as of `settings`)."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
stand_in = importlib.import_module("stand_in")
bench_of = importlib.import_module("pod_bench")

changed = json.loads(sys.argv[3])
changed = {key: tuple(value) if isinstance(value, list) else value for key, value in changed.items()}
bench = bench_of.Bench(Path(sys.argv[1]), stand_in)
bench.told = type("Told", (list,), {"append": lambda self, line: print(line, flush=True)})()
sweep = bench.sweep(int(sys.argv[2]), stand_in.settings(**changed, limits=bench_of.SHORT), pods=3)
try:
    sweep.run()
except KeyboardInterrupt:
    sys.exit(130)
