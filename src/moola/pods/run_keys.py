"""The key pair that opens a run's pods: made for that run, kept beside the ledger, deleted when the last pod ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from moola.errors import MissingPackageError
from moola.layout import sync_folder
from moola.pods.ledger import Ledger

RUN_KEYS_PLACE = "metadata/pod_keys"
"""Below the artifacts folder."""
_FILE = "id_ed25519"


class RunKeys:
    """Key pairs by run; nobody but their owner may read them.

    Args:
        folder: one folder a run in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identity(self, run: str) -> Path:
        """The private key's file; it is made where there is none.

        Raises:
            MissingPackageError: there is no ``ssh-keygen``.
        """
        path = self._folder / run / _FILE
        if not path.is_file():
            self._make(path.parent)
        return path

    def public_key(self, run: str) -> str:
        """The line that lets the key in."""
        return self.identity(run).with_suffix(".pub").read_text().strip()

    def forget(self, run: str) -> None:
        """Delete the pair; nothing happens where there is none."""
        shutil.rmtree(self._folder / run, ignore_errors=True)

    def forget_where_over(self, run: str, ledger: Ledger) -> None:
        """Delete the pair unless a pod of the run is open, or may be: what is left over of a run opens nothing."""
        if not ledger.pods(run, open_only=True) and not ledger.open_intents(run):
            self.forget(run)

    def _make(self, folder: Path) -> None:
        """Both files or neither: a client that is killed here leaves a folder with another name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        os.chmod(self._folder, 0o700)
        fresh = Path(tempfile.mkdtemp(dir=self._folder, prefix=f".{folder.name}.", suffix=".part"))
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"moola {folder.name}", "-f", str(fresh / _FILE)]
        try:
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            os.rename(fresh, folder)
            sync_folder(self._folder)
        except FileNotFoundError as error:
            what, way_out = "there is no ssh-keygen", "install the OpenSSH client (apt install openssh-client)"
            raise MissingPackageError(what, "a pod is opened by a key made for its run", way_out) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
