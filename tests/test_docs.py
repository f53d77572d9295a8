"""What documentation says exists, exists, and what is generated is fresh."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from designkit.plugins import names

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def generator():
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs/_generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_command_line_page_is_fresh(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    page = generator().cli_page()
    assert (ROOT / "docs/cli.md").read_text() == page, "stale: run 'make docs'"
    assert "## designkit sample\n" in page
    assert "### designkit models list\n" in page


def test_the_page_of_rewards_is_fresh() -> None:
    page = generator().rewards_page()
    assert (ROOT / "docs/builtin-rewards.md").read_text() == page, "stale: run 'make docs'"
    assert re.search(r"^\| \[`gc`\]\(#gc\) \| GC content: .* \| fraction, 0 to 1, more", page, re.M)
    details = page.partition("\n### gc\n")[2].partition("\n### ")[0]
    assert "- parameter `low`: smallest wanted fraction, 0 to 1" in details


def test_every_built_in_reward_is_on_the_page() -> None:
    page = (ROOT / "docs/builtin-rewards.md").read_text()
    for file in (ROOT / "designkit/rewards").glob("[a-z]*.py"):
        if file.stem != "base":
            assert f"\n### {file.stem}\n" in page


def test_there_are_pages() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "CHANGELOG.md", "getting-started.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            place = page.parent / path if path else page
            assert place.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(place), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """What links may name: the headings, in GitHub's way."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_examples_of_rewards_work_as_shown(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/rewards.md").read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        named = re.match(r"# (\w+\.(?:py|yaml))\n", block)
        if named or block.startswith(">"):
            Path(named[1] if named else "seqs.fa").write_text(block)
    tried = 0
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.replace("\\\n", " ").partition("\n")
            program, *arguments = shlex.split(command)
            if program == "designkit" and arguments[0] in ("score", "sample"):
                outcome = run(*arguments)
                assert set(shown.splitlines()) <= {
                    *outcome.stdout.splitlines(),
                    *outcome.stderr.splitlines(),
                }, command
                assert shown
                tried += 1
    assert tried >= 7
    assert run("sample", "yeast-promoter", "-n", 1, "--reward", "run.yaml").exit_code == 0


@pytest.mark.parametrize("group", ["samplers", "refiners", "finetuners", "values"])
def test_every_method_has_a_row(group: str) -> None:
    rows = (ROOT / "docs/algorithms.md").read_text()
    for name in names(f"designkit.{group}"):
        assert re.search(rf"^\| `{name}`", rows, re.MULTILINE), f"no row for {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_presets_and_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    stems = {path.stem for path in (ROOT / "presets").glob("*.yaml")}
    known = stems | {stem.partition("-")[2] for stem in stems}
    assert {name for name in re.findall(r"--preset ([\w-]+)", text) if name != "NAME"} <= known
    commands = {path.stem for path in (ROOT / "designkit/cli").glob("*.py")}
    fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    used = re.findall(r"^(?:\$ )?designkit ([a-z]+)", fenced, re.MULTILINE)
    assert set(used) <= commands
