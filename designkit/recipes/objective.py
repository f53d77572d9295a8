"""From reward references in a configuration to one counted objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from designkit.errors import ConfigurationError, RewardError, UsageError
from designkit.rewards import (
    RUN_KEYS,
    Aggregation,
    AnyTransform,
    Direction,
    Role,
    WeightedReward,
    load_reward,
    parse_transform,
    score_all,
    sources,
    split_reference,
    written_reference,
)
from designkit.settings import Layer, Settings, read_yaml

if TYPE_CHECKING:
    import torch

    from designkit.alphabet import Alphabet
    from designkit.models.base import DiffusionModel
    from designkit.rewards import RewardEngine

FEWEST_REFERENCES = 20


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
    reference_num: int = Field(default=256, ge=FEWEST_REFERENCES)
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
        if ref.endswith((".yaml", ".yml")):
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
    """What gives rewards the priors and predictors that they name."""
    from designkit.registry.build import load_diffusion_model, load_predictor
    from designkit.registry.store import Registry

    def load(ref: str) -> Any:
        stored = Registry().find(ref)
        is_prior = stored.card.get("kind") == "diffusion"
        return load_diffusion_model(stored, device) if is_prior else load_predictor(stored, device)

    return load


def fit_transforms(
    rewards: Sequence[WeightedReward],
    settings: ObjectiveSettings,
    alphabet: Alphabet,
    prior: DiffusionModel | None,
) -> list[WeightedReward]:
    """Give transforms the statistics that they need, from one frozen set of sequences.

    The set does not depend on the run's seed: two runs have the same transforms.

    Raises:
        UsageError: there are neither reference sequences nor a prior.
        RewardError: too few of them have a score.
    """
    if not any(one.transform and one.transform.needs_reference for one in rewards):
        return list(rewards)
    sequences = _reference_sequences(settings, alphabet, prior)
    return [_fitted(one, sequences, alphabet) for one in rewards]


def _fitted(one: WeightedReward, sequences: list[str], alphabet: Alphabet) -> WeightedReward:
    import numpy as np

    if one.transform is None or not one.transform.needs_reference:
        return one
    info = one.reward.info
    one.reward.bind(alphabet)
    names = [output.name for output in info.outputs]
    place = names.index(one.output) if one.output in names else 0
    values = score_all(one.reward, sequences).values[:, place]
    values = values[~np.isnan(values)]
    if len(values) < FEWEST_REFERENCES:
        raise RewardError(
            f"reward {info.name!r}: its transform needs {FEWEST_REFERENCES} reference sequences "
            f"with a score, {len(values)} of {len(sequences)} have one"
        )
    try:
        return replace(one, transform=one.transform.fitted(values))
    except ValueError as problem:
        raise RewardError(f"reward {info.name!r}: {problem}") from problem


def _reference_sequences(
    settings: ObjectiveSettings, alphabet: Alphabet, prior: DiffusionModel | None
) -> list[str]:
    """Distinct sequences of the reference file, or of the prior."""
    if settings.reference is not None:
        from designkit.io.sequences import read_table

        table = read_table(settings.reference, alphabet=alphabet)
        return list(dict.fromkeys(table["sequence"]))
    if prior is None:
        raise UsageError(
            "a transform needs reference values: --set reference=FILE names sequences to take them "
            "from, --model PRIOR draws them"
        )
    return list(dict.fromkeys(draw_designs(prior, settings.reference_num, seed=0)))


def draw_designs(prior: DiffusionModel, num: int, seed: int) -> list[str]:
    """Unguided designs of a prior, in its own lengths."""
    import torch

    from designkit.algorithms.sampling.ancestral import Ancestral
    from designkit.algorithms.sampling.base import Request
    from designkit.randomness import noise_for

    noise = noise_for(seed, num, device=prior.device)
    lengths = prior.length_law.sample(noise)
    designs = [""] * num
    for length in sorted(set(lengths)):
        rows = [row for row, one in enumerate(lengths) if one == length]
        own = noise.rows(torch.tensor(rows, device=prior.device))
        drawn = Ancestral().sample(prior, None, Request(length), own)
        for row, sequence in zip(rows, prior.alphabet.decode(drawn.tokens.cpu()), strict=True):
            designs[row] = sequence
    return designs


def make_engine(
    rewards: Sequence[WeightedReward],
    settings: ObjectiveSettings,
    alphabet: Alphabet,
    prior: DiffusionModel | None = None,
) -> RewardEngine | None:
    """The engine that scores and counts, None without rewards."""
    from designkit.rewards import RewardEngine, ScoreCache

    if not rewards:
        return None
    return RewardEngine(
        fit_transforms(rewards, settings, alphabet, prior),
        alphabet=alphabet,
        aggregation=settings.aggregation,
        max_evals=settings.max_evals,
        cache=ScoreCache(settings.cache) if settings.cache else None,
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
