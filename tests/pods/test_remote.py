"""What runs on a pod, asked through a real process of its own."""

from __future__ import annotations

import ast
import contextlib
import gzip
import importlib
import inspect
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.pods.remote.clearing import remove_run
from moola.pods.remote.files import Refusal, glob_rule, inside
from moola.pods.remote.rows import count_records
from moola.pods.wire import MODULES, LocalConnection, RemoteError


@pytest.mark.parametrize("name", MODULES)
def test_old_pythons_understand_it_and_it_imports_nothing_else(name: str) -> None:
    module = importlib.import_module(f"moola.pods.remote.{name}")
    tree = ast.parse(inspect.getsource(module), feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            top = node.module or ""
            is_own = top.removeprefix("moola.pods.remote").lstrip(".") in ("", *MODULES[: MODULES.index(name)])
            assert (top.startswith("moola.pods.remote") and is_own) or top in ("typing", "collections.abc")
        if isinstance(node, ast.Import):
            assert all(one.name in sys.stdlib_module_names for one in node.names)


@given(path=st.text(st.sampled_from("a./\\\0~"), max_size=8))
def test_no_path_leaves_its_folder(path: str) -> None:
    with contextlib.suppress(Refusal):
        full = inside("/root", path)
        assert os.path.normpath(full) == full == f"/root/{path}"


@given(
    parts=st.lists(st.text("ab.[", min_size=1, max_size=3), min_size=1, max_size=4),
    pattern=st.lists(st.sampled_from(["*", "**", "a*", "?", "ab", "[", "."]), min_size=1, max_size=4).map("/".join),
)
def test_patterns_mean_what_the_standard_library_means_where_that_knows_them(parts: list[str], pattern: str) -> None:
    from pathlib import PurePosixPath

    path = "/".join(parts)
    told = bool(glob_rule([pattern])(path))
    if "**" not in pattern:
        escaped = pattern.replace("[", "[[]")
        normal = "." not in path.split("/") and "." not in pattern.split("/")
        if normal and path.count("/") == pattern.count("/"):
            assert told == PurePosixPath(path).match(escaped)
        else:
            assert not told or path.count("/") == pattern.count("/")
    elif pattern in ("**", "**/*"):
        assert told


def test_double_star_spans_folders() -> None:
    rule = glob_rule(["a/**/z", "b/**"])
    assert all(rule(path) for path in ("a/z", "a/x/z", "a/x/y/z", "b/c", "b/c/d"))
    assert not any(rule(path) for path in ("z", "az", "a/zz", "b", "ab/c", "a/z/"))


def test_records_are_counted_as_polars_does(tmp_path: Path) -> None:
    import polars as pl

    for rows in (0, 1, 3000):
        frame = pl.DataFrame({"time": range(rows), "text": [f"row {i}" for i in range(rows)], "flag": [True] * rows})
        frame = frame.with_columns(pl.struct("time", "flag").alias("nested"), pl.lit(0.5).alias("number"))
        frame.write_parquet(tmp_path / "t.parquet", row_group_size=1000)
        assert count_records(str(tmp_path / "t.parquet")) == rows
        frame.drop("nested").write_csv(tmp_path / "t.csv")
        assert count_records(str(tmp_path / "t.csv")) == rows + 1
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes().rstrip(b"\n")))
        assert count_records(str(tmp_path / "t.csv.gz")) == rows + 1


@given(content=st.binary(max_size=60))
def test_broken_tables_are_no_reason_to_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.parquet"
    path.write_bytes(b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1")
    assert isinstance(count_records(str(path)), int | None)
    for name in ("broken.csv.gz", "no_table.bin"):
        (path.parent / name).write_bytes(content)
        assert count_records(str(path.parent / name)) is None or not content


def test_endless_list_in_a_footer_ends(tmp_path: Path) -> None:
    endless = b"\x19\xf7" + b"\xff" * 8 + b"\x7f"  # field 1: a list of 2^63 doubles
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + endless + len(endless).to_bytes(4, "little") + b"PAR1")
    assert count_records(str(tmp_path / "t.parquet")) is None


def test_hello_tells_the_machine(local: LocalConnection, tmp_path: Path) -> None:
    answer = local.request("hello", {"root": str(tmp_path / "root")}, timeout_s=10)
    assert answer["python"] == ".".join(map(str, sys.version_info[:3]))
    assert answer["free_bytes"] > 0 and answer["memory_bytes"] > 0 and answer["cores"] >= 1
    assert abs(answer["time"] - time.time()) < 10


