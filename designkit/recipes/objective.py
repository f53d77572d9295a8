"""From reward references in a configuration to one counted objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from designkit.errors import ConfigurationError, RewardError, UsageError
from designkit.rewards import (
    PREFIXES,
    RUN_KEYS,
    Aggregation,
    AnyTransform,
    Direction,
    Role,
    WeightedReward,
    load_reward,
    parse_transform,
    sources,
    split_reference,
    written_reference,
)
from designkit.settings import Layer, Settings, read_yaml

if TYPE_CHECKING:
    import torch

    from designkit.alphabet import Alphabet
    from designkit.diffusion.base import Decoding
    from designkit.models.base import DiffusionModel
    from designkit.rewards import Reward, RewardEngine

FIRST_REFERENCE = 2**39  # number of the first reference design; designs of runs stay far below


class RewardSettings(Settings):
    """One reward of a run; on a command line the keys are parameters of the reference.

    Attributes:
        ref: what ``--reward`` takes.
        weight: its factor in the objective, or of the violation of its bounds.
        label: its column; the reward's own name without one.
        role: ``objective``, ``constraint`` (outside its bounds a design ranks below all others),
            ``filter`` (the same, and the rewards after it are not asked), or ``monitor``: recorded,
            never optimised.
        transform: of an objective: ``sigmoid(low=0,high=1)``, or its name and settings as keys.
        output: which output counts, the first without one.
        direction: ``maximize`` or ``minimize``, against what the reward declares.
        at_least: lower bound of a constraint or filter, in the reward's unit.
        at_most: upper bound.
    """

    ref: str
    weight: float = 1.0
    label: str = ""
    role: Role = "objective"
    transform: AnyTransform | None = None
    output: str | None = None
    direction: Direction | None = None
    at_least: float | None = None
    at_most: float | None = None


class ObjectiveSettings(Settings):
    """What every command with rewards may hold about them.

    Attributes:
        rewards: what to raise, keep within bounds, or record.
        aggregation: how several objectives become one.
        reference: file of sequences that transforms take their statistics from; designs of the
            prior without one.
        reference_num: designs of the prior that are drawn for that.
        cache: file of scores, shared with other runs.
        max_evals: most distinct sequences to score with objectives and constraints.
    """

    rewards: list[RewardSettings] = Field(default_factory=list)
    aggregation: Aggregation = "sum"
    reference: str | None = None
    reference_num: int = Field(default=256, ge=20)
    cache: Path | None = None
    max_evals: int | None = Field(default=None, ge=1)


def reward_layer(refs: Sequence[str]) -> Layer:
    """The values of ``--reward`` flags; a YAML file among them stands for what it holds.

    Raises:
        ConfigurationError: a file that cannot be read or has no rewards.
    """
    layer = Layer("flags")
    entries: list[Any] = []
    for ref in refs:
        if _names_a_file_of_rewards(ref):
            file = read_yaml(ref)
            listed = file.data.get("rewards")
            if not isinstance(listed, list):
                raise ConfigurationError([f"{ref}: must hold a list 'rewards:'"])
            for path, origin in file.origins.items():
                if path[0] == "rewards" and len(path) > 1:
                    place = int(path[1]) + len(entries)
                    layer.origins["rewards", place, *path[2:]] = origin
                elif path[0] != "rewards":
                    layer.origins[path] = origin
            entries += listed
            layer.data |= {key: value for key, value in file.data.items() if key != "rewards"}
        else:
            layer.origins["rewards", len(entries)] = f"--reward {ref}"
            entries.append({"ref": ref})
    if refs:
        layer.data["rewards"] = entries
    return layer


def _names_a_file_of_rewards(ref: str) -> bool:
    is_other = "?" in ref or ref.startswith(tuple(f"{prefix}:" for prefix in PREFIXES))
    return ref.endswith((".yaml", ".yml")) and not is_other


def expand_rewards(layer: Layer) -> None:
    """Write rewards out: text as its reference, and what a reference says of its part as keys.

    Raises:
        ConfigurationError: what cannot be read as a reward, or a key that is given twice.
    """
    listed = layer.data.get("rewards")
    if not isinstance(listed, list):
        return
    problems: list[str] = []
    expanded = []
    for place, entry in enumerate(listed):
        origin = layer.origin(("rewards", place))
        fields = {"ref": entry} if isinstance(entry, str) else entry
        if isinstance(fields, dict) and isinstance(fields.get("ref"), str):
            try:
                fields = _written_out(fields)
            except (RewardError, ValueError) as error:
                problems.append(f"{origin}: {error}")
        expanded.append(fields)
    layer.data["rewards"] = expanded
    if problems:
        raise ConfigurationError(problems)


def _written_out(fields: dict[str, Any]) -> dict[str, Any]:
    source, parameters = split_reference(fields["ref"])
    own = {key: value for key, value in parameters.items() if key in RUN_KEYS}
    twice = sorted(own.keys() & fields.keys())
    if twice:
        raise ValueError(f"{twice[0]!r} is given in the reference and beside it")
    if own:
        rest = {key: value for key, value in parameters.items() if key not in own}
        fields = fields | {"ref": written_reference(source, rest)} | own
    if "transform" in fields:
        fields = fields | {"transform": parse_transform(fields["transform"])}
    return fields


def load_rewards(
    settings: Sequence[RewardSettings], device: torch.device | str
) -> list[WeightedReward]:
    """The rewards, models on their device."""
    load = model_loader(device)
    return [
        WeightedReward(
            load_reward(one.ref, load_model=load), **{k: getattr(one, k) for k in RUN_KEYS}
        )
        for one in settings
    ]


def model_loader(device: torch.device | str) -> Callable[[str], Any]:
    """What gives rewards and value estimators the models that they name."""
    from designkit.registry.build import LOADERS
    from designkit.registry.rules import find_prior

    def load(ref: str) -> Any:
        stored = find_prior(ref)
        return LOADERS[stored.card["kind"]](stored, device)

    return load


def draw_designs(
    prior: DiffusionModel,
    num: int,
    seed: int,
    *,
    start: int = 0,
    length: int | None = None,
    steps: int | None = None,
    decoding: Decoding | None = None,
) -> list[str]:
    """Unguided designs of a prior.

    Args:
        prior: the model.
        num: number of designs.
        seed: of their noise.
        start: number of the first design.
        length: of all; from the prior's length law when not given.
        steps: of the sampler, as for the decoding.
        decoding: see ``Sampler``.
    """
    import torch

    from designkit.algorithms.sampling.ancestral import Ancestral
    from designkit.algorithms.sampling.base import Request
    from designkit.randomness import noise_for

    sampler = Ancestral(steps=steps, decoding=decoding)
    noise = noise_for(seed, num, start=start, device=prior.device)
    lengths = prior.length_law.sample(noise) if length is None else [length] * num
    designs = [""] * num
    for one in sorted(set(lengths)):
        rows = [row for row, found in enumerate(lengths) if found == one]
        own = noise.rows(torch.tensor(rows, device=prior.device))
        drawn = sampler.sample(prior, None, Request(one), own)
        for row, sequence in zip(rows, prior.alphabet.decode(drawn.tokens.cpu()), strict=True):
            designs[row] = sequence
    return designs


def reference_of(
    settings: ObjectiveSettings, alphabet: Alphabet, prior: DiffusionModel | None, **drawing: Any
) -> Callable[[], list[str]] | None:
    """What gives the sequences that transforms and temperatures take statistics from.

    They are those of the reference file, else designs of the prior that no run draws, whatever its
    seed: two runs have the same transforms.

    Args:
        settings: of the objective.
        alphabet: of the sequences.
        prior: to draw from.
        drawing: ``length``, ``steps`` and ``decoding``, as the run has them.

    Returns:
        A function that reads or draws them once; None where there are none.
    """
    if settings.reference is None and prior is None:
        return None

    @cache
    def reference() -> list[str]:
        if settings.reference is not None:
            from designkit.io.sequences import read_table

            found = read_table(settings.reference, alphabet=alphabet)["sequence"].tolist()
        else:
            assert prior is not None
            number = settings.reference_num
            found = draw_designs(prior, number, 0, start=FIRST_REFERENCE, **drawing)
        return list(dict.fromkeys(found))

    return reference


def alphabet_of(
    name: str | None, model: DiffusionModel | None, rewards: Sequence[Reward]
) -> Alphabet:
    """The alphabet asked for, else that of the model, else one that a reward reads.

    Raises:
        UsageError: nothing tells.
    """
    from designkit.io.alphabets import load_alphabet

    if name is not None:
        return load_alphabet(name)
    if model is not None:
        return model.alphabet
    for reward in rewards:
        if reward.own_alphabet is not None:
            return reward.own_alphabet
    read = [reward.info.alphabets for reward in rewards if reward.info.alphabets]
    if read:
        by_all = [name for name in read[0] if all(name in others for others in read)]
        return load_alphabet((by_all or read[0])[0])
    raise UsageError("which letters the sequences have is not clear: add --alphabet")


def make_engine(
    rewards: Sequence[WeightedReward],
    settings: ObjectiveSettings,
    alphabet: Alphabet,
    reference: Callable[[], list[str]] | None = None,
) -> RewardEngine | None:
    """The engine that scores and counts, None without rewards."""
    from designkit.rewards import RewardEngine, ScoreCache

    if not rewards:
        return None
    return RewardEngine(
        rewards,
        alphabet=alphabet,
        aggregation=settings.aggregation,
        max_evals=settings.max_evals,
        cache=ScoreCache(settings.cache) if settings.cache else None,
        reference=reference,
    )


def rewards_record(rewards: Sequence[WeightedReward]) -> list[dict[str, Any]]:
    """What provenance says of the rewards: what they are, what they are made of, their part."""
    return [
        {
            "name": one.reward.info.name,
            "column": one.label or one.reward.info.name,
            "version": one.reward.info.version,
            "params": dict(one.reward.info.params),
            "sources": sources(one.reward),
            "weight": one.weight,
            "role": one.role,
            "transform": one.transform.model_dump(exclude_none=True) if one.transform else None,
            "output": one.output,
            "direction": one.direction,
            "at_least": one.at_least,
            "at_most": one.at_most,
        }
        for one in rewards
    ]
