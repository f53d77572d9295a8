"""``designkit rewards audit``: can a reward be fooled by sequences without content?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from designkit.errors import EXIT_OK, EXIT_SOME_ITEMS_FAILED, UsageError
from designkit.recipes.console import Console
from designkit.recipes.runtime import draw_seed, set_threads
from designkit.settings import validate

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet
    from designkit.metrics.degenerate import ClassFigures
    from designkit.recipes._audit import AuditResult
    from designkit.rewards import Reward

EXIT_FOOLED = EXIT_SOME_ITEMS_FAILED
PRIOR = "prior"


def run_audit(
    ref: str,
    *,
    natural: str | None,
    prior: str | None,
    alphabet: str | None,
    length: int | None,
    num: int,
    seed: int | None,
    device: str,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """The command: score natural and degenerate sequences, compare, judge.

    Args:
        ref: the reward, as ``--reward`` takes it.
        natural: file of natural sequences; samples of the prior when not given.
        prior: a prior whose samples are scored as a class of their own.
        alphabet: of the sequences; that of the prior or of the reward when not given.
        length: of degenerate and random sequences; that of the median natural one when not given.
        num: sequences of each class that is drawn, natural ones included.
        seed: of what is drawn; drawn and told when not given.
        device: as in ``runtime.choose_device``.
        threads: as in ``runtime.set_threads``.
        as_json: print a JSON document instead of a table.
        quiet: no messages.

    Returns:
        Exit code: 5 when the reward can be fooled, else 0.

    Raises:
        UsageError: neither natural sequences nor a prior, or a number out of range.
        InputError: natural sequences that cannot be read, or none of them has a score.
    """
    if natural is None and prior is None:
        raise UsageError("nothing natural to compare with: add --natural FILE or --prior MODEL")
    if num < 1 or (length is not None and length < 1):
        raise UsageError(f"--num and --length must be at least 1, not {num} and {length}")

    from designkit.recipes._audit import run_classes
    from designkit.recipes.objective import alphabet_of, draw_designs
    from designkit.recipes.runtime import choose_device
    from designkit.registry.build import load_diffusion_model
    from designkit.registry.store import Registry
    from designkit.rewards import score_all

    console = Console(quiet)
    seed = draw_seed(seed)
    set_threads(threads)
    target = choose_device(device)
    model = load_diffusion_model(Registry().find(prior), target) if prior else None
    reward, place, sign = _load(ref, target)
    letters = alphabet_of(alphabet, model, [reward])
    reward.bind(letters)
    drawn = draw_designs(model, num, seed) if model is not None else []
    sequences = _read(natural, letters, num, seed) if natural else drawn
    source = natural or f"{num} samples of {prior}"
    console.say(f"audit of {ref}: {len(sequences)} natural sequences ({source}), seed {seed}")

    def score(name: str, found: list[str]) -> NDArray[np.float64]:
        console.say(f"scoring {len(found)} sequences: {name}")
        values: NDArray[np.float64] = score_all(reward, found).values[:, place]
        return values

    try:
        result = run_classes(
            score,
            letters,
            sequences,
            sign=sign,
            num=num,
            seed=seed,
            length=length,
            others={PRIOR: drawn} if natural and drawn else None,
        )
    finally:
        reward.close()
    if as_json:
        document = {"reward": ref, "natural": source, "seed": seed, **result.to_dict()}
        _print(json.dumps(document, indent=2))
    else:
        _print(_table(result))
    return EXIT_FOOLED if result.audit.verdict == "can be fooled" else EXIT_OK


def _load(ref: str, device: torch.device) -> tuple[Reward, int, int]:
    """The reward, the place of the output that counts, and 1 where more of it is better, or -1."""
    from designkit.errors import did_you_mean
    from designkit.recipes.objective import (
        ObjectiveSettings,
        expand_rewards,
        load_rewards,
        reward_layer,
    )

    layer = reward_layer([ref])
    expand_rewards(layer)
    settings = validate(ObjectiveSettings, layer)
    if len(settings.rewards) != 1:
        raise UsageError(f"{ref}: an audit takes one reward, this has {len(settings.rewards)}")
    [weighted] = load_rewards(settings.rewards, device)
    outputs = weighted.reward.info.outputs
    names = [output.name for output in outputs]
    wanted = weighted.output or names[0]
    if wanted not in names:
        raise UsageError(
            f"reward {ref!r} has no output {wanted!r}{did_you_mean(wanted, names)} "
            f"(it has {', '.join(names)})"
        )
    place = names.index(wanted)
    direction = weighted.direction or outputs[place].direction
    return weighted.reward, place, 1 if direction == "maximize" else -1


def _read(source: str, alphabet: Alphabet, num: int, seed: int) -> list[str]:
    """Distinct sequences of a file, at most ``num`` of them, drawn at random."""
    import numpy as np

    from designkit.io.sequences import read_table

    found = read_table(source, alphabet=alphabet)["sequence"].drop_duplicates().tolist()
    chosen = np.random.default_rng(seed).permutation(len(found))[:num]
    return [str(found[row]) for row in sorted(chosen.tolist())]


def _table(result: AuditResult) -> str:
    """Rows of text: figures by class, the worst offenders, the verdict."""
    from designkit.metrics.degenerate import short_name

    audit = result.audit
    header = ("CLASS", "N", "MEDIAN", "BEST", "BEYOND", "95 % INTERVAL", "NO SCORE")
    rows = [header, *(_row(name, figures) for name, figures in audit.classes.items())]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    offenders = [
        (name, sequence, value)
        for name, figures in audit.classes.items()
        if name not in ("natural", PRIOR)
        for sequence, value in figures.worst_offenders
    ]
    if offenders:
        lines += ["", "Worst offenders:"]
        lines += [f"  {value:.4g}  {name}  {short_name(text)}" for name, text, value in offenders]
    side = "above" if audit.sign > 0 else "below"
    lines += ["", f"BEYOND: {side} {audit.threshold:.4g}, where 1 % of natural sequences are."]
    tried = audit.classes["repeats"].tried if "repeats" in audit.classes else 0
    if tried < result.repeats_in_all:
        lines.append(f"repeats: {tried} of {result.repeats_in_all}, drawn at random")
    return "\n".join([*lines, audit.sentence])


def _row(name: str, figures: ClassFigures) -> tuple[str, ...]:
    share = figures.share
    beyond = (
        (f"{100 * share.share:.1f} %", f"{100 * share.low:.1f} to {100 * share.high:.1f} %")
        if share.count
        else ("-", "-")
    )
    numbers = (f"{figures.median:.4g}", f"{figures.best:.4g}") if share.count else ("-", "-")
    return (name, str(figures.tried), *numbers, *beyond, str(figures.without_score))


def _print(text: str) -> None:
    print(text)  # noqa: T201 - the result of the command