def test_json_is_written_whole_and_read_back(local: LocalConnection, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    ask = {"root": root, "path": "runs/r/job.json"}
    assert local.request("read_json", ask, timeout_s=10)["value"] is None
    value = {"argv": ["python", "$(touch x)", "'; rm -rf ~", "\n"], "umlaut": "ä\udce9"}
    local.request("write_json", {"root": ask["root"], "values": {ask["path"]: value}}, timeout_s=10)
    assert local.request("read_json", ask, timeout_s=10)["value"] == value
    assert os.listdir(tmp_path / "root" / "runs" / "r") == ["job.json"]
    with pytest.raises(RemoteError, match="plainly below"):
        local.request("write_json", {"root": root, "values": {"y": 1, "../x": 1}}, timeout_s=10)
    assert not (tmp_path / "root" / "y").exists()


def test_log_goes_on_at_the_exact_byte(local: LocalConnection, tmp_path: Path) -> None:
    ask = {"root": str(tmp_path), "path": "log.jsonl"}
    assert local.request("tail", ask, timeout_s=10).value == {"lines": [], "offset": 0, "size": 0}
    log = tmp_path / "log.jsonl"
    log.write_bytes('{"n": 1}\n{"n": 2, "text": "ä\u2028"}\n{"n": 3'.encode())
    first = local.request("tail", ask, timeout_s=10)
    assert first["lines"] == ['{"n": 1}', '{"n": 2, "text": "ä\u2028"}']
    with log.open("ab") as handle:
        handle.write(b"}\n")
    second = local.request("tail", {**ask, "offset": first["offset"]}, timeout_s=10)
    assert (second["lines"], second["offset"]) == (['{"n": 3}'], log.stat().st_size)
    lines, offset = [], 0
    while offset < log.stat().st_size:  # in small answers
        part = local.request("tail", {**ask, "offset": offset, "most_bytes": 30}, timeout_s=10)
        lines, offset = lines + part["lines"], part["offset"]
    assert "".join(lines) == log.read_text().replace("\n", "")


def test_waiting_for_the_log_ends_with_the_next_line(local: LocalConnection, tmp_path: Path) -> None:
    writer = threading.Timer(0.3, lambda: (tmp_path / "log").write_bytes(b"line\n"))
    writer.start()
    answer = local.request("tail", {"root": str(tmp_path), "path": "log", "wait_s": 20}, timeout_s=30)
    writer.join()
    assert answer["lines"] == ["line"]
    assert answer.took_s < 10


def test_started_process_outlives_the_request_and_can_be_ended(local: LocalConnection, tmp_path: Path) -> None:
    argv = ["sh", "-c", 'echo "$GREETING $1"; exec sleep 60', "sh", "$(hostname)"]
    environment = {"GREETING": "it's"}
    output = str(tmp_path / "out")
    ask = {"argv": argv, "cwd": str(tmp_path), "environment": environment, "output": output}
    process = local.request("spawn", ask, timeout_s=10).value
    deadline = time.monotonic() + 10
    while not Path(output).read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert Path(output).read_text() == "it's $(hostname)\n"
    assert os.getsid(process["pid"]) == process["pid"]
    assert local.request("stat_pid", process, timeout_s=10)["alive"]
    other = {**process, "started": "1"}
    assert not local.request("stat_pid", other, timeout_s=10)["alive"]
    assert not local.request("signal", {**other, "name": "SIGKILL"}, timeout_s=10)["sent"]
    assert local.request("signal", {**process, "name": "SIGTERM"}, timeout_s=10)["sent"]
    while local.request("stat_pid", process, timeout_s=10)["alive"]:
        assert time.monotonic() < deadline
    assert not local.request("signal", {**process, "name": signal.SIGKILL.name}, timeout_s=10)["sent"]


def test_program_that_is_not_there_is_told(local: LocalConnection, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="no-such-program") as caught:
        local.request("spawn", {"argv": ["no-such-program"], "cwd": str(tmp_path)}, timeout_s=10)
    assert caught.value.kind == "missing"
    process = local.start(["no-such-program"], cwd=str(tmp_path))
    _, complaint = process.communicate(timeout=10)
    assert process.returncode != 0
    assert b"no-such-program" in complaint


def test_program_has_its_output_and_exit_code_here(local: LocalConnection, tmp_path: Path) -> None:
    argv = ["sh", "-c", 'pwd; echo "$WORD"; cat; echo oops >&2; exit 7']
    process = local.start(argv, cwd=str(tmp_path), environment={"WORD": "$(x)"})
    output, complaint = process.communicate(timeout=10)
    assert (output.decode(), complaint, process.returncode) == (f"{tmp_path}\n$(x)\n", b"oops\n", 7)


def test_a_run_is_taken_away_and_what_runs_share_stays_while_another_needs_it(tmp_path: Path) -> None:
    places = ("runs/one/project", "runs/two/project", "runs/.gone-0123", "objects/ab", "env/x", "other")
    for place in places:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_text("x")
    (tmp_path / "runs/one/project/link").symlink_to(tmp_path / "other")
    assert remove_run(str(tmp_path), "one", keep_cache=False)["left"] == []
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["two"]
    assert (tmp_path / "objects/ab/file").exists() and (tmp_path / "other/file").exists()
    remove_run(str(tmp_path), "two", keep_cache=True)
    assert (tmp_path / "objects/ab/file").exists()
    remove_run(str(tmp_path), "two", keep_cache=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "runs"]
    for name in ("..", ".", "../other", ""):
        with pytest.raises(Refusal):
            remove_run(str(tmp_path), name, keep_cache=False)
    assert (tmp_path / "other/file").exists()
