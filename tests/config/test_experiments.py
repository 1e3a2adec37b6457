"""Shipped experiments say what they ask, how they are run, what they cost and what comes out; and they compose."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from moola.config import RunConfig, config_folder, from_omegaconf, meaningless_preset
from moola.pipelines.assembly import assemble

EXPERIMENTS = sorted((config_folder() / "experiment").glob("*.yaml"))
PRESETS = sorted(path.stem for path in (config_folder() / "debug").glob("*.yaml"))
PARTS = ("Question", "Command", "Cost", "Expected")
COMMANDS = ("run", "pretrain", "finetune", "oof", "stack", "evaluate", "report")


def header(path: Path) -> dict[str, str]:
    """The parts of an experiment's header, each on one line."""
    lines = path.read_text().splitlines()
    head = [line.lstrip("# ") for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]]
    assert head[0] == "@package _global_"
    parts = re.split(rf"(?m)^({'|'.join(PARTS)}): +", "\n".join(head[1:]))
    assert parts[0] == "", "something stands before the question"
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def commands(path: Path) -> list[list[str]]:
    """Words of every command of a header; what follows in brackets explains it."""
    told = re.sub(r"\s\([^)]*\)", "", header(path)["Command"])
    return [shlex.split(command) for command in re.split(r";\s*", told)]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_header_has_the_four_parts_with_figures_their_spread_and_their_date(path):
    found = header(path)
    assert tuple(found) == PARTS
    assert found["Question"].endswith("?")
    assert re.search(r"second|minute", found["Cost"]) and "CPU" in found["Cost"]
    assert re.search(r"\d{4}-\d\d-\d\d", found["Expected"]), "says no date"
    assert re.search(r"\[-?[\d.]+, [\d.]+\]", found["Expected"]), "gives no spread"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_its_commands_name_it_and_every_point_of_them_can_be_assembled(path):
    chosen = [words for words in commands(path) if f"experiment={path.stem}" in words]
    assert chosen or path.stem == "market"  # which is the default
    for words in commands(path):
        assert words[:1] == ["moola"] and words[1] in COMMANDS
        target = None if words[1] == "run" else words[1]
        for point in points([word for word in words[2:] if word != "-m"]):
            config = composed(*point)
            if config.encoder_from is None:  # else the user puts in what the command before has named
                assemble(config, target)


def composed(*words: str) -> RunConfig:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return from_omegaconf(compose("config", list(words)))


def points(words: list[str]) -> list[list[str]]:
    """One list of overrides for each value of each override that has several, the others at their first."""
    parsed = OverridesParser.create().parse_overrides(words)
    values = [
        [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]
        if item.is_sweep_override()
        else [word]
        for item, word in zip(parsed, words, strict=True)
    ]
    first = [several[0] for several in values]
    return [first] + [[*first[:i], other, *first[i + 1 :]] for i, several in enumerate(values) for other in several[1:]]


@pytest.mark.parametrize(
    ("name", "preset"),
    [*((path.stem, "fast") for path in EXPERIMENTS), *(("label_scarcity", name) for name in PRESETS if name != "fast")],
)
def test_a_debug_preset_works_on_top_of_it(name, preset):
    config = composed(f"experiment={name}", f"debug={preset}")
    assert config.name == f"debug-{preset}"
    assert assemble(config).stages


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_what_it_is_for(preset):
    first, second = (config_folder() / "debug" / f"{preset}.yaml").read_text().splitlines()[:2]
    assert first == "# @package _global_"
    assert second.startswith("# ") and len(second) > 40


def test_debug_presets_whose_figures_mean_nothing_are_known_by_their_names() -> None:
    for path in (config_folder() / "debug").glob("*.yaml"):
        header = " ".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
        preset = f"debug={path.stem}" if "figures mean nothing" in header else ""
        assert meaningless_preset(f"debug-{path.stem}") == preset
