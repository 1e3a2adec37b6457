"""The wheel alone: built, installed without the repository, and run from somewhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

_WITHOUT_REPOSITORY = f"""
import sys
kept = (sys.prefix, sys.base_prefix)  # the environment may lie inside the repository
sys.path[:] = [entry for entry in sys.path if entry.startswith(kept) or not entry.startswith({str(ROOT)!r})]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the repository, with no network."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    words = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True, timeout=200)
    return folder


def run(site: Path, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_REPOSITORY + program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_the_wheel_holds_code_configs_and_the_template_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    own = [name for name in names if name.startswith("moola/")]
    configs = {f"moola/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs == {name for name in own if name.startswith("moola/configs/")}
    assert {"moola/evaluation/report.html.j2", "moola/pipelines/run_pair_page.html.j2"} <= set(own)
    assert {name for name in own if name.endswith(".json")} == {"moola/bench/published.json"}
    assert {name for name in own if Path(name).suffix in (".css", ".js")} == {
        "moola/dashboard/static/dash.css",
        "moola/dashboard/static/dash.js",
        "moola/review/static/review.css",
        "moola/review/static/review.js",
    }
    assert {Path(name).suffix for name in own} == {".py", ".sql", ".yaml", ".j2", ".json", ".css", ".js"}
    plugins = {name for name in names if name.startswith("hydra_plugins/")}
    assert "hydra_plugins/moola_sweeps/__init__.py" in plugins
    assert "hydra_plugins/__init__.py" not in plugins  # a namespace that packages share
    assert {name.partition("/")[0] for name in names} == {
        "moola",
        "hydra_plugins",
        next(n for n in names if "dist-info" in n).partition("/")[0],
    }


def test_its_metadata_names_the_command_the_core_packages_and_the_extras(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("dist-info/METADATA"))
    (commands,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "moola = moola.cli:main" in commands
    core = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert len(core) == 7
    assert {"data", "evidence", "terminal", "all"} <= {
        line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")
    }


def test_configs_and_code_are_found_inside_the_installed_wheel(site, tmp_path):
    done = run(site, tmp_path, "import moola, moola.config; print(moola.__file__); print(moola.config.config_folder())")
    code, configs = done.stdout.split()
    assert Path(code) == site / "moola" / "__init__.py"
    assert Path(configs) == site / "moola" / "configs"


def test_a_whole_run_works_far_from_the_repository(site, tmp_path):
    program = "from moola.cli import main; raise SystemExit(main(['run', 'debug=fast', '~model.minirocket']))"
    done = run(site, tmp_path, program)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert folder.is_relative_to(tmp_path)
    assert (folder / "report.html").read_text().startswith("<!")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["git_commit"] is None
