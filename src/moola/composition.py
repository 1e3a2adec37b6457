"""Hydra at the door: composes the configuration, and says near names where Hydra only says no."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from moola.config import config_folder
from moola.errors import ConfigError, ask_for, did_you_mean, near_names

_VALUE_FLAGS = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
_SHOWS = {"--cfg", "-c", "--info"}
_NO_OPTION = "Config group override must be"
"""How Hydra begins what it says of a group without an option, as a plain ValueError."""
_REPEATED = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")
_NOT_HEEDED = re.compile(r"\+*hydra\.(run\.dir|sweep\.(dir|subdir))=")
_WRONG_VALUE = re.compile(r"Error merging override (\S+?)=")
_AMBIGUOUS = re.compile(r"Ambiguous value for argument '([^=]+)=([^']*)'")
_NO_SUCH_KEY = re.compile(r"Could not (?:override|delete from config\.(?: The value of)?) '([^']+)'")


def compose_and_call(command: str, words: list[str], job: Callable[[Any], object]) -> None:
    """Give `job` the composed configuration, once, or once for each combination with ``-m``.

    Hydra's own flags work: ``--help``, ``--cfg``, ``--config-dir``, ``--config-path``, ``--multirun``, completion.

    Raises:
        ConfigError: an override does not parse, or names what is not there; near names are given.
    """
    import hydra
    from hydra.errors import MissingConfigException

    of_pod = [word for word in words if re.match(r"\+*pod[.=]", word)]
    if of_pod:
        way_out = "leave it out, or use `moola pod run`; a sweep on pods has hydra/launcher=moola_pod"
        raise ConfigError([f"{word}: speaks of a pod" for word in of_pod], way_out)
    of_search = [word for word in words if command != "search" and re.match(r"\+*search[.=]", word)]
    if of_search:
        raise ConfigError([f"{word}: speaks of a search" for word in of_search], "leave it out, or use `moola search`")
    of_folders = [word for word in words if _NOT_HEEDED.match(word)]
    if of_folders:
        way_out = "leave it out; paths.artifacts=FOLDER chooses where results go"
        told = "is not heeded: folders of runs and sweeps are named by what is in them"
        raise ConfigError([f"{word}: {told}" for word in of_folders], way_out)
    if options := _options_of_repeated(words):
        raise ConfigError(options)
    is_multirun = bool({"-m", "--multirun"} & set(words))
    if is_multirun and {"-h", "--help"} & set(words):  # it shows one configuration
        words = [word for word in words if word not in ("-m", "--multirun") and not _has_several(word)]
    shown = [word for word in words if word.partition("=")[0] in _SHOWS]
    if shown and is_multirun:
        raise ConfigError([f"{shown[0]}: shows one configuration, and -m asks for several"], "leave -m out")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints its own errors and ends the process
    _announce_packages()
    if {"-h", "--help"} & set(words):
        print(f"usage: moola {command} [KEY=VALUE ...] [-m] [--force[=STAGE]] [--cfg job]\n", flush=True)
    sys.argv = [f"moola {command}", *_translate(words)]
    decorated = hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(job)
    try:
        decorated()
    except Exception as error:
        if not is_hydras(error):
            raise
        is_option = isinstance(error, MissingConfigException | ValueError)
        way_out = "see what there is with `moola run --help`" if is_option else ""
        raise ConfigError([spoken(error, words)], way_out) from error


def _has_several(word: str) -> bool:
    """Whether a word has several values; one that cannot be read is told of later."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    if word.startswith("-"):
        return False
    try:
        return OverridesParser.create().parse_override(word).is_sweep_override()
    except OverrideParseException:
        return False


def _options_of_repeated(words: Sequence[str]) -> list[str]:
    """What is wrong with words that choose options of groups, where ``--config-path`` names a folder without these."""
    saved = _config_path(words)
    if saved is None or not (saved / "config.yaml").is_file():
        return []
    chosen = [(word, *word.lstrip("+").partition("=")[::2]) for word in words if not word.startswith("-")]
    return [
        f"{group}: a saved configuration has no groups, so {word} cannot be chosen; leave it out, or change keys one "
        "by one (KEY=VALUE)"
        for word, group, option in chosen
        if option not in ("", "null") and not option.startswith(("{", "["))
        if (config_folder() / group).is_dir() and not (saved / group).is_dir()
    ]


