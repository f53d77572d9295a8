"""``designkit rewards``: the list, what is said of one reward, the checks, a file to start from."""

from __future__ import annotations

import json
import math
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from designkit import plugins
from designkit.rewards._loader import GROUP
from tests.rewards.examples import JASPAR


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch):
    """Install rewards of other packages: ``entry_points(name="pkg.module:attr")``."""
    from importlib import metadata

    installed = list(metadata.entry_points(group=GROUP))

    def install(**values: str) -> None:
        more = [EntryPoint(name, value, GROUP) for name, value in values.items()]
        monkeypatch.setattr(metadata, "entry_points", lambda group: [*installed, *more])
        plugins._group.cache_clear()

    yield install
    monkeypatch.undo()
    plugins._group.cache_clear()


def test_the_list_has_every_reward(run) -> None:
    outcome = run("rewards", "list")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    header, *rows = outcome.stdout.splitlines()
    assert header.split() == [
        *("NAME", "READS", "UNIT", "BETTER", "RANGE", "RELAXED", "COST", "NEEDS", "MEASURES")
    ]
    assert [row.split()[0] for row in rows] == plugins.names(GROUP)
    gc = next(row for row in rows if row.startswith("gc "))
    assert gc.split()[1:8] == ["dna,rna", "fraction", "more", "0", "to", "1", "yes"]
    assert gc.endswith("GC content: the share of G and C, or how close it is to a wanted window.")
    assert "PROBLEM" not in outcome.stdout


def test_the_list_for_programs(run) -> None:
    listed = {one["name"]: one for one in json.loads(run("rewards", "list", "--json").stdout)}
    assert set(listed) == set(plugins.names(GROUP))
    gc = listed["gc"]
    assert gc["info"]["alphabets"] == ["dna", "rna"]
    assert gc["info"]["outputs"] == [
        {"name": "gc", "unit": "fraction", "direction": "maximize", "range": [0, 1]}
    ]
    assert gc["parameters"][0] == {
        "name": "low",
        "kind": "number at least 0 and at most 1",
        "default": "",
        "required": False,
        "meaning": "smallest wanted fraction, 0 to 1; 0 where only ``high`` is given.",
    }
    assert listed["mfe"]["needs"] == "designkit[rna]"
    assert listed["motif"]["reference"] == "motif?file=FILE"


def test_a_plugin_that_fails_does_not_break_the_list(run, entry_points, folder: Path) -> None:
    Path("broken.py").write_text("import a_library_that_is_not_there\n")
    Path("odd.py").write_text(
        "from designkit.rewards import Reward\n\nclass Odd(Reward):\n    settings_type = None\n"
    )
    entry_points(
        broken=f"{folder}/broken.py:mine",
        number="math:pi",
        odd=f"{folder}/odd.py:Odd",
        room="a_package_that_is_not_there",
    )
    outcome = run("rewards", "list")
    assert outcome.exit_code == 0
    problems = [row for row in outcome.stdout.splitlines() if "PROBLEM" in row]
    assert len(problems) == 4
    assert "broken" in problems[0]
    assert "No module named 'a_library_that_is_not_there'" in problems[0]
    assert "'number' is not a reward" in problems[1]
    assert "odd" in problems[2]
    assert "a_package_that_is_not_there" in problems[3]
    assert len(outcome.stdout.splitlines()) == len(plugins.names(GROUP)) + 2


def test_everything_about_a_reward(run) -> None:
    shown = run("rewards", "show", "gc").stdout
    assert shown.startswith("gc: GC content: the share of G and C")
    for line in (
        "reads: dna, rna",
        "relaxed: yes, for methods that follow gradients",
        "output gc: fraction, 0 to 1, more is better",
        "parameter low: smallest wanted fraction, 0 to 1; 0 where only high is given "
        "(number at least 0 and at most 1)",
        "citation: Marmur and Doty 1962, J Mol Biol 5:109",
        f"source: {Path(plugins.__file__).parent / 'rewards/gc.py'}",
        "example: --reward gc",
    ):
        assert line in shown.splitlines()
    assert "needs: pip install 'designkit[rna]'" in run("rewards", "show", "mfe").stdout


