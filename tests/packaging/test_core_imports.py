"""Training needs torch, lightning, Hydra, numpy and safetensors, and nothing of the extras."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

def spelt(name):
    return re.sub(r"[-_.]+", "-", name).lower()

def needed(names):
    reached, waiting = set(), list(names)
    while waiting:
        name = spelt(waiting.pop())
        if name in reached:
            continue
        reached.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        waiting += [re.match(r"[\\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    return reached

core = needed(["torch", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "safetensors"])
blocked = {
    module
    for module, owners in packages_distributions().items()
    if module != "moola" and not set(map(spelt, owners)) & core
}
assert {"polars", "pandera", "sklearn", "cleanlab", "aeon", "rich", "pyarrow", "arch"} <= blocked, blocked
assert not {"torch", "numpy", "hydra"} & blocked

class Hide:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_distributions(self, *arguments):
        find = getattr(self.finder, "find_distributions", lambda *_: [])
        return [found for found in find(*arguments) if spelt(found.metadata["Name"]) in {*core, "moola"}]

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else self.finder.find_spec(name, path, target)

for name in [name for name in sys.modules if name.partition(".")[0] in blocked]:
    del sys.modules[name]
sys.meta_path[:] = [Hide(finder) for finder in sys.meta_path]
for module in MODULES:
    __import__(module)
print("imported")
"""


def _import_without_extras(*modules: str) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.replace("MODULES", repr(modules))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


def test_training_imports_with_the_core_packages_alone():
    done = _import_without_extras(
        "moola.training.loop",
        "moola.pretraining.masked_autoencoder",
        "moola.models.bilstm",
        "moola.data.device_batches",
        "moola.pipelines.pipeline",
        "moola.composition",
        "moola.cli",
    )
    assert done.stdout.endswith("imported\n"), done.stderr


def test_the_block_stops_a_module_that_needs_an_extra():
    done = _import_without_extras("moola.data.sources.files")
    assert done.returncode == 1
    assert "No module named 'polars'" in done.stderr


def test_a_run_without_the_extras_names_what_is_missing_and_how_to_get_it(tmp_path):
    program = _PROGRAM.replace("MODULES", "()") + (
        "import os; os.chdir(sys.argv[1])\nfrom moola.cli import main\nraise SystemExit(main(['run', 'debug=fast']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "pip install" in done.stderr
    assert "moola[" in done.stderr
