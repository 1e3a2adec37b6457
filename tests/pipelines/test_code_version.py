"""A stage's code version changes with what its code means, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_FILES = {
    "__init__.py": "",
    "stages.py": """
        from dataclasses import dataclass
        from colours.mixing import mix
        from . import near
        from .inner.deep import value

        @dataclass(frozen=True)
        class Paint:
            n: int = 1

            def run(self, inputs, workspace):
                from colours.late import later
                return mix(self.n) + near.K + value + later
    """,
    "mixing.py": "from colours import constants\n\n\ndef mix(n):\n    return n + constants.ONE\n",
    "constants.py": "ONE = 1\n",
    "near.py": "K = 2\n",
    "late.py": "later = 4\n",
    "inner/__init__.py": "",
    "inner/deep.py": "from ..upper import value\n",
    "upper.py": "value = 3\n",
    "unrelated.py": "X = 1\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package `colours` whose stage reaches other modules by every kind of import."""
    import textwrap

    for name, text in _FILES.items():
        path = tmp_path / "colours" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "colours"


@pytest.fixture
def version(package: Path) -> Callable[[], str]:
    """The code version as a new process sees it."""
    code = "from moola.pipelines.code_version import code_version; from colours.stages import Paint; "
    code += "print(code_version(Paint()))"

    path = os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH")]))

    def ask() -> str:
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, timeout=60
        )
        return done.stdout.strip()

    return ask


def test_comments_and_formatting_change_nothing(package, version):
    before = version()
    mixing = package / "mixing.py"
    mixing.write_text(
        "# what it does\n" + mixing.read_text().replace("n + constants.ONE", "(n   +\n    constants.ONE)")
    )
    assert version() == before


def test_a_module_that_is_not_imported_changes_nothing(package, version):
    before = version()
    (package / "unrelated.py").write_text("X = 2\n")
    assert version() == before


@pytest.mark.parametrize(
    "edited",
    ["stages.py", "mixing.py", "constants.py", "near.py", "late.py", "inner/deep.py", "upper.py", "inner/__init__.py"],
)
def test_a_changed_statement_changes_the_version_however_the_module_was_imported(package, version, edited):
    before = version()
    path = package / edited
    path.write_text(path.read_text() + "\nY = 5\n")
    assert version() != before


def test_a_report_change_leaves_a_pretrained_encoder_valid():
    from moola.pipelines.code_version import _closure

    reached = _closure({"moola.pipelines.stages.pretrain"}, {"moola"})
    assert "moola.training.loop" in reached
    assert "moola.evaluation.report" not in reached
    assert "moola.cli" not in reached


def test_components_in_fields_count():
    from moola.models.bilstm import BiLstm
    from moola.pipelines.code_version import _modules_of

    assert _modules_of({"a": [BiLstm()]}) == {"moola.models.bilstm"}


@pytest.mark.parametrize(
    ("module", "computes_with"), [("models.dtw", {"aeon", "numba"}), ("models.classical", {"sklearn", "scipy"})]
)
def test_what_other_packages_compute_with_counts(monkeypatch, module, computes_with):
    from moola.pipelines import code_version

    asked: list[str] = []
    monkeypatch.setattr(code_version, "_version", lambda name: asked.append(name) or "")
    code_version._digest.__wrapped__((f"moola.{module}",))
    assert computes_with <= set(asked)
