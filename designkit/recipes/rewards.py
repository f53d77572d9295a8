"""What ``designkit rewards`` does: list, show, check and begin rewards."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from designkit import plugins
from designkit.errors import DesignkitError, RewardError
from designkit.recipes._reward_check import check_reward_of
from designkit.recipes._reward_facts import Parameter, RewardFacts, facts_of
from designkit.recipes._reward_templates import begin_reward
from designkit.rewards import (
    GROUP,
    PREFIXES,
    Output,
    Reward,
    RewardInfo,
    load_reward,
    split_reference,
)

__all__ = [
    "COLUMNS",
    "RewardFacts",
    "begin_reward",
    "check_reward_of",
    "describe_output",
    "describe_parameter",
    "describe_reward",
    "find_reward",
    "list_rewards",
    "reward_rows",
    "rewards_record",
]

COLUMNS = ("name", "reads", "unit", "better", "range", "relaxed", "cost", "needs", "measures")


def list_rewards() -> list[RewardFacts]:
    """All rewards that can be named, those of other packages too; problems are among the facts."""
    facts = []
    for name in plugins.names(GROUP):
        try:
            found = plugins.find(GROUP, name)
            facts.append(facts_of(_reward_class(found, name), name))
        except Exception as problem:  # whatever another package does wrong
            known = isinstance(problem, DesignkitError)
            text = str(problem) if known else f"{type(problem).__name__}: {problem}"
            facts.append(RewardFacts(name=name, problem=" ".join(text.split())))
    facts += [RewardFacts(name="?", problem=text) for text in plugins.unreadable(GROUP)]
    return facts


def reward_rows(facts: Sequence[RewardFacts]) -> list[tuple[str, ...]]:
    """One row for each reward, the fields of ``COLUMNS``; those of its first output."""
    return [_row(one) for one in facts]


def rewards_record(facts: Sequence[RewardFacts]) -> list[dict[str, Any]]:
    """All that is known, for programs."""
    return [asdict(one) for one in facts]


def find_reward(ref: str) -> RewardFacts:
    """What is known of the reward that a name or reference names.

    With parameters, or for a model, the reward is made: its outputs may depend on them.

    Raises:
        RewardError: there is no such reward, or it cannot be made with these parameters.
    """
    source, parameters = split_reference(ref)
    prefix, separator, _ = source.partition(":")
    if separator and prefix in PREFIXES:
        name = PREFIXES[prefix][0]
        found, shown = plugins.find(GROUP, name), name
    elif separator:
        found, shown = plugins.load_object(source, "reward"), source
        name = source.rpartition(":")[2]
    else:
        name = shown = source.partition("@")[0]
        found = plugins.find(GROUP, name)
    reward_class = _reward_class(found, source)
    facts = facts_of(reward_class, name, shown)
    if not parameters and prefix != "model":
        return facts

    from designkit.recipes.objective import model_loader

    made = load_reward(ref, load_model=model_loader("cpu"))
    made.close()
    return replace(facts, name=made.info.name, info=made.info, reference=ref)


def describe_reward(facts: RewardFacts) -> str:
    """All that is known, for people."""
    info = facts.info
    lines = [f"{facts.name}: {facts.measures}".rstrip(": ")]
    if facts.docstring and " ".join(facts.docstring.split()) != facts.measures:
        lines += ["", facts.docstring]
    lines.append("")
    if info is not None:
        lines += [
            f"reads: {', '.join(info.alphabets) or 'any alphabet'}",
            f"relaxed: {'yes, for methods that follow gradients' if info.differentiable else 'no'}",
            f"cost: {info.cost}",
        ]
        if not info.deterministic:
            lines.append("deterministic: no, the same sequence may get another value")
        if info.coupled:
            lines.append("coupled: values depend on the whole population")
    lines += [f"output {o.name}: {describe_output(o)}" for o in facts.outputs]
    lines += [f"parameter {one.name}: {describe_parameter(one)}" for one in facts.parameters]
    further = {"citation": info.citation if info else "", "needs": "", "source": facts.source}
    further["needs"] = f"pip install '{facts.needs}'" if facts.needs else ""
    lines += [f"{key}: {value}" for key, value in further.items() if value]
    lines.append(f"example: --reward {facts.shell_reference}")
    return "\n".join(lines).replace("``", "")


def describe_output(output: Output) -> str:
    """Unit, range and direction in words."""
    parts = [output.unit or "a number", _range(output)]
    parts.append("more is better" if output.sign > 0 else "less is better")
    return ", ".join(filter(None, parts))


def describe_parameter(parameter: Parameter) -> str:
    """Meaning, kind and default in words."""
    kind = parameter.kind
    if parameter.required:
        kind += ", required"
    elif parameter.default:
        kind += f", {parameter.default} by default"
    return f"{parameter.meaning.rstrip('.')} ({kind})" if parameter.meaning else kind


def _reward_class(found: object, source: str) -> type[Reward]:
    if inspect.isclass(found) and issubclass(found, Reward):
        return found
    raise RewardError(f"{source!r} is not a reward: it is a {type(found).__name__}")


def _row(facts: RewardFacts) -> tuple[str, ...]:
    if facts.problem:
        return (facts.name, *[""] * (len(COLUMNS) - 2), f"PROBLEM: {facts.problem}")
    info = facts.info or RewardInfo(facts.name)
    first = info.outputs[0]
    return (
        facts.name,
        ",".join(info.alphabets) or "any",
        first.unit,
        "more" if first.sign > 0 else "less",
        _range(first),
        "yes" if info.differentiable else "no",
        info.cost,
        facts.needs,
        facts.measures.replace("``", ""),
    )


def _range(output: Output) -> str:
    return f"{output.range[0]:g} to {output.range[1]:g}" if output.range else ""
