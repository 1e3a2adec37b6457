"""Draw `docs/pod-run.svg`: a real session of `moola pod run` with an sshd of this machine, recorded and drawn again.

``python docs/pod_run_picture.py HERE SESSION.cast docs/pod-run.svg`` takes minutes; where SESSION.cast (asciicast v2,
https://docs.asciinema.org/manual/asciicast/v2/) is there, it is only drawn. HERE is a folder in which `moola run` was
called with the same overrides: the last command compares its figures. Needs OpenSSH's server and the extra `terminal`.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COLUMNS = 112
PROMPT = b"$ "
SAME_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FIRST, LAST = 4, 2
"""Lines that are shown of each step of the run; the picture says how many are left out between them."""
GAP = " " * 14 + "... "
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" viewBox="0 0 {width} {height}" role="img"
aria-label="moola pod run, from the first line to equal digests">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""
"""Rich's own, less the fonts that it would load from the network."""


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """An sshd on a loopback port, with a key for it and the key that it takes in `folder`; its port."""
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "key.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
        "SetEnv": "PIP_QUIET=1",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or sys.exit("apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen([program, "-D", "-f", folder / "sshd_config"])
    try:
        yield port
    finally:
        process.terminate()


def record(commands: list[str], environment: dict[str, str], cast: Path) -> None:
    """Type commands into a shell on a terminal of its own, each when the one before has ended."""
    pid, terminal = pty.fork()
    if pid == 0:
        own = {"PS1": PROMPT.decode(), "PS2": "", "TERM": "dumb", "COLUMNS": str(COLUMNS)}
        os.execvpe("sh", ["sh", "-i"], {**environment, **own})  # noqa: S606
    began, left = time.monotonic(), [*commands, "exit"]
    with cast.with_suffix(".part").open("w") as out:
        out.write(json.dumps({"version": 2, "width": COLUMNS, "height": 50}) + "\n")
        seen = b""
        while True:
            try:
                block = os.read(terminal, 65536)
            except OSError:  # how a terminal says that nobody is there any more
                break
            out.write(json.dumps([round(time.monotonic() - began, 3), "o", block.decode(errors="replace")]) + "\n")
            seen = (seen + block)[-200:]
            if seen == PROMPT or seen.endswith(b"\n" + PROMPT):
                seen = b""
                os.write(terminal, left.pop(0).encode() + b"\n")
    os.waitpid(pid, 0)
    cast.with_suffix(".part").rename(cast)


def lines_of(cast: Path) -> list[str]:
    """What stood on the terminal, less the middle of what each step said."""
    _, *events = map(json.loads, cast.read_text().splitlines())
    lines = "".join(text for _, _, text in events).replace("\r\n", "\n").removesuffix("$ exit\n").splitlines()
    steps = itertools.groupby(lines, lambda line: line.partition(" | ")[0] if " | " in line else None)
    return [line for step, said in steps for line in (said if step is None else _shortened(list(said)))]


def _shortened(lines: list[str]) -> list[str]:
    cut = len(lines) - FIRST - LAST
    if cut < 2:
        return lines
    return [*lines[:FIRST], f"{GAP}{cut} lines of {lines[0].partition(' | ')[0].strip()} more ...", *lines[-LAST:]]


def draw(lines: list[str], picture: Path) -> None:
    """The session as SVG, on its own dark ground, readable on light and dark pages."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    typed, before = False, ""
    for line in lines:
        typed = line.startswith(PROMPT.decode()) or (typed and before.endswith("\\"))
        console.print(Text(line, style="bold green" if typed else "dim" if line.startswith(GAP) else ""))
        before = line
    picture.write_text(console.export_svg(title="moola pod run", code_format=_SVG, unique_id="pod"))


def main(here: Path, cast: Path, picture: Path) -> None:
    """Record, unless that was done, and draw."""
    if not cast.exists():
        with tempfile.TemporaryDirectory() as name, server(Path(name)) as port:
            names = {"POD": f"{os.environ.get('USER') or 'root'}@127.0.0.1:{port}", "KEYS": name}
            threads = dict.fromkeys(SAME_THREADS, "1")
            same = " ".join(f"pod.env.{variable}=1" for variable in SAME_THREADS)
            commands = [
                'moola pod run experiment=market --provider ssh --host "$POD" --identity "$KEYS/key" \\\n'
                f'  --host-key "$(cat "$KEYS/host_key.pub")" --python "$(which python)" {same}',
                f"sha256sum {here}/artifacts/results/*/metrics.json artifacts/results/*/metrics.json",
            ]
            record(commands, {**os.environ, **names, **threads}, cast)
    draw(lines_of(cast), picture)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
