from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, field_validator

from designkit.errors import ConfigurationError
from designkit.settings import (
    Layer,
    Settings,
    flag_layer,
    merge,
    parse_set,
    parse_yaml,
    read_yaml,
    resolve,
    validate,
)


class Method(Settings):
    candidates: int = Field(10, ge=1)
    speed: Literal["fast", "slow"] = "fast"
    share: float = Field(0.5, gt=0, lt=1)


class Run(Settings):
    seed: int = Field(0, ge=0, le=9)
    name: str = "x"
    keep: bool = False
    method: Method = Method()
    methods: list[Method] | None = None

    @field_validator("name")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError("must not hold spaces")
        return value


def problems(schema: type[Settings], *layers: Layer) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(schema, layers)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def test_settings_are_frozen_and_closed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Method().candidates = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Method(candidate=3)  # type: ignore[call-arg]


def test_yaml_keeps_the_line_of_every_key() -> None:
    layer = parse_yaml("# note\nseed: 1\nmethod:\n  candidates: 2\nmethods:\n- share: 0.1\n", "f")
    assert layer.data == {"seed": 1, "method": {"candidates": 2}, "methods": [{"share": 0.1}]}
    assert layer.origin(("seed",)) == "f:2"
    assert layer.origin(("method", "candidates")) == "f:4"
    assert layer.origin(("methods", 0, "share")) == "f:6"
    assert layer.origin(("method", "absent")) == "f:3"
    assert layer.origin(("absent",)) == "f"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1_000", "1_000"),
        ("010", 10),
        ("08", 8),
        ("-3", -3),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("NNNN", "NNNN"),
        ("[1, a]", [1, "a"]),
        ("'5'", "5"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(f"key: {text}", "f").data == {"key": value}
    assert parse_set([f"key={text}"]).data == {"key": value}


@pytest.mark.parametrize("text", ["*", "# x", "a: b", "&a", "1-10,25", "!x", "a=b", "%", "@x"])
def test_set_takes_plain_text_with_any_character(text: str) -> None:
    assert parse_set([f"a.b={text}"]).data == {"a": {"b": text}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n", ["f:4: key 'c' is rep", "f:5: key 'a' is repeated"]),
        ("- 1\n", ["f:1: must hold keys and values"]),
        ("x: 1\na: [1\n", ["f:3: not valid YAML"]),
        ("a: !!python/object:os.system x\n", ["f:1: not valid YAML"]),
        ("a: &a {b: *a}\n", ["f: nested too deeply, or a part that contains itself"]),
        ("a: \x01\n", ["f: not valid YAML"]),
        ("[1]: 2\n", ["f:1: a key must be one word"]),
        ("a: 1\n---\nb: 1\n", ["f:2: not valid YAML"]),
    ],
)
def test_unusable_yaml(text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_yaml(text, "f")
    assert len(caught.value.problems) == len(expected)
    for problem, start in zip(caught.value.problems, expected, strict=True):
        assert problem.startswith(start)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(ConfigurationError, match=r"latin.yaml: not UTF-8 text"):
        read_yaml(tmp_path / "latin.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml").data == {}


def test_later_layers_win_key_by_key() -> None:
    preset = parse_yaml("seed: 1\nname: preset\nmethod: {candidates: 2, share: 0.1}\n", "preset")
    config = parse_yaml("method: {candidates: 3}\nname: config\n", "config")
    given = parse_set(["method.speed=fast", "method.speed=slow", "name=set"])
    flags = flag_layer({"seed": 4, "keep": None, "method.share": 0.3}, {"method.share": "--alpha"})
    merged = merge([preset, config, given, flags])
    assert resolve(Run, [preset, config, given, flags]) == Run(
        seed=4, name="set", method=Method(candidates=3, speed="slow", share=0.3)
    )
    assert merged.origin(("method", "candidates")) == "config:1"
    assert merged.origin(("method", "share")) == "--alpha"
    assert merged.origin(("seed",)) == "--seed"
    assert preset.data["method"] == {"candidates": 2, "share": 0.1}  # inputs stay as they were


def test_all_problems_of_all_layers_at_once() -> None:
    preset = parse_yaml("sed: 1\nmethod:\n  candidate: 3\n  candidates: 0\n", "preset.yaml")
    config = parse_yaml("methods:\n- share: 1\n- {speed: fats}\n", "my.yaml")
    given = parse_set(["name=a b", "keep=maybe"])
    found = problems(Run, preset, config, given, flag_layer({"seed": 10}))
    assert sorted(found) == [
        "--seed: must be at most 9, not 10",
        "--set keep=maybe: must be true or false, not 'maybe'",
        "--set name=a b: must not hold spaces",
        "my.yaml:2: methods.0.share: must be below 1.0, not 1",
        "my.yaml:3: methods.1.speed: must be 'fast' or 'slow', not 'fats'; did you mean 'fast'?",
        "preset.yaml:1: unknown key 'sed'; did you mean 'seed'?",
        "preset.yaml:3: unknown key 'method.candidate'; did you mean 'method.candidates'?",
        "preset.yaml:4: method.candidates: must be at least 1, not 0",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1.5", "f:1: seed: must be a whole number, not 1.5"),
        ("seed: x", "f:1: seed: must be a whole number, not 'x'"),
        ("seed:", "f:1: seed: must be a whole number, not empty"),
        ("name: 3", "f:1: name: must be text, not 3"),
        ("method: 3", "f:1: method: must hold keys and values, not 3"),
        ("methods: 3", "f:1: methods: must be a list, not 3"),
        ("method: {share: 0}", "f:1: method.share: must be above 0.0, not 0"),
        ("method: {share: [1]}", "f:1: method.share: must be a number, not [1]"),
    ],
)
def test_plain_words(text: str, message: str) -> None:
    assert problems(Run, parse_yaml(text, "f")) == [message]


def test_missing_keys_say_how_to_set_them() -> None:
    class Needs(Settings):
        target: str

    class Outer(Settings):
        inner: Needs

    assert problems(Outer, parse_yaml("inner: {}", "f")) == [
        "f:1: 'inner.target' is missing; set it with --set inner.target=VALUE"
    ]


def test_a_part_is_validated_on_its_own_with_its_full_name() -> None:
    layer = parse_yaml("method:\n  candidate: 1\n", "f").at("method")
    assert layer.data == {"candidate": 1}
    with pytest.raises(ConfigurationError) as caught:
        validate(Method, layer, "method")
    assert caught.value.problems == (
        "f:2: unknown key 'method.candidate'; did you mean 'method.candidates'?",
    )
    assert parse_yaml("seed: 1", "f").at("method", "inner").data == {}


def test_unusable_set_values_are_all_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_set(["a", "=1", "b..c=1", "d=1", "d.e=2", "f=[1"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "--set a",
        "--set =1",
        "--set b..c=1",
        "--set d.e=2",
        "--set f=[1",
    ]
