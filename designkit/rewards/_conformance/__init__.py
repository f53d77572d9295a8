"""Does a reward keep the contract? One finding for each thing that runs rely on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from designkit.alphabet import Alphabet
from designkit.errors import RewardError
from designkit.rewards._batches import score_all
from designkit.rewards._conformance import conduct, relaxed, values
from designkit.rewards._conformance.case import Case, Failed, Finding, Skipped, describe
from designkit.rewards.base import Reward

BATCHES = (4, 16, 64, 256)
"""Sizes of the batches that are timed."""

Check = Callable[[Case], str]

NEEDED: dict[str, Check] = {
    "alphabets": values.alphabets,
    "shape": values.shape,
    "values": values.values,
}
"""Where one of these fails the others have nothing to look at."""

FURTHER: dict[str, Check] = {
    "repeat": values.repeat,
    "order": values.order,
    "range": values.declared_range,
    "reasons": values.reasons,
    "lengths": values.lengths,
    "letters": values.letters,
    "relaxed": relaxed.relaxed,
    "padding": relaxed.padding,
    "gradient": relaxed.gradient,
    "randomness": conduct.randomness,
    "silence": conduct.silence,
    "parameters": conduct.parameters,
    "run": conduct.in_a_run,
}


def check_reward(reward: Reward, alphabet: Alphabet, sequences: Sequence[str]) -> list[Finding]:
    """Check that a reward keeps the contract.

    Args:
        reward: the reward, not yet bound.
        alphabet: what to bind it to.
        sequences: of that alphabet, at least one; 20 and more say more.

    Returns:
        One finding for each check. Those that a failed one stands in the way of are left out.
    """
    return list(iterate_checks(reward, alphabet, sequences))


def iterate_checks(
    reward: Reward, alphabet: Alphabet, sequences: Sequence[str]
) -> Iterator[Finding]:
    """The findings of ``check_reward``, each as soon as it is there."""
    import numpy as np

    case = Case(reward, alphabet, list(sequences), np.zeros((0, 0)), set())
    for name, check in (NEEDED | FURTHER).items():
        with conduct.random_states_kept():
            finding = _run(name, check, case)
        yield finding
        if name in NEEDED and finding.outcome == "failed":
            return


def time_reward(reward: Reward, sequences: Sequence[str], seconds: float = 10.0) -> Finding:
    """Sequences a second, one at a time and in the largest of ``BATCHES`` that is quick enough.

    Args:
        reward: bound.
        sequences: to score, again and again where there are fewer than a batch holds.
        seconds: no batch is timed that would take longer, as far as the smaller ones tell.
    """
    score_all(reward, sequences[:1])  # what is loaded at the first call is not counted
    started, done = time.perf_counter(), 0
    while done < 20 and time.perf_counter() - started < seconds / 10:
        score_all(reward, [sequences[done % len(sequences)]])
        done += 1
    rate = done / (time.perf_counter() - started)
    said = f"{_rate(rate)} sequences a second one at a time"
    largest = ""
    for size in BATCHES:
        if size > (reward.info.max_batch or size) or size / rate > seconds:
            break
        batch = [sequences[row % len(sequences)] for row in range(size)]
        started = time.perf_counter()
        score_all(reward, batch)
        rate = size / (time.perf_counter() - started)
        largest = f", {_rate(rate)} in batches of {size}"
    return Finding("speed", "ok", said + largest)


def _rate(rate: float) -> str:
    return f"{float(f'{rate:.2g}'):,g}" if rate < 1e6 else f"{rate / 1e6:.1f} million"


def _run(name: str, check: Check, case: Case) -> Finding:
    try:
        detail = check(case)
    except Skipped as reason:
        return Finding(name, "skipped", str(reason))
    except Failed as problem:
        return Finding(name, "failed", str(problem))
    except (Exception, SystemExit) as problem:
        text = str(problem) if isinstance(problem, RewardError) else describe(problem)
        return Finding(name, "failed", text)
    case.passed.add(name)
    return Finding(name, "ok", detail)