def _config_path(words: Sequence[str]) -> Path | None:
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config-path", "-cp"):
            return Path(value if equals else "".join(words[place + 1 : place + 2]))
    return None


def _without_option(words: Sequence[str]) -> str:
    """Words that give a group what is no name of an option: Hydra says neither which nor what there is."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found: list[str] = []
    for word in (word for word in words if "=" in word and not word.startswith(("-", "~"))):
        parsed = OverridesParser.create().parse_override(word)
        folder = config_folder() / parsed.key_or_group
        if not parsed.is_sweep_override() and not isinstance(parsed.value(), str | list) and folder.is_dir():
            options = [path.stem for path in folder.glob("*.yaml")]
            near = f"did you mean '{parsed.key_or_group}=none'?" if "none" in options else did_you_mean("", options)
            found.append(f"{word}: is no name of an option; {near}")
    return ", and ".join(found) or "the value of a group must be the name of an option"


def _translate(words: list[str]) -> list[str]:
    """``--force`` becomes the key `force`.

    Flags may stand anywhere, where Hydra's parser wants all overrides in one row. A ``--config-path`` counts from the
    working directory, and the run folder it names needs no Hydra settings of its own.
    """
    flags: list[str] = []
    overrides: list[str] = []
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name.startswith("--exp"):
            raise ConfigError(
                ["--experimental-rerun: reads a pickle, which moola never does"],
                "repeat a run with --config-path RUN_FOLDER",
            )
        if name == "--force":
            overrides.append(f"force=[{value or 'all'}]")
        elif name in _VALUE_FLAGS:
            value = value if equals else next(waiting, "")
            if value and name in ("--config-path", "-cp") and "://" not in value:
                value = os.path.abspath(value)
                overrides = [*_REPEATED, *overrides]
            flags += [name, value] if value else [name]
        else:
            (flags if word.startswith("-") else overrides).append(word)
    return [*flags, *overrides]


@functools.cache
def _announce_packages() -> None:
    """Configurations of other packages (entry points ``moola.configs``) join Hydra's search path, once a process."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class AnnouncedPackages(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for name in sorted({entry.value for entry in entry_points(group="moola.configs")}):
                search_path.append("moola.configs", f"pkg://{name}")

    Plugins.instance().register(AnnouncedPackages)


def is_hydras(error: Exception) -> bool:
    """Whether Hydra says with it that overrides are wrong."""
    from hydra.errors import HydraException

    return isinstance(error, HydraException) or (isinstance(error, ValueError) and str(error).startswith(_NO_OPTION))


