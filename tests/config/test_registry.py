"""Names find their components; a name is taken once; a wrong name gets the near one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from moola import registry as registry_module
from moola.data.sources import SOURCES
from moola.data.splits import SPLITTERS
from moola.errors import ConfigError
from moola.features import TRANSFORMS
from moola.labels import LABELLERS
from moola.models import ENCODERS, MODELS
from moola.pretraining import OBJECTIVES
from moola.registry import Registry


@dataclass(frozen=True)
class Component:
    size: int = 1


@dataclass(frozen=True)
class Around:
    of: tuple[Any, ...] = ()
    at: Path = Path("a/b")


def fresh() -> Registry[Any]:
    return Registry("thing", {"path": "pathlib:PurePosixPath", "broken": "no.such.module:Thing"})


def announce(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    def found(group: str) -> list[EntryPoint]:
        return [entry for entry in entries if entry.group == group]

    monkeypatch.setattr(registry_module, "entry_points", found)


def test_a_registered_class_is_found_and_built_from_its_values() -> None:
    things = fresh()
    things.register("mine")(Component)
    assert things.get("mine") is Component
    assert things.build("mine", {"size": 3}, "part") == Component(3)
    assert things.build_section({"name": "mine", "size": 4}, "part") == Component(4)
    assert things.names() == ["broken", "mine", "path"]


def test_a_section_builds_the_component_again_and_names_those_inside_it() -> None:
    things, wholes = fresh(), Registry[Any]("whole", {})
    things.register("mine")(Component)
    wholes.register("around")(Around)
    section = wholes.section_of(Around((Component(2), Around())), "kind", parts=(things,))
    inner = {"of": [], "at": "a/b"}
    assert section == {"kind": "around", "of": [{"name": "mine", "size": 2}, inner], "at": "a/b"}
    assert things.build_section(things.section_of(Component(3)), "part") == Component(3)
    with pytest.raises(ConfigError, match="the thing Around has no name") as caught:
        things.section_of(Around())
    assert "moola.things" in str(caught.value)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    things = fresh()
    assert "broken" in things.names()
    with pytest.raises(ModuleNotFoundError):
        things.get("broken")


@pytest.mark.parametrize("name", ["path", "mine"])
def test_a_name_can_be_taken_once(name: str) -> None:
    things = fresh()
    things.register("mine")(Component)
    with pytest.raises(ValueError, match=f"already a thing named '{name}'"):
        things.register(name)


def test_two_registries_share_nothing() -> None:
    one, other = fresh(), fresh()
    one.register("mine")(Component)
    assert "mine" not in other.names()


def test_an_unknown_name_gets_the_near_one() -> None:
    with pytest.raises(ConfigError, match=r"no thing named 'pth'; did you mean 'path'\?"):
        fresh().get("pth")


def test_a_section_without_a_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"part\.kind: names the thing and is missing; known: broken, path"):
        fresh().build_section({}, "part", key="kind")


def test_wrong_parameters_are_named_with_their_place() -> None:
    things = fresh()
    things.register("mine")(Component)
    with pytest.raises(ConfigError) as caught:
        things.build_section({"name": "mine", "sise": 3, "size": "x"}, "part")
    assert caught.value.problems == (
        "part.sise: unknown key; did you mean 'size'?",
        "part.size: 'x' must be a whole number",
    )


def test_another_package_adds_a_component_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, EntryPoint("theirs", "fractions:Fraction", "moola.things"))
    assert fresh().names() == ["broken", "path", "theirs"]
    assert fresh().get("theirs") is sys.modules["fractions"].Fraction


def test_an_announced_name_that_is_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, EntryPoint("path", "fractions:Fraction", "moola.things"))
    with pytest.raises(ConfigError, match="announces a thing named 'path', which is taken"):
        fresh().get("path")


def test_two_packages_cannot_announce_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(
        monkeypatch,
        EntryPoint("theirs", "fractions:Fraction", "moola.things"),
        EntryPoint("theirs", "decimal:Decimal", "moola.things"),
    )
    with pytest.raises(ConfigError, match="both announce a thing named 'theirs'"):
        fresh().get("theirs")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_such_package.things:Thing", "cannot be imported: No module named 'no_such_package'"),
        ("fractions:Fractoin", "cannot be imported: module 'fractions' has no attribute 'Fractoin'"),
        ("fractions:Fraction", "Fraction is no dataclass"),
        ("fractions:gcd_of_nothing.more", "cannot be imported"),
        ("math:pi", "is no dataclass"),
    ],
)
def test_an_announced_component_that_cannot_be_built_is_told(
    reference: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(monkeypatch, EntryPoint("theirs", reference, "moola.things"))
    with pytest.raises(ConfigError, match=rf"part: .*{says}"):
        fresh().build("theirs", {}, "part")


def test_a_broken_package_takes_no_other_component_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(
        monkeypatch,
        EntryPoint("broken_theirs", "no_such_package:Thing", "moola.things"),
        EntryPoint("mine", f"{__name__}:Component", "moola.things"),
    )
    assert fresh().name_of(Component()) == "mine"


@pytest.mark.parametrize(
    "registry", [SOURCES, SPLITTERS, TRANSFORMS, LABELLERS, ENCODERS, MODELS, OBJECTIVES], ids=lambda r: r.kind
)
def test_every_built_in_name_leads_to_a_class(registry: Registry[Any]) -> None:
    for name in registry.built_in:
        assert isinstance(registry.get(name), type)
