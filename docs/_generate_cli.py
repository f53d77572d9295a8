"""Write docs/cli.md and docs/builtin-rewards.md from the program itself: ``make docs``.

Help texts are laid out without rich, at a fixed width, so that they are the same on every terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

import designkit
from designkit.cli.app import create_app
from designkit.recipes.rewards import (
    RewardFacts,
    describe_output,
    describe_parameter,
    list_rewards,
)

PAGE = Path(__file__).with_name("cli.md")
REWARDS_PAGE = Path(__file__).with_name("builtin-rewards.md")
WIDTH = 90
TOP = """\
# Command line

Written by `make docs` from `designkit COMMAND --help`; do not edit.

The same flag means the same thing in every command. Settings come from, weakest first,
`--preset NAME`, `--config FILE.yaml` (repeatable), `--set KEY=VALUE`, and flags.
"""

REWARDS_TOP = """\
# Built-in rewards

Written by `make docs` from the rewards themselves; do not edit. `designkit rewards show NAME`
prints the same, and `designkit rewards list` names those of other packages too. How rewards are
given, combined and written is told in [rewards](rewards.md).

*Relaxed* rewards can be followed by gradients. *Expensive* ones are asked after the cheap ones.
"""
TABLE_HEAD = """\
| reward | measures | first output | relaxed | cost | needs |
|---|---|---|---|---|---|"""
GROUPS = {
    frozenset({"dna", "rna"}): "DNA and RNA",
    frozenset({"dna"}): "DNA",
    frozenset({"rna"}): "RNA",
    frozenset({"protein"}): "Proteins",
    frozenset(): "Any alphabet",
}


def cli_page() -> str:
    """The page as it should be."""
    app = create_app()
    for one in (app, *(group.typer_instance for group in app.registered_groups)):
        one.rich_markup_mode = None
    root = typer.main.get_command(app)
    return "\n".join([TOP, *_sections(root, "designkit", None)])


def _sections(command, name: str, parent: typer.Context | None) -> Iterator[str]:
    context = typer.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    level = "##" if parent is None or parent.parent is None else "###"
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"{level} {context.command_path}\n\n```\n{text}\n```\n"
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        yield from _sections(sub_command, sub_name, context)


def rewards_page() -> str:
    """The page of the rewards that come with designkit."""
    groups: dict[str, list[RewardFacts]] = {title: [] for title in GROUPS.values()}
    own = Path(designkit.__file__).parent / "rewards"
    for facts in list_rewards():
        if facts.problem:
            raise SystemExit(f"{facts.name}: {facts.problem}")
        if Path(facts.source).parent == own:
            groups[_group(facts)].append(facts)
    lines = [REWARDS_TOP]
    for title, rewards in ((title, found) for title, found in groups.items() if found):
        lines += [f"## {title}", "", TABLE_HEAD, *map(_table_row, rewards), ""]
    for rewards in groups.values():
        for facts in rewards:
            lines += _details(facts)
    return "\n".join(lines)


def _group(facts: RewardFacts) -> str:
    return GROUPS[frozenset(facts.info.alphabets if facts.info else ())]


def _table_row(facts: RewardFacts) -> str:
    info = facts.info
    cells = [
        f"[`{facts.name}`](#{facts.name})",
        _markdown(facts.measures),
        describe_output(facts.outputs[0]),
        "yes" if info.differentiable else "",
        info.cost,
        f"`{facts.needs}`" if facts.needs else "",
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _details(facts: RewardFacts) -> Iterator[str]:
    yield f"### {facts.name}\n"
    yield f"{_markdown(facts.docstring)}\n"
    yield f"```\n--reward {facts.shell_reference}\n```\n"
    yield from (f"- output `{one.name}`: {describe_output(one)}" for one in facts.outputs)
    for one in facts.parameters:
        yield f"- parameter `{one.name}`: {_markdown(describe_parameter(one))}"
    if facts.needs:
        yield f"- needs `pip install '{facts.needs}'`"
    if facts.info and facts.info.citation:
        yield f"- {facts.info.citation}"
    source = Path(facts.source).relative_to(Path(designkit.__file__).parents[1])
    yield f"- [{source}](../{source})\n"


def _markdown(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
    REWARDS_PAGE.write_text(rewards_page(), encoding="utf-8")
