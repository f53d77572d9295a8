"""Conduct: random numbers, standard output, parameters, a place in a run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from designkit.rewards._batches import score_all
from designkit.rewards._conformance.case import Case, Failed
from designkit.rewards._engine import RewardEngine
from designkit.rewards._part import WeightedReward
from designkit.settings import Layer, validate

_OUTSIDE = "#"
_SEED = 918_273_645


def randomness(case: Case) -> str:
    """Nobody else's random numbers change."""
    import numpy as np
    import torch

    with random_states_kept():
        # States that no reward can have left behind in an earlier call.
        random.seed(_SEED)
        np.random.seed(_SEED)
        torch.manual_seed(_SEED)
        python, arrays, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
        score_all(case.reward, case.sequences[:3])
        untouched = {
            "random": random.getstate() == python,
            "numpy.random": str(np.random.get_state()) == str(arrays),
            "torch": torch.equal(torch.get_rng_state(), tensors),
        }
    changed = [name for name, same in untouched.items() if not same]
    if changed:
        raise Failed(
            f"it draws from or seeds the global generator of {' and '.join(changed)}: make one of "
            "its own (random.Random(seed), numpy.random.default_rng(seed), torch.Generator())"
        )
    return "the global random generators stay as they are"


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """Put the global random generators back afterwards."""
    import numpy as np
    import torch

    python, arrays, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        torch.set_rng_state(tensors)


def silence(case: Case) -> str:
    """Nothing goes to standard output, where designs go."""
    with _captured() as printed:
        with contextlib.suppress(Exception, SystemExit):
            case.reward.score(case.sequences[:1])
    if printed:
        raise Failed(
            f"it writes {printed[0][:40]!r} to standard output, where designs go: write to "
            "sys.stderr"
        )
    return "nothing is written to standard output"


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """What is written to standard output, by Python and by processes and libraries too."""
    printed: list[str] = []
    sys.stdout.flush()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            with contextlib.redirect_stdout(file):
                yield printed
        finally:
            file.flush()
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            printed += [line for line in file.read().splitlines() if line.strip()]


def parameters(case: Case) -> str:
    """The recorded parameters make the same reward again, written as JSON or in a reference."""
    info, settings = case.reward.info, case.reward.settings
    given = dict(info.params)
    json.dumps(given)
    again = validate(type(settings), Layer("info.params", given))
    if again != settings:
        lost = [key for key, value in dict(settings).items() if getattr(again, key) != value]
        raise Failed(f"info.params does not hold {', '.join(lost)}: keep what the template gave")
    written = {key: _as_written(value) for key, value in given.items() if value != []}
    if None not in written.values():
        again = validate(type(settings), Layer("a reference", written))
    if again != settings:
        lost = [key for key, value in dict(settings).items() if getattr(again, key) != value]
        raise Failed(f"{', '.join(lost)} comes back different from text: add a BeforeValidator")
    return f"{', '.join(given) or 'none'}" + ("; the same when read back" if given else "")


def _as_written(value: Any) -> str | None:
    """A value as after the ``?`` of a reference; None where it cannot be written there."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        parts = [_as_written(part) for part in value]
        return None if None in parts else ",".join(map(str, parts))
    return None if isinstance(value, dict) else str(value)


def in_a_run(case: Case) -> str:
    """It can be an objective, and what holds other letters is kept from it."""
    import numpy as np

    engine = RewardEngine([WeightedReward(case.reward)], alphabet=case.alphabet)
    batch = [*case.sequences[:2], case.alphabet.separator.join([_OUTSIDE] * 3)]
    scored = engine.score(batch)
    if not np.isnan(scored.reward[-1]) or scored.reasons[-1] is None:
        raise Failed("a letter outside the alphabet gets a score")
    return f"columns {', '.join(engine.columns)}; other letters are refused before it is asked"
