"""Becomes one `moola` command, in a process forked from one that has the heavy imports done.

Run by `runpy` with `request` among its globals. The process is a real one: it has an exit code and can be killed.
"""

import os
import signal
import sys
import traceback

request: dict = globals()["request"]
os.chdir(request["folder"])
for descriptor, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = request["python_path"]
if request["file_bytes"] is not None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"], request["file_bytes"]))

from multiprocessing import forkserver  # noqa: E402

# Workers of a sweep are forked from the server that this process was forked from: it has the imports done.
forkserver.ForkServer.ensure_running = lambda self: None

from moola.cli import main  # noqa: E402

try:
    code = main(request["words"])
except SystemExit:
    raise
except BaseException:
    traceback.print_exc()
    code = 1
raise SystemExit(code)
