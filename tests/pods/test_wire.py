"""A request over anything that leads to a pod, and every way in which it can go wrong."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moola.errors import StorageError
from moola.pods.wire import MOST_NOISE, Answer, ConnectionLostError, LocalConnection, RemoteError, ask, helper_argv

GREETING = r"\0moola-pod 1\n"


def tell(program: str, tmp_path: Path, **options: Any) -> Answer:
    """Ask what is no helper but a program of a test."""
    argv = [sys.executable, "-I", "-S", "-c", f"import os,sys,time\nout=sys.stdout.buffer\n{program}"]
    return ask(argv, "hello", {"root": str(tmp_path)}, **{"timeout_s": 10, **options})


def frame(kind: str, content: str) -> str:
    return f"b'{kind}'+({len(content)}).to_bytes(4,'big')+b'{content}'"


def test_command_is_constant_and_needs_no_quotes() -> None:
    words = helper_argv("python3")
    assert "'" not in words[-1] and "\n" not in words[-1] and "\\" not in words[-1]


@pytest.mark.parametrize("noise", [b"", b"Welcome!\n", b"A\0moola", b"x" * (MOST_NOISE - 100)])
def test_login_scripts_may_talk_before(tmp_path: Path, noise: bytes) -> None:
    program = f"out.write({noise!r}+b'{GREETING}'+{frame('A', '{}')})"
    assert tell(program, tmp_path).value == {}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("out.write(b'x'*10**6)", "talks but does not answer"),
        (f"out.write(b'{GREETING}'+{frame('A', 'no')})", "not JSON"),
        (f"out.write(b'{GREETING}'+{frame('A', '[' * 100_000)})", "not JSON"),
        (f"out.write(b'{GREETING}'+{frame('A', '[]')})", "not a JSON object"),
        (f"out.write(b'{GREETING}'+b'A'+b'\\xff'*4)", "makes no sense"),
        (f"out.write(b'{GREETING}'+{frame('X', '{}')})", "makes no sense"),
        (f"out.write(b'{GREETING}'+{frame('D', 'bytes')})", "nobody asked for"),
        ("sys.exit('boom')", "ended with code 1.*\\nboom"),
        (f"out.write(b'{GREETING}')", "ended with code 0"),
        ("sys.stderr.write('python3: not found'); sys.exit(127)", "no Python"),
        ("raise ValueError('a defect')", "a defect"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, program: str, words: str) -> None:
    with pytest.raises(RemoteError, match=words):
        tell(program, tmp_path)


@pytest.mark.parametrize(
    "program", ["sys.exit(255)", "os.kill(os.getpid(), 9)", f"out.write(b'{GREETING}'); sys.exit(255)"]
)
def test_broken_connection_may_be_tried_again(tmp_path: Path, program: str) -> None:
    with pytest.raises(ConnectionLostError, match="broke"):
        tell(program, tmp_path)


def test_silence_ends_and_leaves_no_process(tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'pid')!r},'w').write(str(os.getpid())); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(ConnectionLostError, match="silent"):
        tell(program, tmp_path, timeout_s=1)
    assert time.monotonic() - started < 10
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


@pytest.mark.parametrize("python", ["/nowhere/python3", "/etc", "/etc/passwd"])
def test_a_folder_whose_python_cannot_be_run_says_which_flag_names_another(tmp_path: Path, python: str) -> None:
    pod = LocalConnection(tmp_path, python=python)
    for asked in (
        lambda: pod.request("hello", {"root": str(tmp_path)}, timeout_s=20),
        lambda: pod.start(["true"], cwd=str(tmp_path)),
    ):
        with pytest.raises(RemoteError, match="no Python") as caught:
            asked()
        assert "--python" in caught.value.way_out and python in caught.value.why


def test_bytes_go_both_ways_at_the_same_time(tmp_path: Path) -> None:
    """Megabytes each way through pipes of kilobytes: who only writes, or only reads, would wait for ever."""
    program = f"""
out.write(b'{GREETING}')
n = 0
while block := sys.stdin.buffer.read1(65536):
    n += len(block)
    out.write(b'D' + len(block).to_bytes(4, 'big') + block)
    out.flush()
out.write({frame("A", "{}")})
"""
    got = bytearray()
    tell(program, tmp_path, body=(bytes([i]) * 100_000 for i in range(50)), sink=got.extend)
    assert bytes(got).endswith(b"".join(bytes([i]) * 100_000 for i in range(50)))


def test_errors_of_the_body_stop_it_all(local: LocalConnection, tmp_path: Path) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        raise StorageError("a file changed")

    ask_for = {"root": str(tmp_path / "root"), "run": "run", "files": [], "objects": [["0" * 64, 5, 0]]}
    with pytest.raises(StorageError, match="a file changed"):
        local.request("receive", ask_for, timeout_s=10, body=body())
    assert not list((tmp_path / "root" / "objects").glob("00/*"))


def test_refusals_keep_their_kind_and_cause(local: LocalConnection, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="no SHA-256") as caught:
        local.request(
            "receive",
            {"root": str(tmp_path), "run": "run", "files": [], "objects": [["../x", 1, 0]]},
            timeout_s=10,
            body=[b"x"],
        )
    assert caught.value.kind == "refused"
    wrong = {"root": str(tmp_path), "run": "run", "files": [], "objects": [["0" * 64, 1, 0]]}
    with pytest.raises(RemoteError, match="digest") as caught:
        local.request("receive", wrong, timeout_s=10, body=[b"x"])
    assert caught.value.kind == "changed"
    assert not any((tmp_path / "objects" / "partial").iterdir())


def test_frames_may_arrive_byte_by_byte(tmp_path: Path) -> None:
    content = f"b'noise'+b'{GREETING}'+{frame('D', 'ab')}+{frame('D', '')}+{frame('D', 'c')}+{frame('A', '{}')}"
    got = bytearray()
    tell(f"for b in {content}: out.write(bytes([b])); out.flush(); time.sleep(0.001)", tmp_path, sink=got.extend)
    assert got == b"abc"


def test_frame_header_is_what_both_sides_mean() -> None:
    from moola.pods.remote.helper import FRAME

    assert FRAME.pack(b"A", 258) == b"A" + struct.pack(">I", 258)
