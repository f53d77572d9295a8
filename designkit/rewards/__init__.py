"""What is wanted: the reward contract and one file per built-in reward."""

from designkit.rewards._batches import score_all
from designkit.rewards._engine import RewardEngine, Scored, WeightedReward
from designkit.rewards._function import FunctionReward, reward
from designkit.rewards._loader import load_reward
from designkit.rewards.base import (
    Output,
    Reward,
    RewardInfo,
    Scores,
)

__all__ = [
    "FunctionReward",
    "Output",
    "Reward",
    "RewardEngine",
    "RewardInfo",
    "Scored",
    "Scores",
    "WeightedReward",
    "load_reward",
    "reward",
    "score_all",
]
