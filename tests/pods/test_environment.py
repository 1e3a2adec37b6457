"""The Python of a run on the pod: made on top of the torch that is there, once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pip
import pytest

from moola.pods import environment
from moola.pods.environment import BadEnvironmentError, facts_of, main, make_environment


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """The smallest wheel there is, for pip to install from a folder."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = '{version}'\n")
        lines = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
            requires and f"Requires-Dist: {requires}\n"
        )
        archive.writestr(f"{info}/METADATA", lines)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can see."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_CONSTRAINT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has a torch, an old version of something, and pip."""
    top = tmp_path_factory.mktemp("template")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(top / "base")], check=True)
    packages = Path(facts_of(str(top / "base" / "bin" / "python"))["purelib"])
    (top / "pip").mkdir()
    for path in Path(pip.__file__).parents[1].glob("pip*"):
        (top / "pip" / path.name).symlink_to(path)
    (packages / "own.pth").write_text(f"{top / 'pip'}\n")
    for name, version in (("torch", "2.8.0+cu128"), ("moola_old", "1.0")):
        wheel(top / "there", name, version)
        with zipfile.ZipFile(top / "there" / f"{name}-{version}-py3-none-any.whl") as archive:
            archive.extractall(packages)
    return top / "base"


@pytest.fixture
def base(tmp_path: Path, template: Path) -> Path:
    """The interpreter of a copy that a test may change."""
    shutil.copytree(template, tmp_path / "base", symlinks=True)
    return tmp_path / "base" / "bin" / "python"


def spec(base: Path, tmp_path: Path, **more: Any) -> dict[str, Any]:
    kept = {"python": str(base), "folder": str(tmp_path / "env" / "abc"), "requirements": [], "constraints": []}
    return {**kept, "report": str(tmp_path / "report.json"), **more}


def version_in(environment: str, module: str) -> str:
    code = f"import {module}; print({module}.VERSION)"
    done = subprocess.run([f"{environment}/bin/python", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_keeps_the_torch_that_is_there_and_adds_what_is_missing(base: Path, index: Path, tmp_path: Path) -> None:
    wheel(index, "torch", "2.9.0")
    wheel(index, "moola_new", "2.0", "torch>=2.6")
    wheel(index, "moola_old", "1.5")
    wanted = spec(base, tmp_path, requirements=["moola_new", "moola_old"], constraints=["moola_old==1.5"])
    found = make_environment(wanted)
    assert found["made"] and found["torch"] == "2.8.0+cu128"
    assert version_in(wanted["folder"], "torch") == "2.8.0+cu128"
    assert version_in(wanted["folder"], "moola_new") == "2.0"
    assert version_in(wanted["folder"], "moola_old") == "1.5", "the constraints win over the base"
    assert facts_of(str(base))["packages"]["moola_old"] == "1.0", "the base stays as it was"


@pytest.fixture(scope="module")
def ready(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that was half made, then made; nothing is installed in it."""
    folder = tmp_path_factory.mktemp("ready")
    half = folder / "env" / "abc" / "bin" / "python"
    half.parent.mkdir(parents=True)
    half.write_text("#!/bin/sh\nexit 1\n")
    assert make_environment(spec(template / "bin" / "python", folder))["made"]
    return folder


def test_one_that_was_half_made_is_made_and_one_that_is_ready_is_found(template: Path, ready: Path) -> None:
    assert not make_environment(spec(template / "bin" / "python", ready))["made"]


def test_the_step_says_what_it_found_and_fails_with_the_code_of_environments(
    template: Path, ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, path = spec(template / "bin" / "python", ready), ready / "spec.json"
    path.write_text(json.dumps(wanted))
    assert main([str(path)]) == 0
    assert "environment found" in (said := capsys.readouterr().out) and "torch 2.8.0+cu128" in said
    assert json.loads(Path(wanted["report"]).read_text())["made"] is False
    path.write_text(json.dumps({**wanted, "python": "/nothing"}))
    assert main([str(path)]) == 5
    assert "pod.python=PATH" in capsys.readouterr().out


def test_one_for_another_torch_is_not_taken(template: Path, ready: Path) -> None:
    base = facts_of(str(template / "bin" / "python"))
    assert environment._is_ready(ready / "env" / "abc", base)
    assert not environment._is_ready(ready / "env" / "abc", {**base, "torch": "2.9.1+cu130"})


@pytest.mark.slow
def test_it_is_made_again_where_the_base_has_another_torch(base: Path, index: Path, tmp_path: Path) -> None:
    wanted = spec(base, tmp_path)
    assert make_environment(wanted)["made"]
    packages = Path(facts_of(str(base))["purelib"])
    info = packages / "torch-2.8.0+cu128.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("2.8.0+cu128", "2.9.1+cu130"))
    again = make_environment(wanted)
    assert again["made"] and again["torch"] == "2.9.1+cu130"


@pytest.mark.slow
def test_a_package_that_wants_another_torch_is_refused(
    base: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel(index, "torch", "2.9.0")
    wheel(index, "moola_new", "2.0", "torch>=2.9")
    wanted = spec(base, tmp_path, requirements=["moola_new"])
    with pytest.raises(BadEnvironmentError, match="pip failed"):
        make_environment(wanted)
    assert "torch==2.8.0" in capsys.readouterr().out
    assert not (Path(wanted["folder"]) / "ready.json").exists()


def test_a_base_without_torch_or_too_old_or_absent_is_told(tmp_path: Path, base: Path, index: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(BadEnvironmentError, match=r"has no torch[\s\S]*pod.python=PATH"):
        make_environment(spec(tmp_path / "bare" / "bin" / "python", tmp_path))
    with pytest.raises(BadEnvironmentError, match=r"needs 9\.9 or newer"):
        make_environment(spec(base, tmp_path, min_python=[9, 9]))
    with pytest.raises(BadEnvironmentError, match="cannot be run"):
        make_environment(spec(tmp_path / "nothing", tmp_path))
    with pytest.raises(BadEnvironmentError, match="does not work"):
        make_environment(spec(Path("/bin/false"), tmp_path))
