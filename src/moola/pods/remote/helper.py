"""Answers one request: told what to do as JSON on stdin, it writes the answer as frames to stdout."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import sys
import time

from moola.pods.remote import clearing, files, objects, processes, results
from moola.pods.remote.files import Refusal, inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

GREETING = b"\0moola-pod 1\n"
"""Begins every answer; a login script may have printed something before it."""
FRAME = struct.Struct(">cI")
"""Kind and length before a frame: D holds bytes of the body, A is the answer and E an error; both end it."""


def hello(root: str) -> dict[str, Any]:
    """What the machine is: Python, system, processors, memory and disk in bytes, its clock (Unix time, seconds).

    ``threads`` is what its own environment says of them, empty where it says nothing.
    """
    os.makedirs(root, exist_ok=True)
    system = os.uname()
    room = os.statvfs(root)
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "executable": sys.executable,
        "system": system.sysname,
        "machine": system.machine,
        "host": system.nodename,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk_bytes": room.f_frsize * room.f_blocks,
        "free_bytes": files.free_bytes(root),
        "root": root,
        "time": time.time(),
    }


def write_json(root: str, values: dict[str, Any]) -> dict[str, Any]:
    """Write JSON files, by path below the root, in their order; each whole or not at all."""
    places = [(inside(root, path), value) for path, value in values.items()]
    for place, value in places:
        files.write_json(place, value)
    return {}


def read_json(root: str, path: str) -> dict[str, Any]:
    """``{"value": ...}`` of a JSON file below the root; None where there is no such file."""
    return {"value": files.read_json(inside(root, path))}


def tail(root: str, path: str, offset: int = 0, most_bytes: int = 1 << 20, wait_s: float = 0) -> dict[str, Any]:
    """Whole lines of a growing file from a byte on.

    Where there are none yet, up to `wait_s` seconds are waited for one. The answer's ``offset`` is where the next
    request goes on; ``size`` is that of the file.
    """
    deadline = time.monotonic() + wait_s
    while True:
        content, size = b"", 0
        with contextlib.suppress(FileNotFoundError), open(inside(root, path), "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            handle.seek(offset)
            content = handle.read(most_bytes)
        end = content.rfind(b"\n") + 1
        if not end and len(content) == most_bytes:
            end = most_bytes  # a line too long for one answer comes in parts
        if end or time.monotonic() >= deadline:
            lines = content[:end].decode("utf-8", "replace").split("\n")
            return {"lines": lines[: len(lines) - (not lines[-1])], "offset": offset + end, "size": size}
        time.sleep(0.1)


ACTIONS = {
    "hello": hello,
    "receive": objects.receive,
    "materialise": objects.materialise,
    "list_files": results.list_files,
    "read_files": results.read_files,
    "release_files": results.release_files,
    "write_json": write_json,
    "read_json": read_json,
    "tail": tail,
    "spawn": processes.spawn,
    "execute": processes.execute,
    "stat_pid": processes.stat_pid,
    "signal": processes.signal,
    "remove_run": clearing.remove_run,
}


def _send(kind: bytes, content: bytes) -> None:
    sys.stdout.buffer.write(FRAME.pack(kind, len(content)) + content)
    sys.stdout.buffer.flush()


def _answer(action: str, arguments: dict[str, Any]) -> Any:
    if "root" in arguments:
        arguments["root"] = os.path.realpath(os.path.expanduser(arguments["root"]))
    if action == "receive":
        arguments["stdin"] = sys.stdin.buffer
    answer = ACTIONS[action](**arguments)
    if action != "read_files":
        return answer
    for block in answer:
        _send(b"D", block)
    return {}


def _refusal(error: OSError) -> Refusal:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal("disk_full", "the pod's disk is full", str(error))
    kind = "missing" if isinstance(error, FileNotFoundError) else "refused"
    return Refusal(kind, "the pod's system refused", str(error))


def main(request: Mapping[str, Any]) -> None:
    """Answer one request, whose bytes, if it has any, are still on stdin."""
    if request["action"] != "execute":
        sys.stdout.buffer.write(GREETING)
    try:
        _send(b"A", json.dumps(_answer(request["action"], request["arguments"])).encode())
    except (Refusal, OSError) as error:
        told = error if isinstance(error, Refusal) else _refusal(error)
        if request["action"] == "execute":
            sys.exit(f"{told.what}: {told.why}")
        _send(b"E", json.dumps({"kind": told.kind, "what": told.what, "why": told.why}).encode())
