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
FEWEST_PARTICLES = 20
"""Particles below which a population is seldom resampled in time: steps are given up first."""
MOST_PARTICLES = 1024
"""That a population is worth: a run is stopped and resumed between populations."""
FEWEST_STEPS = 5
"""Of a population; with fewer, draws that are weighed once do as well."""
ATTEMPTS = 2
"""How often the budget allows each design to be drawn, where bounds of GC may break it."""


def plan_method(
    merged: Layer,
    method: Mapping[str, Any],
    lengths: Sequence[int],
    letters: int,
    further: Set[str] = frozenset(),
) -> dict[str, Any]:
    """The method that fits ``max_evals``, with its settings.

    Where ``--alpha`` asks for designs of p(x) exp(reward / alpha), that is SMC with as many
    particles as the budget has rewards for each step, whether their designs are written or not, and
    fewer steps where particles would be few; or soft best-of-N with a small budget. Where it is 0
    or not given, the best designs are wanted: SVDD with as many steps as the budget allows, or
    best-of-N with a small budget.

    Under bounds of GC half of the budget is left for designs that are drawn again. The best is then
    wanted of draws where SVDD would have fewer steps than letters: none of the few ways to fill
    several positions at once may keep to the bounds, and that design is lost.

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
    attempts = ATTEMPTS if merged.at("constraints").data.get("gc") else 1
    alpha = method.get("temperature")
    if not alpha:
        return _for_the_best(each, lengths, letters, attempts)
    return {**_for_a_law(budget, num, lengths, attempts), "temperature": alpha}


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


def _for_the_best(each: int, lengths: Sequence[int], letters: int, attempts: int) -> dict[str, Any]:
    """Settings that raise the reward most."""
    best_of_all = {"name": "best_of_n", "candidates": each}
    if each < FEWEST_FOR_SVDD * attempts:
        return best_of_all
    most = max(1, *lengths)
    candidates = max(_default("svdd", "candidates"), each // attempts // most)
    method = _sampler("svdd", candidates=candidates)
    steps = method.within(most, each // attempts, letters).steps_for(most)
    if attempts > 1 and steps < method.steps_for(most):
        return best_of_all
    chosen = {"name": "svdd", "candidates": candidates}
    if steps == method.steps_for(most) and steps > min(lengths):
        return chosen  # as many steps as each design has letters
    return {**chosen, "steps": min(steps, *lengths)}


def _for_a_law(budget: int, num: int, lengths: Sequence[int], attempts: int) -> dict[str, Any]:
    """Settings that draw from the tilted law.

    On ``utr5`` with ``--reward gc --alpha 0.02``, whose law has a mean of 0.919, 1000 rewards gave
    0.912 with 20 particles, 0.909 with 5 and 4 random completions a value, 0.69 with 2 and 10; 100
    rewards gave 0.880 with 20 particles and 5 steps, 0.866 with 5 particles and 20 steps.
    """
    steps = _sampler("smc").steps_for(max(lengths))
    # Populations are drawn whole: particles that are not written are paid for too. With few, large
    # ones the last designs that are asked for may need no population of their own.
    populations = -(-num // _default("smc", "particles"))
    spent = budget // attempts
    while populations > 1 and num <= (populations - 1) * (spent // populations // steps):
        populations -= 1
    each = spent // populations
    wanted = max(FEWEST_PARTICLES, -(-num // populations))
    if each >= wanted * steps:
        return {"name": "smc", "particles": max(wanted, min(MOST_PARTICLES, each // steps))}
    fewer = each // wanted
    if fewer < min(FEWEST_STEPS, steps):
        return {"name": "best_of_n", "candidates": budget // num}
    return {"name": "smc", "particles": wanted, "steps": min(fewer, *lengths)}


def _sampler(name: str, **settings: Any) -> Sampler:
    plugin = plugins.find("designkit.samplers", name)
    found: Sampler = validate(plugin, Layer("method", settings), "method")
    return found


def _default(name: str, setting: str) -> int:
    found: int = getattr(_sampler(name), setting)
    return found
