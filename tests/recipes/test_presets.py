from __future__ import annotations

from pathlib import Path

import pytest

from designkit.errors import UsageError
from designkit.recipes import presets

TEXT = "# Promoters of yeast.\n#\n# Data: somewhere.\n\n# not the description\nseed: 1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four presets; the working folder is another one, and empty."""
    place = tmp_path / "presets"
    place.mkdir()
    for name in ("dna-yeast-promoter", "rna-utr", "dna-utr", "protein-plain"):
        (place / f"{name}.yaml").write_text(TEXT if "yeast" in name else "seed: 1\n")
    monkeypatch.setattr(presets, "presets_folder", lambda: place)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return place


def test_the_first_comment_block_describes_a_preset(folder: Path) -> None:
    found = {preset.name: preset for preset in presets.list_presets()}
    assert list(found) == ["dna-utr", "dna-yeast-promoter", "protein-plain", "rna-utr"]
    described = found["dna-yeast-promoter"]
    assert described.description == "Promoters of yeast.\n\nData: somewhere."
    assert described.title == "Promoters of yeast."
    assert found["protein-plain"].title == ""


@pytest.mark.parametrize("name", ["dna-yeast-promoter", "yeast-promoter"])
def test_find_by_full_name_or_without_molecule(folder: Path, name: str) -> None:
    assert presets.find_preset(name) == folder / "dna-yeast-promoter.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("utr", "may be dna-utr or rna-utr"),
        ("yeast-promotor", "did you mean 'yeast-promoter'"),
        ("dna-yeast-promotr", "did you mean 'dna-yeast-promoter'"),
        ("xyzzy", "designkit presets list"),
        ("./mine.yaml", "use --config"),
        ("../presets/rna-utr", "use --config"),
    ],
)
def test_refused_names(folder: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        presets.find_preset(name)


def test_commands(folder: Path, run) -> None:
    assert run("presets", "list").stdout.splitlines()[:3] == [
        "NAME                TITLE",
        "dna-utr",
        "dna-yeast-promoter  Promoters of yeast.",
    ]
    assert run("presets", "show", "yeast-promoter").stdout == TEXT
    copied = run("presets", "copy", "yeast-promoter")
    assert copied.stdout == "dna-yeast-promoter.yaml\n"
    assert Path("dna-yeast-promoter.yaml").read_text() == TEXT
    again = run("presets", "copy", "yeast-promoter")
    assert again.exit_code == 2
    assert "exists already; use --force" in again.stderr
    assert run("presets", "copy", "rna-utr", "dna-yeast-promoter.yaml", "--force").exit_code == 0
    assert Path("dna-yeast-promoter.yaml").read_text() == "seed: 1\n"
    assert [path.name for path in Path().iterdir()] == ["dna-yeast-promoter.yaml"]
    nowhere = run("presets", "copy", "rna-utr", "no/such/folder.yaml")
    assert nowhere.exit_code == 2
    assert "cannot write" in nowhere.stderr


def test_the_folder_of_this_checkout() -> None:
    root = Path(presets.__file__).parents[2]
    assert presets.presets_folder() in (root / "presets", root / "designkit" / "_presets")
