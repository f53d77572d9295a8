"""``--method auto``: the method and its settings that a budget of reward calls allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from designkit import plugins
from designkit.alphabet import Alphabet
from designkit.constraints import ConstraintSettings
from designkit.errors import ConfigurationError, UsageError
from designkit.recipes._constraints import RunConstraints, template_length
from designkit.settings import Layer, validate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from designkit.algorithms.sampling.base import Sampler

AUTO = "auto"
NO_MODEL = "no model to draw from: designkit sample MODEL"
FEWEST_FOR_SVDD = 20
"""Reward rows a design below which the best of as many draws is as good as guidance."""


def plan_method(
    merged: Layer,
    method: Mapping[str, Any],
    lengths: Sequence[int],
    letters: int,
    further: Set[str] = frozenset(),
) -> dict[str, Any]:
    """The method that fits ``max_evals``, with its settings.

    Where ``--alpha`` asks for designs of p(x) exp(reward / alpha), that is SMC whose values are
    means over as many completions as the budget has rewards for each particle and step, or soft
    best-of-N where there are fewer rewards than steps. Where it is 0 or not given, the best designs
    are wanted: SVDD with as many steps as the budget allows, or best-of-N with a small budget.

    Args:
        merged: the whole configuration.
        method: what it says of the method: ``name`` and ``temperature`` at most.
        lengths: letters of a design that are to be found, of each length; see ``to_be_found``.
        letters: size of the alphabet.
        further: other settings of it that were given.

    Returns:
        ``name`` of the method and its settings.

    Raises:
        UsageError: no budget, other settings of the method, or less than one reward a design.
    """
    refused = sorted({*method, *further} - {"name", "temperature"})
    if refused:
        raise UsageError(
            f"method auto chooses {', '.join(refused)} itself: leave it out, or name a method"
        )
    budget, num = merged.data.get("max_evals"), merged.data.get("num", 10)
    if not isinstance(budget, int):
        raise UsageError("method auto fits a budget of rewards: add --max-evals N")
    if not isinstance(num, int) or num < 1:
        raise ConfigurationError([f"--num: must be at least 1, not {num}"])
    each = budget // num
    if each < 1:
        raise UsageError(f"--max-evals {budget} is less than one reward for each of {num} designs")
    alpha = method.get("temperature")
    if not alpha:
        return _for_the_best(each, lengths, letters)
    return {**_for_a_law(budget, num, max(lengths)), "temperature": alpha}


def to_be_found(merged: Layer) -> tuple[list[int], int]:
    """How many letters constraints leave open, for each length of designs, and the alphabet's size.

    Args:
        merged: the whole configuration.

    Raises:
        ConfigurationError: no model, or constraints that cannot be read.
        UsageError: constraints that do not fit the length, or that no design satisfies.
    """
    from designkit.registry.rules import find_prior

    if not merged.data.get("model"):
        raise ConfigurationError([NO_MODEL])
    card = find_prior(str(merged.data["model"])).card
    alphabet = Alphabet.from_dict(card["alphabet"])
    settings = validate(ConstraintSettings, merged.at("constraints"), "constraints")
    asked = merged.data.get("length")
    length = template_length(settings, alphabet, asked if isinstance(asked, int) else None)
    lengths = [int(one) for one in card["length_law"]] if length is None else [length]
    constraints = RunConstraints(settings, alphabet)
    return [constraints.free(one) for one in lengths], alphabet.size


def _for_the_best(each: int, lengths: Sequence[int], letters: int) -> dict[str, Any]:
    """Settings that raise the reward most."""
    if each < FEWEST_FOR_SVDD:
        return {"name": "best_of_n", "candidates": each}
    most = max(1, *lengths)
    candidates = max(_default("svdd", "candidates"), each // most)
    method = _sampler("svdd", candidates=candidates)
    steps = method.within(most, each, letters).steps_for(most)
    chosen = {"name": "svdd", "candidates": candidates}
    if steps == method.steps_for(most) and steps > min(lengths):
        return chosen  # as many steps as each design has letters
    return {**chosen, "steps": min(steps, *lengths)}


def _for_a_law(budget: int, num: int, length: int) -> dict[str, Any]:
    """Settings that draw from the tilted law."""
    steps = _sampler("smc").steps_for(length)
    # Populations are drawn whole: particles that are not written are paid for too.
    populations = -(-num // _default("smc", "particles"))
    particles = max(2, -(-num // populations))
    completions = budget // (populations * particles * steps)
    if completions < 1:
        return {"name": "best_of_n", "candidates": budget // num}
    value = {"name": "monte_carlo", "completions": completions}
    return {"name": "smc", "particles": particles, "value": value}


def _sampler(name: str, **settings: Any) -> Sampler:
    plugin = plugins.find("designkit.samplers", name)
    found: Sampler = validate(plugin, Layer("method", settings), "method")
    return found


def _default(name: str, setting: str) -> int:
    found: int = getattr(_sampler(name), setting)
    return found