def test_outputs_of_a_reward_with_its_parameters(run) -> None:
    Path("arnt.jaspar").write_text(JASPAR)
    assert "output motif: bits, more is better" in run("rewards", "show", "motif").stdout
    made = run("rewards", "show", "motif?file=arnt.jaspar").stdout
    # log2(4 p) of counts out of 20 with pseudocount 0.5: p = (count + 0.5) / 22. The commonest
    # letters are seen 16, 19 and four times 20 times, the rarest never.
    best = sum(math.log2(4 * (count + 0.5) / 22) for count in (16, 19, 20, 20, 20, 20))
    worst = 6 * math.log2(4 * 0.5 / 22)
    assert f"output motif: bits, {worst:g} to {best:g}, more is better" in made
    assert "example: --reward 'motif?file=arnt.jaspar'" in made
    model = run("rewards", "show", "model:pred").stdout
    assert "output pred: a.u., more is better" in model
    assert "output std: a.u., less is better" in model


def test_a_reward_of_a_file(run) -> None:
    Path("mine.py").write_text(
        "from designkit.rewards import reward\n\n"
        "@reward(alphabet='dna', unit='sites', direction='minimize')\n"
        "def boxes(sequences: list[str], box: str, most: int = 3) -> list[float]:\n"
        '    """How often a box occurs.\n\n    At most ``most`` are counted.\n\n'
        "    Args:\n        sequences: to look in.\n        box: what to look for,\n"
        '            in capitals.\n    """\n'
        "    return [float(min(s.count(box), most)) for s in sequences]\n"
    )
    shown = run("rewards", "show", "mine.py:boxes").stdout
    assert shown.startswith("boxes: How often a box occurs.\n\nHow often a box occurs.\n\nAt most")
    assert "output boxes: sites, less is better" in shown
    assert "parameter box: what to look for, in capitals (text, required)" in shown
    assert "parameter most: whole number, 3 by default" in shown
    assert "example: --reward 'mine.py:boxes?box=BOX'" in shown
    assert "Args" not in shown


@pytest.mark.parametrize(
    ("ref", "code", "message"),
    [
        ("gcc", 4, "unknown reward 'gcc'; did you mean 'gc'?"),
        ("gc?lo=1", 2, "unknown key 'lo'; did you mean 'low'?"),
        ("math:pi", 4, "'math:pi' is not a reward"),
        ("model:absent", 4, "absent"),
    ],
)
def test_there_is_no_such_reward(run, ref: str, code: int, message: str) -> None:
    for command in ("show", "check"):
        outcome = run("rewards", command, ref)
        assert (outcome.exit_code, outcome.stdout) == (code, "")
        assert message in outcome.stderr


def findings(text: str) -> dict[str, str]:
    """Outcome by check."""
    return {line.split()[1]: line.split()[0] for line in text.splitlines()}


def test_a_reward_that_passes(run) -> None:
    outcome = run("rewards", "check", "gc?low=0.4&high=0.6")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    found = findings(outcome.stdout)
    assert len(found) == 17
    assert set(found.values()) == {"ok"}
    assert "sequences a second one at a time" in outcome.stdout


def test_a_reward_that_fails(run, plugin) -> None:
    ref = plugin("return [len(s) / 10 for s in sequences]", options="alphabet='dna', range=(0, 1)")
    outcome = run("rewards", "check", ref)
    assert outcome.exit_code == 4
    assert outcome.stderr == f"designkit: error: {ref}: 1 failed: range\n"
    found = findings(outcome.stdout)
    assert [check for check, word in found.items() if word == "FAILED"] == ["range"]
    assert found["gradient"] == "skipped"
    assert "FAILED   range       mine 5 is outside 0 to 1: widen it" in outcome.stdout
    # Five letters are within the range.
    assert run("rewards", "check", ref, "--length", "5").exit_code == 0


