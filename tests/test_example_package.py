"""An outside package brings a reward: built, installed, found, checked, used, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from designkit import plugins

PACKAGE = Path(__file__).parents[1] / "examples/designkit-gquadruplex"


def python(*arguments: object, folder: Path, path: Path | None = None) -> str:
    """What a Python program prints; it must end well."""
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **({"PYTHONPATH": str(path)} if path else {})},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert process.returncode == 0, process.stderr + process.stdout
    return process.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the built package was installed, without a network."""
    folder = tmp_path_factory.mktemp("package")
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input")
    offline = ("--no-deps", "--no-index")
    build = ("wheel", *offline, "--no-build-isolation", "--wheel-dir", folder / "dist", PACKAGE)
    before = sorted(PACKAGE.rglob("*"))
    python(*pip, *build, folder=folder)
    assert sorted(PACKAGE.rglob("*")) == before
    (wheel,) = (folder / "dist").glob("*.whl")
    python(*pip, "install", *offline, "--target", folder / "site", wheel, folder=folder)
    return folder / "site"


def test_it_is_found_by_its_entry_point(installed: Path, tmp_path: Path) -> None:
    assert "g4hunter" not in plugins.names("designkit.rewards")
    listed = python("-m", "designkit", "rewards", "list", folder=tmp_path, path=installed)
    (row,) = (line for line in listed.splitlines() if line.startswith("g4hunter"))
    assert row.split()[1:7] == ["dna,rna", "score", "more", "-4", "to", "4"]
    assert row.endswith("How likely a sequence is to fold into a G-quadruplex: its G4Hunter score.")
    assert "PROBLEM" not in listed
    shown = python(
        "-m", "designkit", "rewards", "show", "g4hunter", folder=tmp_path, path=installed
    )
    assert f"source: {installed}" in shown


def test_it_is_checked(installed: Path, tmp_path: Path) -> None:
    checked = python(
        *("-m", "designkit", "rewards", "check", "g4hunter?window=20"),
        folder=tmp_path,
        path=installed,
    )
    assert "FAILED" not in checked
    assert "columns g4hunter, g4hunter_share" in checked


def test_it_scores(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "telomere.fa").write_text(">human\nGGGTTAGGGTTAGGGTTAGGG\n>none\nATATATAT\n")
    table = python(
        *("-m", "designkit", "score", "telomere.fa", "--reward", "g4hunter"),
        folder=tmp_path,
        path=installed,
    )
    header, human, none = (line.split("\t") for line in table.splitlines())
    place = header.index("g4hunter")
    assert float(human[place]) == pytest.approx(36 / 21, abs=1e-5)
    assert float(none[place]) == 0


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    said = python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull),
        *("--rootdir", PACKAGE, PACKAGE / "tests"),
        folder=tmp_path,
        path=installed,
    )
    assert "passed" in said
