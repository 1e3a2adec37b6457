"""Plain values become checked dataclasses, or every problem is named at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from moola.config import RunConfig, build_all, config_folder, from_omegaconf, override, reject, structure
from moola.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    width: int
    rate: float = 0.5

    def __post_init__(self) -> None:
        reject((self.width < 1, f"width: {self.width} must be at least 1"), (self.rate < 0, "rate: is negative"))


@dataclass(frozen=True)
class Outer:
    number: int = 1
    share: float = 0.1
    text: str = "a"
    flag: bool = False
    choice: Literal["left", "right"] = "left"
    maybe: int | None = None
    either: int | str = 0
    inner: Inner = field(default_factory=lambda: Inner(1))
    maybe_inner: Inner | None = None
    numbers: tuple[int, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    names: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    inners: tuple[Inner, ...] = ()
    anything: Any = None
    size: int | Literal["auto"] = 1
    sizes: tuple[int | Literal["auto", "all"], ...] = ()
    inner_or_text: Inner | str = ""


SECTIONS = (
    "data",
    "task",
    "transform",
    "augment",
    "split",
    "encoder",
    "objective",
    "trainer",
    "model",
    "evaluation",
    "stage",
)


def problems_of(values: Mapping[str, Any], cls: type = Outer, path: str = "") -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        structure(cls, values, path)
    return caught.value.problems


def test_every_supported_type_arrives_as_its_annotation_says() -> None:
    built = structure(
        Outer,
        {
            "number": 3,
            "share": 1,
            "text": "b",
            "flag": True,
            "choice": "right",
            "maybe": 4,
            "either": "x",
            "inner": {"width": 2},
            "maybe_inner": {"width": 5, "rate": 2},
            "numbers": [1, 2],
            "pair": [1, 2],
            "names": ["p", "q"],
            "weights": {"a": 1},
            "shares": {"b": 2},
            "inners": [{"width": 1}, {"width": 2}],
            "anything": {"kept": ["as", 1, "is"]},
        },
        "",
    )
    assert built == Outer(
        3,
        1.0,
        "b",
        True,
        "right",
        4,
        "x",
        Inner(2, 0.5),
        Inner(5, 2.0),
        (1, 2),
        (1, 2.0),
        ["p", "q"],
        {"a": 1.0},
        {"b": 2.0},
        (Inner(1), Inner(2)),
        {"kept": ["as", 1, "is"]},
    )
    assert isinstance(built.share, float) and isinstance(built.pair[1], float)
    assert isinstance(built.weights["a"], float) and isinstance(built.inner.rate, float)


def test_defaults_stand_where_nothing_is_given() -> None:
    assert structure(Outer, {}, "") == Outer()


def test_null_is_allowed_only_where_the_annotation_has_it() -> None:
    assert structure(Outer, {"maybe": None, "maybe_inner": None}, "").maybe is None
    assert problems_of({"number": None}) == ("number: None must be a whole number",)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"number": "3"}, "number: '3' must be a whole number"),
        ({"number": 1.5}, "number: 1.5 must be a whole number"),
        ({"number": 2**63}, f"number: {2**63} does not fit into 64 bits"),
        ({"either": -(2**70)}, f"either: {-(2**70)} does not fit into 64 bits"),
        ({"number": True}, "number: True must be a whole number"),
        ({"share": "much"}, "share: 'much' must be a number"),
        ({"share": False}, "share: False must be a number"),
        ({"text": 3}, "text: 3 must be text"),
        ({"flag": 1}, "flag: 1 must be true or false"),
        ({"choice": "rihgt"}, "choice: 'rihgt' is not allowed; did you mean 'right'?"),
        ({"maybe": "x"}, "maybe: 'x' must be a whole number"),
        ({"either": 1.5}, "either: 1.5 must be a whole number or text"),
        ({"size": "big"}, "size: 'big' must be a whole number or auto"),
        ({"sizes": "auto"}, "sizes: 'auto' must be a list, each a whole number or auto or all"),
        ({"inner_or_text": 3}, "inner_or_text: 3 must be a group of keys or text"),
        ({"inner": 3}, "inner: 3 must be a group of keys"),
        ({"inner": {}}, "inner.width: is missing"),
        ({"maybe_inner": {"width": "x"}}, "maybe_inner.width: 'x' must be a whole number"),
        ({"numbers": [1, "x"]}, "numbers[1]: 'x' must be a whole number"),
        ({"numbers": "12"}, "numbers: '12' must be a list, each a whole number"),
        ({"pair": [1]}, "pair: [1] must hold 2 values"),
        ({"names": ["p", 1]}, "names[1]: 1 must be text"),
        ({"weights": {"a": "x"}}, "weights.a: 'x' must be a number"),
        ({"inners": [{"width": 1}, {"width": 0}]}, "inners[1].width: 0 must be at least 1"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_place(values: dict[str, Any], problem: str) -> None:
    assert problems_of(values) == (problem,)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    assert problems_of({"share": value}) == (f"share: {value} must be a finite number",)


def test_an_unknown_key_is_named_with_the_near_one() -> None:
    assert problems_of({"numbr": 1}, path="data") == ("data.numbr: unknown key; did you mean 'number' or 'numbers'?",)


def test_an_unknown_key_like_no_other_gets_the_whole_list() -> None:
    assert problems_of({"zzz": 1, "width": 1}, Inner) == ("zzz: unknown key; known: rate, width",)


def test_all_problems_are_reported_at_once() -> None:
    problems = problems_of(
        {"nubmer": 1, "share": "x", "inner": {"width": -1, "rate": -1.0}, "numbers": ["a", 1, "b"], "choice": "up"}
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "nubmer",
        "share",
        "choice",
        "inner.width",
        "inner.rate",
        "numbers[0]",
        "numbers[2]",
    ]


def test_a_missing_key_is_named() -> None:
    assert problems_of({}, Inner, "encoder") == ("encoder.width: is missing",)


def test_the_error_counts_and_lists_its_problems_and_says_the_way_out() -> None:
    with pytest.raises(ConfigError, match="the configuration has 2 problems\n- width: is missing") as caught:
        structure(Inner, {"rate": "x"}, "")
    assert caught.value.way_out and caught.value.exit_code == 2
    assert "--cfg" not in ConfigError(["--out: v.txt must end in .npy"]).spoken()


@dataclass(frozen=True)
class Fitting:
    width: int = 1

    def __post_init__(self) -> None:
        if self.width > 9:
            raise ConfigError([f"width: {self.width} is more than 9"], "use 9, or longer windows")


@dataclass(frozen=True)
class Around:
    fitting: Fitting | None = None
    inner: Inner = field(default_factory=lambda: Inner(1))


def test_the_way_out_of_a_part_is_that_of_the_whole_and_stands_in_place_of_the_general_one() -> None:
    def wide() -> Around:
        return structure(Around, {"fitting": {"width": 10}, "inner": {"width": 0}}, "encoder")

    with pytest.raises(ConfigError) as caught:
        build_all(wide, wide, lambda: structure(Inner, {"width": "x"}, "other"))
    assert caught.value.problems == (
        "encoder.fitting.width: 10 is more than 9",
        "encoder.inner.width: 0 must be at least 1",
        "other.width: 'x' must be a whole number",
    )
    assert caught.value.way_out == "use 9, or longer windows"
    with pytest.raises(ConfigError, match="--cfg job"):
        build_all(lambda: structure(Inner, {"width": "x"}, "other"))


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "no, where",
        "null",
        "données",
        "/home/josé",
        "a\\b",
        "a\\",
        'say "so"',
        'a\\"b',
        "a'b",
        "1e5",
        "a\nb\n",
        "",
    ],
)
def test_hydra_reads_an_override_as_it_was_meant(value: str) -> None:
    given = {"text": value, "list": [value, None, 2.5, True]}
    assert OverridesParser.create().parse_override(override("key", given)).value() == given


def complete(**changes: Any) -> dict[str, Any]:
    return {"name": "n", **{section: {} for section in SECTIONS}, **changes}


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"seeds": []}, "seeds: needs at least one"),
        ({"seeds": [1, 1]}, "seeds: [1, 1] holds one twice"),
        ({"seeds": [-1]}, "seeds: [-1] must "),
        ({"seeds": [2**32]}, "seeds: [4294967296] must lie in"),
        ({"name": "a/b"}, "name: 'a/b' must be"),
        ({"device": "gpu"}, "device: 'gpu' is not allowed"),
    ],
)
def test_a_run_refuses_what_cannot_run(changes: dict[str, Any], start: str) -> None:
    (problem,) = problems_of(complete(**changes), RunConfig)
    assert problem.startswith(start)


def test_a_value_of_the_wrong_type_hides_no_broken_rule_of_another() -> None:
    assert problems_of({"width": -1, "rate": "x"}, Inner) == (
        "rate: 'x' must be a number",
        "width: -1 must be at least 1",
    )


@dataclass(frozen=True)
class Ordered:
    low: int = 0
    high: int = 9

    def __post_init__(self) -> None:
        reject((self.low >= self.high, f"low: {self.low} must be below high, {self.high}"))


def test_a_rule_is_not_judged_by_a_default_that_stands_in_for_a_wrong_value() -> None:
    assert problems_of({"low": 20, "high": "x"}, Ordered) == ("high: 'x' must be a whole number",)


def test_problems_of_sections_are_told_beside_those_of_the_run() -> None:
    def sections(config: RunConfig) -> None:
        assert config.seeds == (0,) and config.name == "unnamed"
        raise ConfigError(["task.n_given: is wrong"])

    with pytest.raises(ConfigError) as caught:
        from_omegaconf(OmegaConf.create(complete(name="a b", seeds=[])), sections)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["seeds", "name", "task.n_given"]


def test_sections_are_not_asked_where_one_is_none_and_need_not_be_where_all_is_well() -> None:
    def sections(config: RunConfig) -> None:
        raise AssertionError

    assert from_omegaconf(OmegaConf.create(complete()), sections).seeds == (0,)
    with pytest.raises(ConfigError) as caught:
        from_omegaconf(OmegaConf.create(complete(data=3)), sections)
    assert len(caught.value.problems) == 1


def test_a_composed_configuration_is_resolved_and_checked() -> None:
    composed = OmegaConf.create(complete(name="ucr-${data.name}", data={"name": "GunPoint"}))
    built = from_omegaconf(composed)
    assert built.name == "ucr-GunPoint"
    assert type(built.data) is dict


def test_a_reference_to_nothing_is_told() -> None:
    with pytest.raises(ConfigError, match=r"data\.nmae"):
        from_omegaconf(OmegaConf.create(complete(name="ucr-${data.nmae}", data={"name": "GunPoint"})))


def test_keys_without_a_value_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        from_omegaconf(OmegaConf.create(complete(data={"path": "???"}, task={"path": "???"})))
    assert caught.value.problems == ("data.path: has no value", "task.path: has no value")


def test_the_shipped_configuration_is_found() -> None:
    assert (config_folder() / "config.yaml").is_file()
    assert isinstance(config_folder(), Path)
