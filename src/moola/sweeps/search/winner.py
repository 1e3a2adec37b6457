"""The winner of a search as an experiment file that `moola run` finds, with the evidence in its header."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moola.config import config_folder
from moola.errors import ConfigError, StorageError
from moola.layout import write_text
from moola.sweeps.search.base import SearchBase, compose_words
from moola.sweeps.search.space import Value

_MARK = "# Evidence: study "
_PLACES = ("device", "force", "name", "paths", "processes", "tracker")
"""Keys that an experiment does not decide."""
_WIDTH = 118


def write_winner(
    folder: Path, name: str, base: SearchBase, params: Mapping[str, Value], header: Sequence[tuple[str, str]]
) -> Path:
    """Write ``experiment/NAME.yaml`` into a folder of configurations, and see that it composes to the winner.

    It is written as what the user gave and what the search found, where that says all; else as the whole configuration.

    Args:
        folder: for ``--config-dir``.
        name: of the experiment.
        base: what was searched.
        params: of the winner.
        header: (word, sentence) lines; paragraphs of a sentence are parted by line ends.

    Raises:
        StorageError: another file has the name.
        ConfigError: the file does not give what was tried.
    """
    path = folder / "experiment" / f"{name}.yaml"
    if path.exists() and _MARK not in path.read_text():
        raise StorageError(
            f"{path} is there, and no search wrote it",
            "it would be lost",
            "give the search another name (search.name=NAME), or another folder (--write FOLDER)",
        )
    wanted = _judged(base.plain(params))
    bodies = (_brief(name, base, params), _whole(name, base, params))
    for body in bodies:
        if body is None:
            continue
        write_text(path, f"# @package _global_\n{_comment(header)}{body}")
        if _composes_to(folder, name, wanted):
            return path
    path.unlink(missing_ok=True)
    raise ConfigError([f"{path}: the winner does not compose from a file of its own"], "this is a defect of moola")


def run_command(folder: Path, name: str) -> str:
    """How the experiment is run."""
    where = [] if folder.resolve() == config_folder().resolve() else ["--config-dir", str(folder)]
    return shlex.join(["moola", "run", *where, f"experiment={name}"])


def _composes_to(folder: Path, name: str, wanted: Mapping[str, Any]) -> bool:
    from omegaconf import OmegaConf

    try:
        made = compose_words(["--config-dir", str(folder), f"experiment={name}"])
    except ConfigError:
        return False
    assert made is not None
    plain: Any = OmegaConf.to_container(OmegaConf.create(made.text), resolve=True)
    return _judged(plain) == wanted


def _judged(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key not in _PLACES}


def _brief(name: str, base: SearchBase, params: Mapping[str, Value]) -> str | None:
    """The user's words and the parameters; None where some words cannot be written so."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parents: list[str] = []
    options: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for word in (word for word in base.words if not word.startswith("-")):
        parsed = OverridesParser.create().parse_override(word)
        key = parsed.key_or_group
        if parsed.is_delete() or key == "debug" or key.startswith("hydra"):
            return None
        if key == "experiment":
            parents = [str(parsed.value())]
        elif key in base.choices:
            options[key] = parsed.value()
        elif key.partition(".")[0] not in _PLACES:
            _set(values, key, parsed.value())
    for key, value in params.items():
        if key in base.groups:
            options[key] = value
        else:
            _set(values, key, value)
    options = {group: option for group, option in options.items() if group != "tracker"}
    defaults = [*parents, *({f"override /{group}": option} for group, option in options.items())]
    return _yaml({**({"defaults": defaults} if defaults else {}), "name": name, **values})


def _whole(name: str, base: SearchBase, params: Mapping[str, Value]) -> str:
    """Every section in full, with nothing left of the options that they come from."""
    plain = _judged(base.plain(params))
    groups = [key for key, value in plain.items() if isinstance(value, Mapping) and key in base.choices]
    return _yaml({"defaults": [{f"override /{group}": None} for group in groups], "name": name, **plain})


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=_WIDTH)


def _comment(header: Sequence[tuple[str, str]]) -> str:
    lines: list[str] = []
    for word, told in header:
        first = f"# {word + ':':10}"
        for paragraph in told.splitlines():
            plain = re.sub(r"[\x00-\x1f\x7f]", " ", paragraph)
            long = {"break_long_words": False, "break_on_hyphens": False}
            lines += textwrap.wrap(plain, _WIDTH, initial_indent=first, subsequent_indent=f"#{'':11}", **long)  # type: ignore[arg-type]
            first = f"#{'':11}"
    return "".join(f"{line}\n" for line in lines)
