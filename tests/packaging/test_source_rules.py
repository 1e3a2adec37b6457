"""Rules that the source keeps: no pickle, no shell, host keys checked, thin scripts, imports one way."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"torch.load", "torch.save", "os.system", "os.popen", "eval", "exec"}
HEAVY = {"torch", "pytorch_lightning"}
LOADERS = {"np.load", "numpy.load", "np.save", "numpy.save"}
ANY_HOST_KEY = re.compile(
    r"(?i)StrictHostKeyChecking[ =]+(?!yes\b)\w|(?<!Global)(?:User)?KnownHostsFile[ =]+(?:/dev/null|none)"
)


def offences(source: str) -> Iterator[str]:
    """What a module does that none may do."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in PICKLERS)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.partition(".")[0] in PICKLERS:
                yield f"from {module}"
            yield from (f"from torch import {a.name}" for a in node.names if module == "torch" and a.name == "load")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in FORBIDDEN_CALLS:
                yield f"{name}()"
            if keywords.get("shell", "False") != "False":
                yield "shell=True"
            if name in LOADERS and keywords.get("allow_pickle") != "False":
                yield f"{name}() without allow_pickle=False"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ANY_HOST_KEY.search(node.value):
            yield "a host key that nobody checks"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles_opens_a_shell_or_takes_any_host_key(path):
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "subprocess.run('ls', shell=True)",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "os.system('ls')",
        "subprocess.run(['ssh', '-o', 'StrictHostKeyChecking=no', host])",
        "config = 'Host pod\\n  StrictHostKeyChecking accept-new\\n'",
        "config = 'UserKnownHostsFile /dev/null'",
    ],
)
def test_the_rule_sees_what_it_forbids(source):
    assert len(list(offences(source))) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.py")), ids=lambda path: path.name)
def test_a_script_is_at_most_40_lines_and_defines_no_class(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 40
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]


ASK_EACH = """
import json, os, runpy, sys
import hydra.main, moola.composition
for path in sys.argv[1:]:
    if os.fork() == 0:  # Hydra is imported once
        os.dup2(os.open(f"{path}.out", os.O_WRONLY | os.O_CREAT), 1)
        sys.argv = [path, "--help"]
        try:
            runpy.run_path(path, run_name="__main__")
        finally:
            with open(f"{path}.modules", "w") as handle:
                json.dump(list(sys.modules), handle)
    print(path, os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.mark.slow
def test_every_script_answers_help_and_imports_nothing_heavy_for_it(tmp_path):
    scripts = shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    paths = [str(path) for path in sorted(scripts.rglob("*.py"))]
    done = subprocess.run([sys.executable, "-c", ASK_EACH, *paths], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [f"{path} 0" for path in paths], done.stderr
    for path in paths:
        assert Path(f"{path}.out").read_text(), path
        modules = json.loads(Path(f"{path}.modules").read_text())
        assert not HEAVY & set(modules), path


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    return subprocess.run(
        [command, "--no-cache"], cwd=root, env=environment, capture_output=True, text=True, timeout=100
    )


def test_imports_run_one_way():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


def test_the_import_contract_sees_an_import_that_runs_the_other_way(tmp_path):
    shutil.copytree(ROOT / "src" / "moola", tmp_path / "src" / "moola", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    low = tmp_path / "src" / "moola" / "data" / "bar_store.py"
    low.write_text(low.read_text() + "\nimport moola.pipelines.stage\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "moola.data" in done.stdout
    assert "is not allowed to import moola.pipelines" in done.stdout