def test_sequences_of_a_file(run, fasta: Path, plugin) -> None:
    ref = plugin("return [float(len(s)) for s in sequences]", options="")
    shown = run("rewards", "check", ref, "--sequences", fasta).stdout
    assert "4 of 4 sequences have a score, all 20" in shown
    assert "reads dna; any alphabet" in shown
    outcome = run("rewards", "check", ref, "--sequences", fasta, "--alphabet", "rna")
    assert outcome.exit_code == 3
    assert "'T'" in outcome.stderr
    assert run("rewards", "check", ref, "--sequences", fasta, "--length", 5).exit_code == 2


def test_a_model_brings_its_length(run) -> None:
    outcome = run("rewards", "check", "model:pred")
    assert outcome.exit_code == 0, outcome.stdout
    assert "32 of 32 sequences have a score" in outcome.stdout
    assert "single precision" in outcome.stdout
    short = run("rewards", "check", "model:pred", "--length", 19)
    assert short.exit_code == 4
    assert list(findings(short.stdout).items())[-1] == ("values", "FAILED")
    assert "length 19; 'pred' was trained on 20" in short.stdout


@pytest.mark.parametrize("options", [[], ["--class"]], ids=["function", "class"])
def test_a_new_reward_works_as_it_is(run, fasta: Path, options: list[str]) -> None:
    made = run("rewards", "new", "open_box", *options)
    assert (made.exit_code, made.stdout) == (0, "open_box.py\n")
    ref = made.stderr.removeprefix("next: designkit rewards check ").strip()
    assert ref == ("./open_box.py:OpenBox" if options else "./open_box.py:open_box")
    checked = run("rewards", "check", ref)
    assert checked.exit_code == 0, checked.stdout
    found = findings(checked.stdout)
    assert found["gradient"] == ("ok" if options else "skipped")
    scored = run("score", fasta, "--reward", ref)
    assert scored.exit_code == 0
    assert "open_box" in scored.stdout.splitlines()[0].split("\t")
    text = Path("open_box.py").read_text()
    assert not {"NAME", "CLASS", "FILE"} & set(text.replace(":", " ").split())


def test_a_new_reward_replaces_nothing_unasked(run) -> None:
    Path("mine.py").write_text("mine")
    outcome = run("rewards", "new", "mine")
    assert outcome.exit_code == 2
    assert "mine.py exists already; use --force" in outcome.stderr
    assert Path("mine.py").read_text() == "mine"
    assert run("rewards", "new", "mine", "--force").exit_code == 0
    Path("sub").mkdir()
    assert run("rewards", "new", "mine", "-o", "sub").stdout == "sub/mine.py\n"
    assert run("rewards", "new", "mine", "-o", "absent/mine.py").exit_code == 2
    assert not list(Path().rglob("*.part"))


@pytest.mark.parametrize("name", ["two words", "class", "id", "reward", "3d"])
def test_names_that_no_reward_can_have(run, name: str) -> None:
    outcome = run("rewards", "new", name, "-o", "x.py")
    assert outcome.exit_code == 2
    assert f"{name!r} cannot name a reward" in outcome.stderr
    assert not Path("x.py").exists()


def test_audit_hands_its_options_on(run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def run_audit(ref: str, **options: object) -> int:
        given.update(options, ref=ref)
        return 5

    monkeypatch.setattr("designkit.recipes.audit.run_audit", run_audit)
    outcome = run(
        *("rewards", "audit", "gc", "--natural", "n.fa", "--prior", "tiny", "--alphabet", "dna"),
        *("--length", "9", "-n", "7", "--seed", "3", "--device", "cpu", "--threads", "1", "-q"),
    )
    assert outcome.exit_code == 5
    assert given == {
        "ref": "gc",
        "natural": "n.fa",
        "prior": "tiny",
        "alphabet": "dna",
        "length": 9,
        "num": 7,
        "seed": 3,
        "device": "cpu",
        "threads": 1,
        "as_json": False,
        "quiet": True,
    }
