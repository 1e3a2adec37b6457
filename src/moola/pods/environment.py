"""The Python of a run on the pod: a virtual environment on top of the torch that is there.

``python3 -m moola.pods.environment SPEC`` makes it once for each set of packages. The image's torch suits its driver,
so it is never replaced: the environment sees what its base sees, pip installs what is missing, and a constraint holds
torch where it is. The base may itself be a virtual environment, whose packages ``--system-site-packages`` does not
show; a ``.pth`` file does.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

READY = "ready.json"
EXIT_ENVIRONMENT = 5
_PTH = "moola_base.pth"
_FACTS = """\
import importlib.metadata, json, os, platform, sys, sysconfig
try:
    torch = importlib.metadata.version("torch")
except importlib.metadata.PackageNotFoundError:
    torch = None
own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
folders = [path for path in sys.path[1:] if os.path.isdir(path) and path not in own and "lib-dynload" not in path]
packages = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions() if item.metadata["Name"]}
print(json.dumps({"python": platform.python_version(), "version": sys.version_info[:2], "folders": folders,
    "purelib": sysconfig.get_path("purelib"), "torch": torch, "packages": packages}))
"""


class BadEnvironmentError(Exception):
    """The environment cannot be made; the text says what, why and the way out."""


def make_environment(spec: dict[str, Any]) -> dict[str, Any]:
    """Make the environment, or find it made.

    Args:
        spec: ``python`` (interpreter that has torch), ``folder`` (of the environment), ``requirements`` and
            ``constraints`` (as pip reads them, without torch), ``min_python``.

    Returns:
        ``python``, ``torch`` and ``packages`` with their versions, ``made``, ``seconds``.

    Raises:
        BadEnvironmentError: the interpreter is missing, too old or without torch, or packages cannot be installed.
    """
    began, folder = time.monotonic(), Path(spec["folder"])
    base = facts_of(spec["python"])
    _check_base(base, spec)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = not _is_ready(folder, base)
        if made:
            _make(folder, base, spec)
        known = json.loads((folder / READY).read_text())
    return {**known, "made": made, "seconds": round(time.monotonic() - began, 1)}


def facts_of(python: str) -> dict[str, Any]:
    """What an interpreter is and has.

    Raises:
        BadEnvironmentError: it cannot be run.
    """
    try:
        done = subprocess.run([python, "-c", _FACTS], capture_output=True, timeout=120, env=_environment())
    except (OSError, subprocess.SubprocessError) as error:
        raise BadEnvironmentError(
            f"the Python {python} cannot be run on the pod: {error}\n"
            "-> name another with --python PATH (pod.python=PATH)"
        ) from error
    if done.returncode:
        raise BadEnvironmentError(
            f"the Python {python} does not work on the pod\n{done.stderr.decode(errors='replace').strip()}\n"
            "-> name another with --python PATH (pod.python=PATH)"
        )
    return json.loads(done.stdout)


def _environment() -> dict[str, str]:
    """Without the folders that this process imports from: they are the run's, not the interpreter's."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _check_base(base: dict[str, Any], spec: dict[str, Any]) -> None:
    least = spec.get("min_python", [3, 8])
    if base["version"] < least:
        needed = ".".join(map(str, least))
        raise BadEnvironmentError(
            f"{spec['python']} on the pod is Python {base['python']}, and this needs {needed} or newer"
            "\n-> name a newer one with --python PATH (pod.python=PATH), or, on a rented pod, an image (pod.image=...)"
        )
    if base["torch"] is None:
        raise BadEnvironmentError(
            f"{spec['python']} on the pod has no torch\nthe torch of the image is kept, none is installed over it"
            "\n-> name the Python that has it with --python PATH (pod.python=PATH), or, on a rented pod, an image "
            "(pod.image=...)"
        )


def _is_ready(folder: Path, base: dict[str, Any]) -> bool:
    """Whether it was made to its end, and on top of what the base is now."""
    try:
        known = json.loads((folder / READY).read_text())
        now = facts_of(str(folder / "bin" / "python"))
    except (OSError, ValueError, BadEnvironmentError):
        return False
    wanted = {name: base[name] for name in ("python", "torch")}
    return all(known.get(name) == now[name] == value for name, value in wanted.items())


def _make(folder: Path, base: dict[str, Any], spec: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _call([spec["python"], "-m", "venv", "--system-site-packages", "--without-pip", str(folder)], "venv")
    python = str(folder / "bin" / "python")
    (Path(facts_of(python)["purelib"]) / _PTH).write_text("".join(f"{path}\n" for path in base["folders"]))
    _install(python, folder, base, spec)
    found = facts_of(python)
    if found["torch"] != base["torch"]:
        raise BadEnvironmentError(
            f"the install would use torch {found['torch']} in place of the image's {base['torch']}"
            "\n-> look at what asks for it in the lines above; choose another image with pod.image=..."
        )
    ready = {name: found[name] for name in ("python", "torch", "packages")}
    temporary = folder / f".{READY}.part"
    temporary.write_text(json.dumps(ready))
    os.replace(temporary, folder / READY)


def _install(python: str, folder: Path, base: dict[str, Any], spec: dict[str, Any]) -> None:
    """Let pip add what the base lacks, or has in another version than the constraints say."""
    if "pip" not in base["packages"]:
        _call([python, "-m", "ensurepip", "--default-pip"], "ensurepip")
    constraints, requirements = folder / "constraints.txt", folder / "requirements.txt"
    constraints.write_text("".join(f"{line}\n" for line in [*spec["constraints"], f"torch=={base['torch']}"]))
    requirements.write_text("".join(f"{line}\n" for line in spec["requirements"]))
    if spec["requirements"]:
        words = ["--disable-pip-version-check", "--no-input", "install", "--progress-bar=off"]
        _call([python, "-m", "pip", *words, "-c", str(constraints), "-r", str(requirements)], "pip")


def _call(argv: list[str], what: str) -> None:
    """Run a program whose output goes to the log of the run.

    Raises:
        BadEnvironmentError: it failed.
    """
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(argv, env=_environment(), text=True, errors="replace", **pipes) as process:
        for line in process.stdout or ():
            if not line.startswith("Requirement already satisfied"):  # dozens of them, and no news
                print(line, end="", flush=True)
    if code := process.returncode:
        raise BadEnvironmentError(
            f"{what} failed with exit code {code}; the lines above say why\n"
            "-> mend what they say; a package index of your own is set on the pod with pod.env.PIP_INDEX_URL=URL"
        )


def main(words: list[str]) -> int:
    """Make the environment that a file describes, and write what it is to the file that it names."""
    spec = json.loads(Path(words[0]).read_text())
    try:
        found = make_environment(spec)
    except BadEnvironmentError as error:
        print(f"environment: {error}")
        return EXIT_ENVIRONMENT
    Path(spec["report"]).write_text(json.dumps(found))
    how = "made" if found["made"] else "found"
    print(f"environment {how} in {found['seconds']} s: Python {found['python']}, torch {found['torch']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
