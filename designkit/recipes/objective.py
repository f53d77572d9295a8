"""From reward references in a configuration to one counted objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet
    from designkit.rewards import RewardEngine, WeightedReward


class RewardSettings(Settings):
    """One reward of a run.

    Attributes:
        ref: what ``--reward`` takes.
        weight: its factor in the objective.
        label: its column; the reward's own name without one.
        role: ``objective``, or ``monitor``: recorded, never optimised.
    """

    ref: str
    weight: float = 1.0
    label: str = ""
    role: Literal["objective", "monitor"] = "objective"


def load_rewards(settings: Sequence[RewardSettings], device: Any) -> list[WeightedReward]:
    """The rewards, predictors on their device."""
    from designkit.registry.store import Registry
    from designkit.rewards import WeightedReward, load_reward

    def load_model(ref: str) -> Any:
        from designkit.registry.build import load_predictor

        return load_predictor(Registry().find(ref), device)

    return [
        WeightedReward(load_reward(one.ref, load_model=load_model), one.weight, one.label, one.role)
        for one in settings
    ]


def make_engine(rewards: Sequence[WeightedReward], alphabet: Alphabet) -> RewardEngine | None:
    """The engine that scores and counts, None without rewards."""
    from designkit.rewards import RewardEngine

    return RewardEngine(rewards, alphabet=alphabet) if rewards else None


def rewards_record(rewards: Sequence[WeightedReward]) -> list[dict[str, Any]]:
    """What provenance says of the rewards."""
    return [
        {
            "name": one.reward.info.name,
            "column": one.label or one.reward.info.name,
            "version": one.reward.info.version,
            "params": dict(one.reward.info.params),
            "weight": one.weight,
            "role": one.role,
        }
        for one in rewards
    ]
