"""A client that runs a sweep of stand-ins on rented pods, for tests that kill it: FOLDER POINTS SETTINGS POD_ROOT."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from moola.pods.runpod_provider import RunpodProvider

sys.path.insert(0, str(Path(__file__).parent))
stand_in = importlib.import_module("stand_in")
bench_of = importlib.import_module("pod_bench")

RunpodProvider.root = sys.argv[4]  # a folder of this machine stands for the disk of the pod
bench = bench_of.Bench(Path(sys.argv[1]), stand_in)
bench.told = type("Told", (list,), {"append": lambda self, line: print(line, flush=True)})()
try:
    bench.rented_sweep(int(sys.argv[2]), stand_in.settings(provider="runpod", **json.loads(sys.argv[3]))).run()
except KeyboardInterrupt:
    sys.exit(130)
