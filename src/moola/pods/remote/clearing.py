"""Taking away what a run left on a machine that stays."""

from __future__ import annotations

import os
import shutil

from moola.pods.remote.files import free_bytes, project_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GONE = ".gone-"
_SHARED = ("objects", "env")
"""What runs share: they stay for the next one, which then sends and installs what changed."""


def remove_run(root: str, run: str, keep_cache: bool) -> dict[str, Any]:
    """Delete a run's folder; without `keep_cache` also what runs share, unless another run is there.

    The folder loses its name first, so that nobody goes on with half of one; what a request that was killed left of
    others goes, too.
    """
    runs = os.path.join(root, "runs")
    folder = os.path.dirname(project_folder(root, run))
    if os.path.isdir(folder):
        os.rename(folder, os.path.join(runs, _GONE + os.urandom(8).hex()))
    names = os.listdir(runs) if os.path.isdir(runs) else []
    gone = [os.path.join(runs, name) for name in names if name.startswith(_GONE)]
    if not keep_cache and len(gone) == len(names):
        gone += [os.path.join(root, name) for name in _SHARED]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return {"left": [path for path in gone if os.path.lexists(path)], "free": free_bytes(root)}