def spoken(error: Exception, words: Sequence[str]) -> str:
    """One sentence for an error about these overrides that is Hydra's (`is_hydras`)."""
    from hydra.errors import MissingConfigException, OverrideParseException

    text = str(error)
    if isinstance(error, ValueError):
        return _without_option(words)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = error.options or [path.stem for path in (config_folder() / group).glob("*.yaml")]
        return f"{group}={option}: there is no such option; {did_you_mean(option, options)}"
    if isinstance(error, OverrideParseException):
        key, equals, value = str(error.override).partition("=")
        if not equals:
            return f"{key}: is no KEY=VALUE"
        if value.endswith(",") and not value.startswith(("[", "{")):
            return f"{key}: {value} ends with a comma; leave it out, or give another value behind it"
        whole, bracket, _ = key.partition("[")
        if bracket:
            return f"{key}: an item of a list cannot be given by itself; give all of them: '{whole}=[...]'"
        reason = text.splitlines()[0]
        is_lexed = not reason.startswith("Lexer")  # whose message only repeats the words
        told = f"{key}: {value} cannot be read" + (f": {reason}" if is_lexed else "")
        if is_lexed and value.startswith(("[", "{")):
            return told
        example = f'{key}={{name: "TEXT"}}' if value.startswith("{") else f'{key}="{value}"'
        return f"{told}; text with signs such as ; < > [ ] needs quotes of its own, as in '{example}'"
    wrong = _WRONG_VALUE.match(text)
    if wrong and error.__cause__ is not None:
        return f"{wrong.group(1).lstrip('+')}: {str(error.__cause__).splitlines()[0]}"
    several = _AMBIGUOUS.match(text)
    if several:
        key, values = several[1].lstrip("+"), several[2]
        return f"{key}: {values} are several values; give one, or a list ([{values}]); jobs take several with -m"
    named = _NO_SUCH_KEY.search(text)
    if named:
        key = named.group(1)
        if key.startswith("hydra.launcher."):
            known = [own.rpartition(".")[2] for own in launcher_keys(words)]
            return f"{key}: there is no such key; {did_you_mean(key.rpartition('.')[2], known)}"
        if key.startswith("hydra."):
            return f"{key}: there is no such key; see what there is with --cfg hydra, or add it: +{key}=VALUE"
        return f"{key}: there is no such key; {_near_keys(key, _known_keys(words))}"
    return " ".join(text.split()) or type(error).__name__


def launcher_keys(words: Sequence[str]) -> list[str]:
    """Keys of the launcher that the words choose, in full; none where no package brings it.

    Args:
        words: overrides.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from hydra.plugins.config_source import ConfigLoadError

    Plugins.instance()  # launchers store their keys when they are found
    chosen = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("hydra/launcher=")]
    try:
        node = ConfigStore.instance().load(f"hydra/launcher/{(chosen or ['local'])[-1]}.yaml").node
    except ConfigLoadError:
        return []
    return [f"hydra.launcher.{key}" for key in node if key != "_target_"]


def _near_keys(key: str, known: Sequence[str]) -> str:
    """Keys that a shorter one stands for, near misses, else the keys of its own section: all would fill a screen."""
    section, _, last = key.rpartition(".")
    siblings = [other for other in known if other.rpartition(".")[0] == section]
    meant = [other for other in known if _stands_for(key, other)]
    if section:
        near = meant or _near_in_last_word(last, siblings) or ([] if siblings else near_names(key, known))
    else:
        near = [*near_names(key, siblings), *meant] or _near_in_last_word(key, known)
    if near:
        return ask_for(near)
    if not siblings:
        return did_you_mean(key, [other for other in known if "." not in other])
    told = f"known: {', '.join(sorted(other.rpartition('.')[2] for other in siblings))}"
    return f"{told} (one that is left to its default is given with +{section}.KEY=VALUE)" if section else told


def _stands_for(short: str, key: str) -> bool:
    """Whether all words of `short` are in `key`, in order and with the last one last: ``trainer.patience``."""
    words = iter(key.split("."))
    return short.rpartition(".")[2] == key.rpartition(".")[2] and all(word in words for word in short.split("."))


def _near_in_last_word(word: str, known: Sequence[str]) -> list[str]:
    """Keys whose last word is a near miss: ``patiance`` for ``trainer.pretrain.patience``."""
    near = near_names(word, {key.rpartition(".")[2] for key in known})
    return [key for key in known if key.rpartition(".")[2] in near]


def _known_keys(words: Sequence[str]) -> list[str]:
    """Groups and every dotted key of the configuration, with the options that the overrides choose."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    folder = config_folder()
    groups = [item.name for item in folder.iterdir() if item.is_dir()]
    chosen = [word for word in words if (folder / word.replace("=", "/")).with_suffix(".yaml").is_file()]
    with initialize_config_dir(str(folder), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", chosen), resolve=False)
    return [*groups, *_dotted(composed, "")]


def _dotted(values: Any, path: str) -> Iterator[str]:
    if isinstance(values, Mapping):
        for key, item in values.items():
            yield f"{path}{key}"
            yield from _dotted(item, f"{path}{key}.")
