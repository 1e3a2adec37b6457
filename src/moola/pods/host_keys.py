"""Whether who answers on a pod's port is the pod: its host keys against the fingerprints it printed when it booted.

A new pod has new host keys, so that the first connection has nothing to compare with, and most tools trust whoever
answers. The official images print their fingerprints to the container log, which the API streams over TLS: what an
unprotected port shows is pinned only where that log knows it. ``ssh`` itself then insists on the pinned keys.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence

from moola.errors import ConfigError, MissingPackageError
from moola.pods.ssh import HostKeyError, fingerprint

_PRINTED = re.compile(r"(?:^|\s)\d+ (SHA256:[A-Za-z0-9+/]{43}) .*\(([A-Z0-9-]+)\)\s*$")
"""A line of ``ssh-keygen -lf``: bits, fingerprint, comment, type."""
_TYPES = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA"}
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*")
_KEY_LINE = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})")


def printed_fingerprints(log: Iterable[str]) -> dict[str, str]:
    """Fingerprints (``SHA256:...``) by key type in a container's log; the last of each type counts.

    A container that boots again makes new keys and prints them below the old ones.
    """
    found = filter(None, map(_PRINTED.search, log))
    return {match[2]: match[1] for match in found}


def checked_host(host: str) -> str:
    """A host name or address that no program can take for an option.

    Raises:
        ConfigError: it is neither.
    """
    if not _HOST.fullmatch(host):
        raise ConfigError([f"'{host}' is no host name and no address"])
    return host


def scan(host: str, port: int, timeout_s: float = 5.0) -> tuple[str, ...]:
    """Public host keys (``ssh-ed25519 AAAA...``) that whoever answers shows; none where nobody answers.

    Nothing says yet whose they are.

    Raises:
        MissingPackageError: there is no ``ssh-keyscan``.
    """
    words = ["ssh-keyscan", "-T", str(max(int(timeout_s), 1)), "-p", str(port), "-t", "ed25519,ecdsa,rsa"]
    try:
        done = subprocess.run(
            [*words, checked_host(host)], capture_output=True, text=True, timeout=4 * timeout_s + 5, check=False
        )
    except FileNotFoundError as error:
        what, way_out = "there is no ssh-keyscan", "install the OpenSSH client (apt install openssh-client)"
        raise MissingPackageError(what, "the host key of a pod cannot be checked without it", way_out) from error
    except subprocess.TimeoutExpired:
        return ()
    lines = (line.partition(" ")[2] for line in done.stdout.splitlines() if not line.startswith("#"))
    return tuple(sorted(line for line in lines if _KEY_LINE.fullmatch(line)))


def verified(shown: Sequence[str], printed: dict[str, str], *, pod: str) -> tuple[str, ...]:
    """The keys of those that a port shows whose fingerprints the pod printed.

    Args:
        shown: by `scan`.
        printed: by `printed_fingerprints`.
        pod: its id, for messages.

    Raises:
        HostKeyError: a key is shown where the pod printed another, or none that it printed is shown.
    """
    swapped = [key for key in shown if printed.get(_type(key), fingerprint(key)) != fingerprint(key)]
    known = tuple(key for key in shown if fingerprint(key) in printed.values())
    if swapped or not known:
        seen = [f"- {_type(key)}: it shows {fingerprint(key)}, the pod printed {_said(key, printed)}" for key in shown]
        raise HostKeyError(
            f"whoever answers is not pod {pod}: its host key is another",
            "\n".join(seen),
            "nothing was sent. Somebody may stand between, or the address is another pod's: draw another pod from "
            "another network, and tell the lender if it happens again",
        )
    return known


def unprinted(pod: str) -> HostKeyError:
    """The error for a pod that printed no fingerprint, so that nobody can tell it from another."""
    return HostKeyError(
        f"the host key of pod {pod} cannot be checked",
        "its log shows no fingerprint; official images (runpod/pytorch) print them when they boot",
        "use an image that does, or take the first key that is seen for the pod's with --trust-first-use",
    )


def unconfirmed(pod: str) -> HostKeyError:
    """The error for a pod whose port shows other keys than were pinned, where nothing says that they are its own."""
    return HostKeyError(
        f"whoever answers for pod {pod} shows another host key than before",
        "its log shows no fingerprint that confirms it",
        "nothing was sent. `moola pod logs RUN` has what came before; `moola pod down RUN` ends the pod, and "
        "`moola pod resume RUN` goes on with another",
    )


def _type(key: str) -> str:
    name = key.partition(" ")[0]
    return _TYPES.get(name, "ECDSA")


def _said(key: str, printed: dict[str, str]) -> str:
    return printed.get(_type(key), "no such key")
