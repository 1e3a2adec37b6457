"""Where W&B is and who we are there, found out without asking anybody."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["auto", "online", "offline", "disabled"]

DEFAULT_URL = "https://api.wandb.ai"
"""Said with every run: the client's own default has moved once, and a key is good for one host alone."""
_OTHER_NAMES = {"api.wandb.ai": ("api.forge.coreweave.com",)}
"""Host -> names under which the client's own login keeps a key for it."""


@dataclass(frozen=True)
class Account:
    """A server and what it takes to write there.

    Attributes:
        url: of the server's API.
        key: None where none was found.
        mode: ``online``, ``offline`` or ``disabled``.
    """

    url: str
    key: str | None
    mode: str


def find_account(mode: Mode, base_url: str | None, environment: Mapping[str, str] | None = None) -> Account:
    """What the configuration and the environment give.

    Args:
        mode: ``auto`` is ``WANDB_MODE`` where that is set, else online with a key and offline without.
        base_url: None: ``WANDB_BASE_URL``, else W&B's own.
        environment: None: of this process.
    """
    environment = os.environ if environment is None else environment
    url = (base_url or environment.get("WANDB_BASE_URL") or DEFAULT_URL).rstrip("/")
    key = find_key(url, environment)
    asked = mode if mode != "auto" else _asked_by(environment)
    return Account(url, key, asked or ("online" if key else "offline"))


def find_key(url: str, environment: Mapping[str, str]) -> str | None:
    """A key for the server: ``WANDB_API_KEY``, else the line of a netrc file that ``wandb login`` writes."""
    if key := environment.get("WANDB_API_KEY", "").strip():
        return key
    host = urlsplit(url).netloc
    for path in _netrc_files(environment):
        try:
            known = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
            continue  # none is there, or another program's that nobody can read
        for name in (host, *_OTHER_NAMES.get(host, ())):
            if (found := known.authenticators(name)) and found[2]:
                return found[2]
    return None


def _asked_by(environment: Mapping[str, str]) -> str | None:
    """``WANDB_MODE`` as the client reads it."""
    said = environment.get("WANDB_MODE", "").casefold()
    return {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}.get(
        said, "disabled" if said == "disabled" else None
    )


def _netrc_files(environment: Mapping[str, str]) -> list[Path]:
    if named := environment.get("NETRC"):
        return [Path(named).expanduser()]
    return [Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()]
