"""A run that takes a second and leaves what a moola run leaves, for tests of the road to a pod and back.

What watches over it on the pod is real; `moola run`, the environment, the preflight and the smoke run are stand-ins.
"""

from __future__ import annotations

import hashlib
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import moola
from moola.config import digest_json
from moola.layout import Layout
from moola.pods.bundle import Bundle, BundledFile
from moola.pods.guards import GuardLimits
from moola.pods.ledger import Ledger
from moola.pods.resuming import open_run
from moola.pods.running import PodRun
from moola.pods.settings import PodSettings

PODS = (
    "__init__",
    "clock",
    "environment",
    "guards",
    "pod_end",
    "run_files",
    "run_watch",
    "step_process",
    "supervisor",
    "volume",
    "volume_copies",
)
REAL = ("__init__.py", *(f"pods/{name}.py" for name in PODS))
RUN = "demo-0123456789ab"
RECIPE = {"stage": "oof", "config": {}, "inputs": {}, "code": "0" * 64, "outside": ""}
KEY = digest_json(RECIPE)
STAGE = f"oof-{KEY[:16]}"
JOB = (
    textwrap.dedent(
        """
    import hashlib, json, os, pathlib, subprocess, sys, time
    here, rid = pathlib.Path("artifacts"), os.environ.get("STAND_IN_RUN", "demo-ffffffffffff")
    stage = here / "oof/supervised/STAGE"
    building = stage.with_name(f".{stage.name}.building")
    run, steps = here / "results" / rid, int(os.environ.get("STAND_IN_STEPS", "3"))

    def write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(content)
        part.replace(path)

    def digests(folder):
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    state = building / "resume/state.json"
    done = json.loads(state.read_text())["done"] if state.exists() else 0
    if os.environ.get("STAND_IN_CHILD"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"begins after step {done}", flush=True)
    for step in range(done + 1, steps + 1):
        if not pathlib.Path("quick").exists():
            time.sleep(float(os.environ.get("STAND_IN_PAUSE_S", "0.05")))
        write(state, json.dumps({"done": step}))
        print(f"step {step}", flush=True)
    if os.environ.get("STAND_IN_FAILS"):
        sys.exit(print("wrong data") or 3)
    write(stage / "oof.parquet", "predictions")
    said = {"stage": "oof", "key": "KEY", "config": {}, "inputs": {}, "code": {"digest": "0" * 64}, "outside": ""}
    files = digests(stage)
    digest = hashlib.sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    write(stage / "manifest.json", json.dumps({**said, "files": files, "digest": digest}))
    write(run / "metrics.json", json.dumps({"accuracy": 0.75}))
    line = {"stage": "oof", "key": "KEY", "digest": digest, "folder": str(stage.absolute())}
    told = {"run_id": rid, "status": "finished", "files": digests(run), "stages": [line]}
    write(run / "manifest.json", json.dumps(told))
    print("finished")
    """
    )
    .replace("STAGE", STAGE)
    .replace("KEY", KEY)
)
ENVIRONMENT = textwrap.dedent(
    """
    import json, pathlib, sys
    spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
    python = pathlib.Path(spec["folder"]) / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.exists() or python.symlink_to(sys.executable)
    pathlib.Path(spec["report"]).write_text(json.dumps({"made": True}))
    """
)
_FILES = {
    "moola/__main__.py": JOB,
    "moola/pods/environment.py": ENVIRONMENT,
    "moola/pods/preflight.py": "",
    "moola/pods/smoke.py": "",
    "code.txt": "code\n",
}


def stand_in_bundle(folder: Path, run: str = RUN) -> Bundle:
    """The bundle of a run; its bytes are kept in `folder`."""
    package = Path(moola.__file__).parent
    contents = {name: text.encode() for name, text in _FILES.items()}
    contents |= {f"moola/{name}": (package / name).read_bytes() for name in REAL}
    files: list[BundledFile] = []
    places: dict[str, Path] = {}
    for path, content in contents.items():
        sha256 = hashlib.sha256(content).hexdigest()
        files.append(BundledFile(path, sha256, len(content), False, "data" if path == "code.txt" else "run"))
        places[sha256] = folder / sha256
        places[sha256].parent.mkdir(parents=True, exist_ok=True)
        places[sha256].write_bytes(content)
    facts = {
        "git": None,
        "overrides": [],
        "config": "device: auto\n",
        "run_id": run,
        "requirements": [],
        "rows": {},
        "rooms": {"oof": "artifacts/oof/supervised"},
        "moola": {"version": moola.__version__, "path": ""},
    }
    return Bundle.of(files, facts, None, places)


def settings(**changed: Any) -> PodSettings:
    """A folder as a pod, and nothing that takes long."""
    kept = {"provider": "local", "python": sys.executable, "retries": 0, "guards": GuardLimits(max_hours=1)}
    return PodSettings(**{**kept, **changed})


def stand_in_run(top: Path, said: list[str], **changed: Any) -> PodRun:
    """The run of a project in `top`.

    Args:
        top: its folder.
        said: takes what is told, and the lines of the run with their step in front.
        changed: of the settings.
    """
    layout = Layout(top / "data", top / "artifacts")

    def show(record: Mapping[str, Any]) -> None:
        said.append(f"{record['step']}: {record['text']}")

    run = open_run(stand_in_bundle(top / "packed"), settings(**changed), layout, tell=said.append, show=show)
    run.order()
    run.ledger.add_run(RUN, "demo", run.bundle.bundle_id)
    return run


def ledger_of(top: Path) -> Ledger:
    """The ledger of a project in `top`."""
    from moola.pods.providers import open_ledger

    return open_ledger(Layout(top / "data", top / "artifacts"))
