"""Parameters that presets declare for themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from designkit.errors import ConfigurationError
from designkit.recipes import presets
from designkit.recipes._parameters import filled_in
from designkit.recipes.options import RunOptions
from designkit.settings import Layer, parse_set, parse_yaml

FILE = """
parameters:
  target: {about: what to fold into, kind: structure}
  share: {about: share of GC, kind: number, default: 0.5}
model: "rules?structure=${target}&gc=${share}"
rewards:
  - {ref: "target_structure?structure=${target}", weight: "${share}"}
note: "${target}"
"""


def filled(*assignments: str, text: str = FILE) -> Layer:
    first, *_ = filled_in([parse_yaml(text, "preset.yaml"), parse_set(assignments)])
    return first


def problems(*assignments: str, text: str = FILE) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        filled(*assignments, text=text)
    return caught.value.problems


def test_values_are_put_where_the_file_says() -> None:
    layer = filled("target= (...) ")
    assert layer.data == {
        "model": "rules?structure=(...)&gc=0.5",
        "rewards": [{"ref": "target_structure?structure=(...)", "weight": 0.5}],
        "note": "(...)",
    }
    assert layer.origin(("model",)) == "--set target= (...) "
    assert layer.origin(("rewards", 0, "weight")).startswith("preset.yaml:")


def test_a_later_layer_wins_and_other_keys_stay() -> None:
    layers = [
        parse_yaml(FILE, "preset.yaml"),
        parse_yaml("target: (....)\nseed: 3", "mine.yaml"),
        parse_set(["share=1", "method.candidates=2"]),
    ]
    first, second, third = filled_in(layers)
    assert first.data["note"] == "(....)"
    assert first.data["rewards"][0]["weight"] == 1
    assert second.data == {"seed": 3}
    assert third.data == {"method": {"candidates": 2}}


def test_without_declarations_nothing_is_replaced() -> None:
    (layer,) = filled_in([parse_yaml("note: '${HOME}'", "plain.yaml")])
    assert layer.data == {"note": "${HOME}"}


def test_what_is_missing_is_named_with_what_it_is() -> None:
    assert problems() == ("target is missing (what to fold into); add --set target=...",)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("target=((...)", "--set target=((...): the '(' at position 1 is not closed"),
        ("target=[1, 2]", "--set target=[1, 2]: must be a dot-bracket structure, not [1, 2]"),
        ("share=half", "--set share=half: must be a number, not 'half'"),
        ("share=true", "--set share=true: must be a number, not True"),
    ],
)
def test_values_that_are_not_of_their_kind(assignment: str, message: str) -> None:
    assert message in problems("target=(...)", assignment)


def test_all_problems_at_once_with_their_lines() -> None:
    text = FILE + 'more: "${targte} ${length}"\n'
    assert problems("target=(...)", text=text) == (
        "preset.yaml:9: no parameter 'targte' is declared; did you mean 'target'?",
        "preset.yaml:9: no parameter 'length' is declared",
    )
    wrong = "parameters:\n  one: {kind: text}\n  two: {about: b, kind: colour}\n"
    found = problems(text=wrong)
    assert len(found) == 2
    assert "preset.yaml:2" in found[0]
    assert "'parameters.one.about' is missing" in found[0]
    assert "preset.yaml:3" in found[1]
    assert problems(text="parameters: [target]") == (
        "preset.yaml:1: must hold names, each with 'about'",
    )


def test_a_run_takes_them_from_its_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rna-fold.yaml").write_text(FILE)
    monkeypatch.setattr(presets, "presets_folder", lambda: tmp_path)
    options = RunOptions(preset="rna-fold", assignments=["target=(...)"], flags={"model": "mine"})
    merged = options.configuration("sample")
    assert merged.data["model"] == "mine"
    assert "parameters" not in merged.data
    assert "target" not in merged.data
    assert merged.data["rewards"][0]["ref"] == "target_structure?structure=(...)"
